"""The past against the present: what is replayed of two venues is what their live subscribers were given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.commands import Command, command
from support.hearing import Heard, hearing
from support.processes import environment, running_simulator
from tickwire.bus.connection import Bus, connect
from tickwire.client import Book, Candle, Client, Gap, NotArchived, Replayed, Ticker, Trade, Trades
from tickwire.client import connect as connect_client
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.system

VENUES = ("binance", "okx")
FEEDS: list[Any] = [
    *((venue, "BTC/USDT") for venue in VENUES),
    *((kind, venue, "BTC/USDT") for kind in ("book", "ticker") for venue in VENUES),
    ("candle", "binance", "BTC/USDT", "1s"),
]
NAMES = [f"{kind} {venue} BTC/USDT" for kind in ("trade", "ticker", "book") for venue in VENUES]
CONFIG = """
[archive]
root = "{root}"
kinds = ["trade", "book_delta", "ticker"]
part_minutes = 0.05
[streamer]
feeds = {feeds}
cadence_ms = 0
[exchange.binance]
gateway = "{gateway}"
[exchange.binance.ccxt]
enableRateLimit = false
options = {{ fetchMarkets = {{ types = ["spot"] }} }}
[exchange.okx]
gateway = "{gateway}"
[exchange.okx.ccxt]
enableRateLimit = false
"""


class Live:
    """What live subscribers were given."""

    def __init__(
        self, trades: Heard[Trades], books: Heard[Book], tickers: Heard[Ticker], candles: Heard[Candle]
    ) -> None:
        self.trades, self.books, self.tickers, self.candles = trades, books, tickers, candles

    async def reaches(self, count: int) -> None:
        """Wait for so many more messages of each kind and venue, and three more candles."""
        for heard in (self.trades, self.books, self.tickers):
            begins = len(heard.said)
            for venue in VENUES:
                await heard.until(
                    lambda: sum(each.exchange == venue for each in heard.said[begins:]) >= count  # noqa: B023
                )
        begins = len(self.candles.said)
        await self.candles.until(lambda: sum(each.closed for each in self.candles.said[begins:]) >= 3)


@asynccontextmanager
async def subscribed(bus: Bus) -> AsyncIterator[Live]:
    async with AsyncExitStack() as stack:
        kinds: list[tuple[str, Any]] = [
            ("trade.*.*", Trades), ("book.*.*", Book), ("ticker.*.*", Ticker), ("candle.*.*.1s", Candle)
        ]  # fmt: skip
        yield Live(*[await stack.enter_async_context(hearing(bus, f"md.{path}", kind)) for path, kind in kinds])


def clock_of(each: Replayed) -> int | None:
    """The time of an item on the clock of a replay."""
    item = each.item
    return item.timestamp + 1000 if isinstance(item, Candle) else getattr(item, "timestamp", None)


async def replayed(client: Client, since: int, until: int) -> list[Replayed]:
    async with asyncio.timeout(200):
        return [each async for each in client.replay(FEEDS, since, until, cadence_ms=0)]


def items(found: list[Replayed], kind: type[Any], venue: str) -> list[Any]:
    return [each.item for each in found if isinstance(each.item, kind) and each.exchange == venue]


def assert_is_what_was_live(found: list[Replayed], live: Live, since: int, until: int) -> None:
    """Everything that a subscriber was given with a time in the range."""
    for venue in VENUES:
        trades = [
            each for said in live.trades.said if said.exchange == venue for each in said.trades
            if since <= each.timestamp < until
        ]  # fmt: skip
        assert [each for each in items(found, Trade, venue) if each.id in {one.id for one in trades}] == trades
        assert trades
        books = {each.sequence: (each.bids, each.asks) for each in items(found, Book, venue)}
        heard = [each for each in live.books.said if each.exchange == venue and each.state == "live"]
        heard = [each for each in heard if since <= (each.timestamp or 0) < until]
        assert heard
        assert [books.get(each.sequence) for each in heard] == [(each.bids, each.asks) for each in heard]
        tickers = [each for each in live.tickers.said if each.exchange == venue and not each.repeated]
        tickers = [each for each in tickers if since <= (each.timestamp or each.received) < until]
        assert tickers
        known = {(each.received, each.last, each.bid, each.ask) for each in items(found, Ticker, venue)}
        assert [each for each in tickers if (each.received, each.last, each.bid, each.ask) not in known] == []
    candles = {each.timestamp: values(each) for each in items(found, Candle, "binance")}
    closed = [each for each in live.candles.said if each.closed and since <= each.timestamp + 1000 < until]
    assert closed
    assert [candles[each.timestamp] for each in closed if each.complete] == [
        values(each) for each in closed if each.complete
    ]


def values(candle: Candle) -> list[float]:
    return [candle.open, candle.high, candle.low, candle.close, candle.volume]


async def published(running: Command, bus: Bus, since: int, until: int) -> None:
    """What the command publishes: numbered, of each kind on its subjects."""
    subjects: list[str] = []

    async def take(message: Any) -> None:
        subjects.append(message.subject)

    async with bus.subscribed("replay.past.md.>", take):
        await bus.client.flush()
        arguments = ("--kinds", "trade,book,ticker", "--speed", "max", "--json", "--cadence", "0")
        ended = await running.run(
            "replay", "past", "binance,okx", "BTC/USDT", "--since", str(since), "--until", str(until), *arguments
        )
        assert ended.code in (0, 3), ended.err
        await bus.client.flush()
    status = json.loads(ended.out)
    assert status["state"] == "ended"
    assert len(subjects) == status["messages"]
    expected = {f"replay.past.md.{kind}.{venue}.BTC-USDT" for kind in ("trade", "book", "ticker") for venue in VENUES}
    assert set(subjects) == expected


@pytest.mark.timeout(400)
async def test_a_replay_of_every_kind_and_two_venues_is_what_was_live(tmp_path: Path) -> None:
    async with running_simulator("--live-rate", "40") as simulator:
        config = tmp_path / "tickwire.toml"
        feeds = json.dumps([*NAMES, "candle binance BTC/USDT 1s"])
        config.write_text(CONFIG.format(root=tmp_path / "archive", feeds=feeds, gateway=simulator.url))
        env = environment(tmp_path / "data", TICKWIRE_CONFIG=str(config))
        async with command(tmp_path, env, "up") as running:
            await running.says("ready:")
            url = await running.url()
            for venue in VENUES:
                started = await running.run(
                    "start", "book", venue, "BTC/USDT", "--deltas", "--subscriber", "test", "--cadence", "0"
                )
                assert started.code == 0, started.err
            async with connect(NatsSettings(url=url), name="hears") as bus, subscribed(bus) as live:
                await live.reaches(10)
                since = max(live.trades.said[-1].trades[-1].timestamp if live.trades.said[-1].trades else 0, 1)
                since = max(since, live.books.said[-1].timestamp or 0)
                await live.reaches(40)
                # Parts of it are in files; the rest is on the tape.
                until = min(live.books.said[-1].timestamp or 0, live.tickers.said[-1].received) - 500
                await live.reaches(5)
                async with connect_client(url) as client:
                    found = await replayed(client, since, until)
                    times = [time for each in found if (time := clock_of(each)) is not None and time >= since]
                    assert times == sorted(times)
                    assert_is_what_was_live(found, live, since, until)
                    assert not [each for each in found if isinstance(each.item, Gap)]
                    assert await replayed(client, since, until) == found
                    async with aclosing(client.replay(FEEDS, since, until, speed=1.0)) as halfway:
                        assert await anext(halfway)
                    with pytest.raises(NotArchived, match="ticker binance ETH/USDT is not archived"):
                        await anext(client.replay([*FEEDS, ("ticker", "binance", "ETH/USDT")], since, until))
                    with pytest.raises(NotArchived, match="candle okx BTC/USDT 1h is not in the cache"):
                        await anext(client.replay([("candle", "okx", "BTC/USDT", "1h")], since, until))
                    with pytest.raises(NotArchived, match="the deltas of book binance ETH/USDT are not on the tape"):
                        await anext(client.replay([("book", "binance", "ETH/USDT")], since, until))
                await published(running, bus, since, until)
