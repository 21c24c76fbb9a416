"""A streamer owns partitions of the tape: all feeds of a market go where its slot is, and still fail alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from support import live
from support.hearing import Heard, hearing, reports
from support.processes import running_simulator
from support.serving import serving
from support.venues import settings
from tape.places import TRADES_STREAM
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Feed, Status, Ticker, Trades
from tickwire.model.messages import LeaseHolder
from tickwire.settings import LeaseSettings, Settings
from tickwire.streamer import service
from tickwire.streamer.control import feed_supervisor
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.service import serve_streamer

pytestmark = pytest.mark.actors

MARKET = [
    Feed("trade", "binance", "BTC/USDT"),
    Feed("book", "binance", "BTC/USDT"),
    Feed("ticker", "binance", "BTC/USDT"),
    Feed("candle", "binance", "BTC/USDT", "1m"),
]
TICKER = MARKET[2]
OTHER = Feed("ticker", "binance", "ETH/USDT")
SLOT = "slot.3"
"""Of BTC/USDT; ETH/USDT is in another one. By nats-server's own hash."""
BUCKET = f"KV_{streams.LEASES}"
PREFIX = "$KV.LEASES.streamer"


def short(url: str) -> Settings:
    """Settings with an exchange that is served at `url`, and leases that are soon free."""
    return settings(url).model_copy(update={"leases": LeaseSettings(ttl_s=2)})


async def owners(bus: Bus) -> dict[str, str]:
    """Who holds each lease of the streamers, as the bucket has it."""
    info = await bus.jetstream.stream_info(BUCKET, subjects_filter=f"{PREFIX}.lease.>")
    found = {}
    for subject in info.state.subjects or {}:
        last = await bus.jetstream.get_last_msg(BUCKET, subject)
        if last.data:
            found[subject.removeprefix(f"{PREFIX}.lease.")] = messages.decode(last.data, LeaseHolder).holder
    return found


async def until(condition: Callable[[], Coroutine[None, None, object]]) -> None:
    async with asyncio.timeout(100):
        while not await condition():
            await asyncio.sleep(0.05)


async def all_owned(bus: Bus, *names: str) -> None:
    """Wait until these instances, each of them, hold the eight slots between them."""

    async def divided() -> bool:
        found = await owners(bus)
        return found.keys() == {f"slot.{number}" for number in range(8)} and set(found.values()) == set(names)

    await until(divided)


async def live_at(bus: Bus, feeds: list[Feed], name: str) -> None:
    for feed in feeds:
        await live.owned_by(bus, feed, name)


def lives(heard: Heard[Status], feed: Feed) -> list[tuple[str, str]]:
    """Who has begun and ended a feed, in order."""
    of_feed = [each for each in heard.said if (each.kind, each.symbol) == (feed.kind, feed.symbol)]
    return [(each.owner, each.event) for each in of_feed if each.event in ("starting", "stopped")]


def starts(heard: Heard[Status], feed: Feed) -> list[str]:
    """Who has begun a feed, in order."""
    return [owner for owner, event in lives(heard, feed) if event == "starting"]


async def until_begun(heard: Heard[Status], feed: Feed, times: int) -> None:
    """Wait until instance `one` has begun a feed so often, and no other one has: reports come later than the state."""
    await heard.until(lambda: starts(heard, feed) == ["one"] * times)


async def test_slots_are_owned_before_any_feed_is_wanted_and_spread_as_streamers_come(bus: Bus) -> None:
    async with running_simulator() as simulator:
        configured = short(simulator.url)
        async with serving(bus, serve_streamer, configured, "one"):
            await all_owned(bus, "one")
            async with serving(bus, serve_streamer, configured, "two"):
                await all_owned(bus, "one", "two")
            await all_owned(bus, "one")
        assert await owners(bus) == {}


async def test_all_feeds_of_a_market_go_with_its_slot_and_need_no_lease_of_their_own(bus: Bus) -> None:
    async with running_simulator("--live-rate", "50") as simulator, hearing(bus, "md.status.>", Status) as statuses:
        configured = short(simulator.url)
        async with serving(bus, serve_streamer, configured, "one"):
            for feed in MARKET:
                await live.start(bus, feed)
            await live_at(bus, MARKET, "one")
            # By its name it has this slot before the other one.
            async with serving(bus, serve_streamer, configured, "five"):
                await live_at(bus, MARKET, "five")
                await all_owned(bus, "one", "five")
                # It was ended gracefully before the other one began.
                handed = [("one", "starting"), ("one", "stopped"), ("five", "starting")]
                for feed in MARKET:
                    await statuses.until(lambda feed=feed: lives(statuses, feed) == handed)  # type: ignore[misc]


async def test_a_feed_on_whose_tape_another_one_wrote_begins_again_alone(bus: Bus) -> None:
    async with running_simulator("--live-rate", "50") as simulator, hearing(bus, "md.status.>", Status) as statuses:
        async with serving(bus, serve_streamer, short(simulator.url), "one"):
            for feed in (*MARKET, OTHER):
                await live.start(bus, feed)
            await live_at(bus, [*MARKET, OTHER], "one")
            last = await bus.jetstream.get_last_msg(streams.TICKERS, TICKER.tape)
            await bus.jetstream.publish(TICKER.tape, last.data or b"")
            await statuses.until(lambda: starts(statuses, TICKER) == ["one", "one"])
            async with hearing(bus, TICKER.public, Ticker) as tickers:
                await tickers.until_said(lambda said: len(said) > 3)
            for feed in (*MARKET, OTHER):
                await until_begun(statuses, feed, 2 if feed == TICKER else 1)
            await all_owned(bus, "one")


async def test_a_slot_that_is_lost_takes_its_feeds_and_no_others(bus: Bus) -> None:
    async with running_simulator("--live-rate", "50") as simulator, hearing(bus, "md.status.>", Status) as statuses:
        async with serving(bus, serve_streamer, short(simulator.url), "one"):
            for feed in (*MARKET, OTHER):
                await live.start(bus, feed)
            await live_at(bus, [*MARKET, OTHER], "one")
            await bus.jetstream.publish(f"{PREFIX}.lease.{SLOT}", b'{"holder":"other","since":0}')

            async def lost() -> bool:
                return {each.feed for each in await reports(bus) if each.owner == "one"} == {OTHER}

            await until(lost)
            # They were cancelled: another one may have them.
            assert [each.event for each in statuses.said if each.event == "stopped"] == []
            # The entry names no session, so it ends after a TTL.
            await live_at(bus, MARKET, "one")
            for feed in (*MARKET, OTHER):
                await until_begun(statuses, feed, 1 if feed == OTHER else 2)


async def test_a_feed_wanted_while_the_feeds_of_its_lost_slot_end_begins_later(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy, ending, may_end = service.BODIES["ticker"], asyncio.Event(), asyncio.Event()

    async def ends_slowly(context: FeedContext) -> None:
        try:
            await healthy(context)
        finally:
            ending.set()
            await may_end.wait()

    monkeypatch.setitem(service.BODIES, "ticker", ends_slowly)
    async with running_simulator("--live-rate", "50") as simulator:
        async with serving(bus, serve_streamer, short(simulator.url), "one") as streamer, asyncio.timeout(100):
            await live.start(bus, OTHER)
            await live.start(bus, TICKER)
            await live_at(bus, [TICKER, OTHER], "one")
            await bus.jetstream.publish(f"{PREFIX}.lease.{SLOT}", b'{"holder":"other","since":0}')
            await ending.wait()
            try:
                for feed in MARKET:
                    await live.start(bus, feed)
                ran = {each.feed for each in await reports(bus) if each.owner == "one"}
            finally:
                may_end.set()
            assert ran == {TICKER, OTHER}
            await live_at(bus, [*MARKET, OTHER], "one")
            assert not streamer.done()


async def test_a_tape_that_stores_nothing_does_not_keep_its_streamer_from_ending(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it could not store is fetched by the next one."""
    monkeypatch.setattr(feed_supervisor, "END_S", 1.0)
    feed = MARKET[0]
    async with (
        running_simulator("--live-rate", "50") as simulator,
        live.seeing(bus, feed) as seen,
        asyncio.timeout(120),
    ):
        configured = short(simulator.url)
        async with serving(bus, serve_streamer, configured, "one"):
            await live.start(bus, feed)
            await seen.until(lambda: len(seen.trades) > 10)
            config = (await bus.jetstream.stream_info(TRADES_STREAM)).config
            await bus.jetstream.update_stream(config.evolve(max_msg_size=1))
        before = len(seen.trades)
        await bus.jetstream.update_stream(config)
        async with serving(bus, serve_streamer, configured, "two"):
            await seen.until(lambda: len(seen.trades) > before + 10)
            await live.assert_every_trade_once(bus, simulator, feed, "BTCUSDT")


async def test_streamers_of_a_version_before_slots_keep_their_feeds(bus: Bus) -> None:
    """They own each feed by itself: both would write on its tape."""
    feed = MARKET[0]
    older = b'{"instance":"older","service":"streamer","host":"h","pid":1,"started":0}'

    ended = asyncio.Event()

    async def renew() -> None:
        # Python 3.11 may lose a cancellation of a call of nats-py: python/cpython#86296.
        while not ended.is_set():
            await bus.jetstream.publish(f"{PREFIX}.lease.{feed.path}", b'{"holder":"older","since":0}')
            await bus.jetstream.publish(f"{PREFIX}.instance.older", older)
            await asyncio.sleep(0.2)

    renewing = asyncio.ensure_future(renew())
    async with running_simulator("--live-rate", "50") as simulator, hearing(bus, feed.public, Trades) as heard:
        async with serving(bus, serve_streamer, short(simulator.url), "one"):
            assert (await live.start(bus, feed)).state == "waiting"
            for _ in range(10):
                await asyncio.sleep(0.3)
                assert await owners(bus) == {feed.path: "older"}
            assert (await live.start(bus, feed)).owner == "older"
            assert heard.said == []
            ended.set()
            await renewing
            await live_at(bus, [feed], "one")
            await all_owned(bus, "one")
