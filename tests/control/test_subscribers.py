"""Subscribers start and stop feeds: their deaths, their expiry, and storms of starts and stops."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from support import live
from support.pipeline import Pipeline, pipeline
from support.processes import running_simulator
from tickwire.bus import embedded as embedded_broker
from tickwire.errors import BadRequest, TickwireError, UnknownExchange, UnknownSymbol, UnsupportedKind
from tickwire.model.feeds import Feed, FeedList, FeedReport, FeedsRequest
from tickwire.model.messages import decode
from tickwire.process import children

pytestmark = pytest.mark.faults

SUBSCRIBERS = str(Path(__file__).parent / "subscribers.py")
BTC = Feed("trade", "binance", "BTC/USDT")
ETH = Feed("trade", "binance", "ETH/USDT")


@asynccontextmanager
async def streaming(folder: Path) -> AsyncIterator[Pipeline]:
    """One streamer on a simulator where something is always going on."""
    async with (
        embedded_broker.embedded(folder / "nats") as broker,
        running_simulator("--live-rate", "50") as simulator,
        pipeline(broker, simulator, folder, ("streamer",), lease_ttl_s=3) as running,
    ):
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """One for all tests that leave no feed and no other streamer behind."""
    async with streaming(tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def line(shared: Pipeline) -> Pipeline:
    """The same, without feeds and with an empty log."""
    await eventually(lambda: none_left(shared))
    await shared.simulator.forget_log()
    return shared


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Pipeline]:
    """One of this test's own."""
    async with streaming(tmp_path) as running:
        yield running


async def feeds_of(line: Pipeline) -> list[FeedReport]:
    found: list[FeedReport] = []
    async for part in line.bus.request_chunks("streamer.list", FeedsRequest(), lambda data: decode(data, FeedList)):
        found += part.feeds
    return found


async def none_left(line: Pipeline) -> bool:
    return await feeds_of(line) == []


async def eventually(condition: Callable[[], object], timeout_s: float = 100) -> None:
    """Wait until the awaited condition holds; asked again each 50 ms, because the simulator announces nothing."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # type: ignore[misc]
            await asyncio.sleep(0.05)


async def subscriptions(line: Pipeline, event: str, stream: str) -> int:
    """How often the simulator was asked to (un)subscribe a stream."""
    entries = await line.simulator.log()
    return sum(entry["event"] == event and stream in (entry.get("streams") or ()) for entry in entries)


@pytest.mark.asyncio(loop_scope="module")
async def test_fifty_subscribers_share_a_subscription_that_ends_soon_after_their_kill(
    line: Pipeline,
) -> None:
    ttl_s = 2
    argv = [sys.executable, SUBSCRIBERS, line.bus.url, BTC.path, "50", str(ttl_s)]
    async with children.child(argv, stdout=children.PIPE) as process, live.seeing(line.bus, BTC) as seen:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        await seen.until(lambda: len(seen.trades) > 0)
        async with asyncio.timeout(100):
            while [(each.feed, each.subscribers, each.state) for each in await feeds_of(line)] != [(BTC, 50, "live")]:
                await asyncio.sleep(0.05)
        assert await subscriptions(line, "subscribe", "btcusdt@aggTrade") == 1
        process.kill()
        await process.wait()
    async with asyncio.timeout(100):
        await eventually(lambda: subscriptions(line, "unsubscribe", "btcusdt@aggTrade"))
        await eventually(lambda: none_left(line))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_feed_runs_until_the_last_subscriber_has_gone(line: Pipeline) -> None:
    await live.start(line.bus, BTC, "one")
    await live.start(line.bus, BTC, "one")
    assert (await live.start(line.bus, BTC, "two")).subscribers == 2
    await eventually(lambda: subscriptions(line, "subscribe", "btcusdt@aggTrade"))
    assert (await live.stop(line.bus, BTC, "one")).subscribers == 1
    assert await subscriptions(line, "unsubscribe", "btcusdt@aggTrade") == 0
    assert (await live.stop(line.bus, BTC, "two")).subscribers == 0
    await eventually(lambda: subscriptions(line, "unsubscribe", "btcusdt@aggTrade"))
    # Stopping what does not run is no error.
    assert (await live.stop(line.bus, BTC, "two")).state == "stopped"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_candle_brings_its_trades_with_it_and_releases_them(line: Pipeline) -> None:
    minute = Feed("candle", "binance", "BTC/USDT", "1m")
    async with live.seeing(line.bus, BTC) as seen:
        await live.start(line.bus, minute, "one")
        await seen.until(lambda: len(seen.trades) > 0)
    assert sorted(str(each.feed) for each in await feeds_of(line)) == ["candle binance BTC/USDT 1m", str(BTC)]
    await live.stop(line.bus, minute, "one")
    await eventually(lambda: subscriptions(line, "unsubscribe", "btcusdt@aggTrade"))
    await eventually(lambda: none_left(line))


async def test_a_storm_of_starts_and_stops_ends_in_the_right_state(own: Pipeline) -> None:
    dice = random.Random(7)
    markets = [BTC, ETH, Feed("book", "binance", "BTC/USDT"), Feed("candle", "binance", "ETH/USDT", "1m")]
    wanted: dict[Feed, set[str]] = {market: set() for market in markets}

    async def subscriber(name: str, moves: int) -> None:
        for _ in range(moves):
            market = dice.choice(markets)
            if dice.random() < 0.5:
                await live.start(own.bus, market, name)
                wanted[market].add(name)
            else:
                await live.stop(own.bus, market, name)
                wanted[market].discard(name)

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(subscriber(f"s{number}", 20))
    # Whoever is left decides; one market is emptied to see it end.
    for name in list(wanted[BTC]):
        await live.stop(own.bus, BTC, name)
    wanted[BTC].clear()

    async def settled() -> bool:
        found = {each.feed: each for each in await feeds_of(own)}
        expected = {market: len(names) for market, names in wanted.items() if names}
        implied = Feed("trade", "binance", "ETH/USDT")
        if wanted[markets[3]]:
            expected[implied] = expected.get(implied, 0) + 1
        return {feed: each.subscribers for feed, each in found.items()} == expected and all(
            each.state == "live" for each in found.values()
        )

    await eventually(settled, 30)

    async def subscribed() -> bool:
        balance = {
            name: await subscriptions(own, "subscribe", name) - await subscriptions(own, "unsubscribe", name)
            for name in ("btcusdt@aggTrade", "ethusdt@aggTrade", "btcusdt@depth@100ms")
        }
        return balance == {
            "btcusdt@aggTrade": 0,
            "ethusdt@aggTrade": int(bool(wanted[ETH] or wanted[markets[3]])),
            "btcusdt@depth@100ms": int(bool(wanted[markets[2]])),
        }

    await eventually(subscribed)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("feed", "error", "words"),
    [
        (Feed("trade", "binanse", "BTC/USDT"), UnknownExchange, "did you mean binance"),
        (Feed("trade", "binance", "BTC/USDD"), UnknownSymbol, "BTC/USDD"),
        (Feed("candle", "binance", "BTC/USDT"), BadRequest, "timeframe"),
        (Feed("trade", "binance", "BTC/USDT", "1m"), BadRequest, "no timeframe"),
        (Feed("trade", "coinspot", "BTC/AUD"), UnsupportedKind, "coinspot"),
    ],
)
async def test_what_cannot_be_followed_is_refused_with_the_reason(
    line: Pipeline, feed: Feed, error: type[TickwireError], words: str
) -> None:
    with pytest.raises(error, match=words):
        await live.start(line.bus, feed)
    assert await feeds_of(line) == []


async def test_an_interest_without_ttl_survives_the_streamer(own: Pipeline) -> None:
    await live.start(own.bus, BTC, "one")
    await own.kill("streamer")
    await own.start("streamer")
    async with live.seeing(own.bus, BTC) as seen:
        await seen.until(lambda: len(seen.trades) > 0)


async def test_feeds_spread_over_two_streamers_and_move_without_a_hole_when_one_leaves(
    own: Pipeline,
) -> None:
    # Named, so that the feeds always divide in the same way, 4 to 1.
    assert await own.stop("streamer", 0) == 0
    await own.start("streamer", 0, "--instance", "one")
    await own.start("streamer", 1, "--instance", "two")
    await own.started("streamer", 0)
    await own.started("streamer", 1)
    symbols = ["BTC/USDT", "ETH/USDT", "XRP/USDT", "SOL/USDT", "DOGE/USDT"]
    feeds = [Feed("trade", "binance", symbol) for symbol in symbols]
    for feed in feeds:
        await live.start(own.bus, feed, "one")

    async def owners() -> set[str | None]:
        found = await feeds_of(own)
        return {each.owner for each in found} if all(each.state == "live" for each in found) else set()

    async def spread() -> bool:
        return len(await owners()) == 2

    await eventually(spread)
    assert await own.stop("streamer", 1) == 0

    async def moved() -> bool:
        return len(await owners()) == 1

    await eventually(moved)
    for feed in feeds:
        async with live.seeing(own.bus, feed) as seen:
            await seen.until(lambda: len(seen.trades) > 0)
        await live.assert_every_trade_once(own.bus, own.simulator, feed, feed.symbol.replace("/", ""))
