"""The body of a trade feed against a real broker: every trade once, in order, or a gap with its bounds."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from ccxt.base import errors

from support.feeds import ScriptedVenue, Witness
from support.trading import START, Rest, row, trade, trades
from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.errors import BrokerUnavailable, Fenced
from tickwire.exchange.past_trades import PastTrades
from tickwire.model import messages
from tickwire.model.feeds import Gap, Trade, Trades
from tickwire.settings import NatsSettings, StreamerSettings
from tickwire.streamer.control.feed_venue import FeedSink
from tickwire.streamer.trades.resume import recent_trades
from tickwire.tape.writer import open_writer
from tickwire.venues.profile import TradeFacts
from trades.trade_feed import FEED, running, witness

pytestmark = pytest.mark.actors


def push(sink: FeedSink, some: list[Trade], frame: int = 10) -> None:
    """Live trades, so many a frame."""
    for start in range(0, len(some), frame):
        sink.take(some[start : start + frame], int(time.time() * 1000))


async def on_tape(bus: Bus, some: list[Trade]) -> None:
    """Trades put on the tape by an earlier owner."""
    tape, _ = await open_writer(bus, streams.TRADES, FEED.tape)
    for start in range(0, len(some), 500):
        part = some[start : start + 500]
        await tape.append(
            messages.encode(Trades(exchange="binance", symbol="BTC/USDT", trades=part, received=part[-1].timestamp))
        )


def consecutive(seen: Witness, first: int, end: int) -> bool:
    """Whether exactly these ids are on the tape, in order."""
    return seen.ids == list(range(first, end))


# ---- ids that count


async def test_a_new_tape_begins_with_the_first_live_trade_and_asks_for_nothing(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 100)))
    async with witness(bus) as seen, running(bus, venue) as body:
        await seen.until(lambda: len(seen.messages) == 1)
        assert seen.messages[0].trades == [], "the marker of a new owner"
        push(body.sink, trades(50, 60))
        await seen.until(lambda: consecutive(seen, 50, 60))
        assert body.state == "live"
        assert venue.rest.calls == []
        assert seen.trades == trades(50, 60)
        assert seen.messages[-1].until == trade(59).timestamp
        await body.stop()
        await seen.until(lambda: "stopped" in seen.events())
        assert seen.events() == ["starting", "connected", "stopped"]
        assert venue.left.is_set()


async def test_an_owner_goes_on_where_the_tape_ends(bus: Bus) -> None:
    await on_tape(bus, trades(0, 700))
    venue = ScriptedVenue(Rest(trades(0, 3000)))
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(2900, 3010))
        await seen.until(lambda: consecutive(seen, 0, 3010))
        await seen.until(lambda: "repaired" in seen.events())
        assert {message.source for message in seen.messages if message.trades[:1] == [trade(700)]} == {"rest"}
        assert [call["fromId"] for call in venue.rest.calls] == [700, 1700, 2700]
        assert sum(status.trades for status in seen.statuses) == body.context.status.repaired == 2200


async def test_the_last_trade_is_found_behind_any_number_of_messages_without_trades(bus: Bus) -> None:
    await on_tape(bus, trades(0, 10))
    tape, _ = await open_writer(bus, streams.TRADES, FEED.tape)
    for _ in range(600):
        await tape.append(messages.encode(Trades(exchange="binance", symbol="BTC/USDT", trades=[], received=1)))
    venue = ScriptedVenue(Rest(trades(0, 20)))
    async with witness(bus) as seen, running(bus, venue):
        await seen.until(lambda: consecutive(seen, 0, 20))


async def test_trades_of_a_disconnection_are_fetched_before_the_live_ones_go_on(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 1000)))
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 100))
        body.sink.disconnected("cut")
        assert body.state == "disconnected"
        body.sink.connected()
        push(body.sink, trades(600, 900))
        await seen.until(lambda: consecutive(seen, 0, 900) or consecutive(seen, 0, 1000))
        await seen.until(lambda: "repaired" in seen.events())
        assert seen.events() == ["starting", "connected", "disconnected", "connected", "repaired"]
        assert body.context.status.reconnects == 1
        assert body.state == "live"


async def test_a_hole_in_the_ids_is_repaired_without_a_disconnection(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 100)))
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, [*trades(0, 40), *trades(45, 60)])
        await seen.until(lambda: consecutive(seen, 0, 60) or consecutive(seen, 0, 100))
        assert seen.gaps == []


async def test_trades_that_the_exchange_repeats_are_counted_and_not_on_the_tape(bus: Bus) -> None:
    venue = ScriptedVenue(Rest())
    async with witness(bus) as seen, running(bus, venue) as body:
        for start in range(0, 100, 5):
            push(body.sink, trades(max(0, start - 20), start + 5))
        await seen.until(lambda: consecutive(seen, 0, 100))
        # Each of the frames but the first ones repeats 20 trades.
        assert body.context.status.duplicates == 5 + 10 + 15 + 16 * 20


async def test_ids_that_are_no_numbers_are_counted_and_told_and_the_feed_goes_on(bus: Bus) -> None:
    venue = ScriptedVenue(Rest())
    odd = Trade(id="odd", timestamp=START, side=None, price=1.0, amount=1.0)
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, [trade(0), odd, odd, trade(1)])
        for _ in range(50):
            body.sink.rejected("broken frame")
        push(body.sink, [trade(2)])
        await seen.until(lambda: consecutive(seen, 0, 3) and "rejected" in seen.events())
        assert body.context.status.rejected == 52
        assert seen.events().count("rejected") == 1, "not said more than once a second"


def subclasses(kind: type[BaseException]) -> list[type[BaseException]]:
    """A class and all below it."""
    return [kind, *(lower for each in kind.__subclasses__() for lower in subclasses(each))]


async def test_after_any_error_of_rest_the_trades_are_fetched_or_named_missing(bus: Bus) -> None:
    """Operations that failed are asked again; what the exchange refuses is a gap at once."""
    venue = ScriptedVenue(Rest(trades(0, 1)))
    gone: list[int] = []
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(repair_s=60)) as body:
        push(body.sink, [trade(0)])
        at = 0
        for error in subclasses(errors.BaseError):
            await seen.until(lambda at=at: seen.ids[-1:] == [at])  # type: ignore[misc]
            venue.rest.happened += trades(at + 1, at + 5)
            venue.rest.script = [error("scripted")]
            push(body.sink, [trade(at + 5)])
            venue.rest.happened.append(trade(at + 5))
            if error not in subclasses(errors.OperationFailed):
                gone += range(at + 1, at + 5)
            at += 5
        await seen.until(lambda: seen.ids[-1:] == [at])
        assert seen.ids == [number for number in range(at + 1) if number not in gone]
        assert [int(gap.after_id or 0) + 1 for gap in seen.gaps] == gone[::4]
        assert all("scripted" in gap.reason for gap in seen.gaps)


async def test_a_gap_is_published_with_its_bounds_when_rest_never_gives_the_trades_back(bus: Bus) -> None:
    venue = ScriptedVenue(Rest())
    venue.rest.always = errors.NetworkError("down")
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 10))
        push(body.sink, trades(20, 30))
        await seen.until(lambda: seen.ids == [*range(10), *range(20, 30)])
        (gap,) = seen.gaps
        assert gap.reason == "NetworkError: down"
        assert gap == Gap(
            since=trade(9).timestamp, until=trade(20).timestamp, after_id="9", before_id="20", reason=gap.reason
        )
        assert [message.trades[0] for message in seen.messages if message.gap] == [trade(20)]
        await seen.until(lambda: "gap" in seen.events())
        assert next(status.gap for status in seen.statuses if status.event == "gap") == gap
        assert body.context.status.gaps == 1


async def test_trades_that_the_exchange_never_had_are_a_gap_within_two_seconds(bus: Bus) -> None:
    """REST answers well, and with later trades: it has no others."""
    happened = [*trades(0, 10), *trades(20, 30)]
    venue = ScriptedVenue(Rest(happened))
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(repair_s=60)) as body:
        push(body.sink, happened)
        await seen.until(lambda: seen.ids == [*range(10), *range(20, 30)])
        assert len(seen.gaps) == 1


async def test_rest_that_lags_behind_the_socket_is_asked_again(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 60)))
    venue.rest.script = [[], [row(trade(10))], []]
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(repair_s=60)) as body:
        push(body.sink, [*trades(0, 10), *trades(50, 60)])
        await seen.until(lambda: consecutive(seen, 0, 60))
        assert seen.gaps == []


async def test_a_quiet_market_is_asked_again_when_rest_may_have_caught_up(bus: Bus) -> None:
    await on_tape(bus, trades(0, 10))
    venue = ScriptedVenue(Rest(trades(0, 12)))
    venue.rest.script = [[]]
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=200)) as body:
        await seen.until(lambda: consecutive(seen, 0, 12) and "repaired" in seen.events())
        assert body.state == "live"


async def test_rest_that_hangs_holds_live_trades_no_longer_than_is_allowed(bus: Bus) -> None:
    async def hang(*arguments: Any) -> Any:
        await asyncio.Event().wait()

    venue = ScriptedVenue(Rest())
    venue.rest.script = [hang] * 10
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, [trade(0), trade(5)])
        await seen.until(lambda: seen.ids == [0, 5], timeout_s=5)
        assert len(seen.gaps) == 1


async def test_an_exchange_that_wants_to_be_left_alone_for_long_is_left_alone(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 10)))
    venue.rest.gate.shut(600)
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, [trade(0), trade(5)])
        await seen.until(lambda: seen.ids == [0, 5], timeout_s=5)
        assert "demands a pause" in seen.gaps[0].reason
        assert venue.rest.calls == []


async def test_nothing_further_back_than_the_span_is_fetched(bus: Bus) -> None:
    """Ten trades a second, a span of 30 s: of 1,000 missing trades the last 300 are fetched."""
    await on_tape(bus, trades(0, 10))
    venue = ScriptedVenue(Rest(trades(0, 1010)), clock=lambda: START + 101_000)
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(repair_span_s=30)) as body:
        push(body.sink, trades(1005, 1015))
        await seen.until(lambda: seen.ids[-1:] == [1014])
        assert seen.ids == [*range(10), *range(710, 1015)]
        assert [(gap.after_id, gap.before_id) for gap in seen.gaps] == [("9", "710")]


async def test_more_trades_than_may_wait_are_fetched_later(bus: Bus) -> None:
    venue = ScriptedVenue(Rest())
    venue.rest.always = errors.ExchangeNotAvailable("down")
    settings = StreamerSettings(repair_s=60, held=1000)
    async with witness(bus) as seen, running(bus, venue, settings) as body:
        push(body.sink, trades(0, 10))
        for start in range(20, 5020, 100):
            push(body.sink, trades(start, start + 100))
            await asyncio.sleep(0)
        assert body.context.status.conflated >= 4000
        venue.rest.happened += trades(0, 5020)
        venue.rest.always = None
        await seen.until(lambda: consecutive(seen, 0, 5020))
        assert seen.gaps == []


async def test_a_burst_of_20000_trades_is_on_the_tape_in_order(bus: Bus) -> None:
    venue = ScriptedVenue(Rest())
    async with witness(bus) as seen, running(bus, venue) as body:
        for start in range(0, 20_000, 20):
            push(body.sink, trades(start, start + 20), frame=1)
            await asyncio.sleep(0)
        await seen.until(lambda: len(seen.ids) >= 20_000)
        assert consecutive(seen, 0, 20_000)
        assert venue.rest.calls == []


async def test_what_waits_for_missing_trades_at_the_end_is_left_to_the_next_owner(bus: Bus) -> None:
    venue = ScriptedVenue(Rest())
    venue.rest.always = errors.NetworkError("down")
    settings = StreamerSettings(repair_s=60)
    async with witness(bus) as seen:
        async with running(bus, venue, settings) as body:
            push(body.sink, [trade(0), trade(5)])
            await seen.until(lambda: seen.ids == [0])
        assert seen.ids == [0]
        async with running(bus, ScriptedVenue(Rest(trades(0, 8))), settings, owner="two"):
            await seen.until(lambda: consecutive(seen, 0, 8))


async def test_an_owner_that_was_overtaken_adds_nothing(bus: Bus) -> None:
    first, second = ScriptedVenue(Rest(trades(0, 30))), ScriptedVenue(Rest(trades(0, 30)))
    public: list[Trades] = []

    async def hear(message: Any) -> None:
        public.append(messages.decode(message.data, Trades))

    await bus.subscribe(FEED.public, hear)
    async with witness(bus) as seen:
        with pytest.raises(ExceptionGroup) as raised:
            async with running(bus, first) as zombie:
                push(zombie.sink, trades(0, 10))
                await seen.until(lambda: consecutive(seen, 0, 10))
                async with running(bus, second, owner="two") as successor:
                    push(zombie.sink, trades(10, 20))
                    with pytest.raises(Fenced):
                        await zombie.task
                    push(successor.sink, trades(10, 25))
                    await seen.until(lambda: consecutive(seen, 0, 25) or consecutive(seen, 0, 30))
                zombie.context.status.report("gap")
        assert raised.group_contains(Fenced), "nor may it say anything"
        assert first.left.is_set()
        assert [each.id for message in public for each in message.trades] == [str(number) for number in seen.ids]
        assert "one" not in {status.owner for status in seen.statuses[seen.events().index("starting", 1) :]}


async def test_a_broker_that_is_killed_again_and_again_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """Some confirmations are lost, some publishes arrive twice, and for a while nobody answers at all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    venue = ScriptedVenue(Rest())
    sent = 0
    async with asyncio.TaskGroup() as group:
        up, dead = asyncio.Event(), asyncio.Event()

        async def serve() -> None:
            while True:
                try:
                    async with embedded.embedded(tmp_path / "nats", port=port):
                        dead.clear()
                        up.set()
                        await asyncio.Event().wait()
                except BrokerUnavailable:
                    up.clear()
                    dead.set()

        serving = group.create_task(serve())
        await up.wait()
        async with connect(NatsSettings(url=f"nats://127.0.0.1:{port}"), name="test") as bus:
            await streams.declare(bus.jetstream, 8, 1.0)
            async with witness(bus) as seen, running(bus, venue) as body:
                for _ in range(3):
                    enough = sent + 300
                    while not seen.ids or seen.ids[-1] < enough:
                        push(body.sink, trades(sent, sent + 3), frame=1)
                        sent += 3
                        await asyncio.sleep(0.001)
                    (server,) = [p for p in psutil.Process().children(recursive=True) if p.name() == "nats-server"]
                    server.kill()
                    await dead.wait()
                    push(body.sink, trades(sent, sent + 50))
                    sent += 50
                    await up.wait()
                await seen.until(lambda: seen.ids[-1] == sent - 1, timeout_s=30)
                assert consecutive(seen, 0, sent)
                assert venue.rest.calls == []
        serving.cancel()


# ---- ids that only tell apart


async def test_without_counting_ids_a_reconnect_is_repaired_by_pages_that_overlap(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 1000), page=100), sequential_ids=False)
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 100))
        body.sink.disconnected("cut")
        body.sink.connected()
        push(body.sink, trades(600, 650))
        await seen.until(lambda: consecutive(seen, 0, 650))
        push(body.sink, trades(640, 700))
        await seen.until(lambda: consecutive(seen, 0, 700))
        assert seen.gaps == []
        assert venue.rest.calls[0]["since"] == trade(99).timestamp - 1
        assert [message.until for message in seen.messages] == [None] * len(seen.messages)


async def test_without_counting_ids_nothing_missing_is_believed_after_a_while(bus: Bus) -> None:
    await on_tape(bus, trades(0, 2000))
    venue = ScriptedVenue(Rest(trades(0, 2000)), sequential_ids=False)
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=100)) as body:
        await seen.until(lambda: "repaired" in seen.events())
        assert body.state == "live"
        push(body.sink, trades(1990, 2010))
        await seen.until(lambda: consecutive(seen, 0, 2010))
        assert body.context.status.duplicates == 10


async def test_without_counting_ids_a_page_that_starts_too_late_is_a_gap(bus: Bus) -> None:
    async def newest(symbol: str, since: int, limit: int, params: Any) -> Any:
        return [row(each) for each in trades(550, 610)]

    venue = ScriptedVenue(Rest(), sequential_ids=False)
    venue.rest.script = [newest] * 10
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 100))
        body.sink.disconnected("cut")
        body.sink.connected()
        push(body.sink, trades(600, 620))
        await seen.until(lambda: seen.ids == [*range(100), *range(550, 620)])
        assert [(gap.after_id, gap.before_id) for gap in seen.gaps] == [("99", "550")]


async def test_without_counting_ids_more_trades_than_may_wait_are_fetched_later(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(page=2000), sequential_ids=False)
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(held=1000, settle_ms=0)) as body:
        push(body.sink, trades(0, 10))
        await seen.until(lambda: consecutive(seen, 0, 10))
        # All at once, with nobody there to take them.
        push(body.sink, trades(10, 5000), frame=100)
        venue.rest.happened += trades(0, 5000)
        await seen.until(lambda: consecutive(seen, 0, 5000))
        assert body.context.status.conflated >= 3990


# ---- everything at once


@pytest.mark.parametrize("sequential_ids", [True, False])
@pytest.mark.parametrize("seed", range(4))
async def test_an_unreliable_exchange_is_followed_trade_by_trade(bus: Bus, sequential_ids: bool, seed: int) -> None:
    """Cuts, repetitions, snapshots after reconnects, REST that fails and lags: 6,000 trades, each once, in order."""
    chance = random.Random(seed)
    venue = ScriptedVenue(Rest(page=200), sequential_ids=sequential_ids)
    known: list[Trade] = []
    kinds = [errors.NetworkError, errors.RateLimitExceeded, errors.ExchangeNotAvailable, errors.RequestTimeout]
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=50)) as body:
        connected = True
        for start in range(0, 6000, 20):
            now = trades(start, start + 20)
            known += now
            # REST shows what the socket showed a frame ago, or so.
            venue.rest.happened = known[: len(known) - chance.choice([0, 0, 20, 40])]
            if chance.random() < 0.1:
                venue.rest.script = [chance.choice(kinds)("scripted") for _ in range(chance.randrange(3))]
            if connected and start and chance.random() < 0.08:
                body.sink.disconnected("cut")
                connected = False
            elif not connected and chance.random() < 0.3:
                body.sink.connected()
                connected = True
                body.sink.take(known[-chance.randrange(20, 60) :], 1)
            elif connected:
                again = chance.choice([0, 0, 0, 7, 30]) if start else 0
                body.sink.take(known[max(0, len(known) - 20 - again) :], 1)
            await asyncio.sleep(chance.choice([0, 0, 0.002, 0.01]))
        venue.rest.happened, venue.rest.script = known, []
        if not connected:
            body.sink.connected()
        await seen.until(lambda: seen.ids[-1:] == [5999])
        assert consecutive(seen, 0, 6000)
        assert seen.gaps == []


# ---- how far the tape is complete


async def test_in_a_quiet_market_the_tape_says_each_minute_that_it_is_complete(bus: Bus) -> None:
    began = time.monotonic()
    minute = START // 60_000 * 60_000
    # 0.3 s before the minute is over.
    venue = ScriptedVenue(Rest(), clock=lambda: minute + 59_700 + int((time.monotonic() - began) * 1000))
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=100)) as body:
        push(body.sink, [trade(0, timestamp=minute + 59_000)])
        await seen.until(lambda: seen.messages[-1:] != [] and seen.messages[-1].until == minute + 60_000)
        assert seen.messages[-1].trades == []
        assert seen.ids == [0]


async def test_while_trades_may_be_missing_the_tape_does_not_say_that_it_is_complete(bus: Bus) -> None:
    began = time.monotonic()
    minute = START // 60_000 * 60_000
    venue = ScriptedVenue(Rest(), clock=lambda: minute + 59_900 + int((time.monotonic() - began) * 1000))
    venue.rest.always = errors.NetworkError("down")
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=0, repair_s=1.0)) as body:
        push(body.sink, [trade(0, timestamp=minute + 59_000), trade(2, timestamp=minute + 59_100)])
        await seen.until(lambda: bool(seen.messages) and seen.messages[-1].until == minute + 60_000)
        assert [message.trades[0].id for message in seen.messages if message.trades] == ["0", "2"]
        assert len(seen.gaps) == 1


async def test_while_the_socket_is_silent_the_tape_does_not_say_that_it_is_complete(bus: Bus) -> None:
    began = time.monotonic()
    minute = START // 60_000 * 60_000
    venue = ScriptedVenue(silent=True, clock=lambda: minute + 59_900 + int((time.monotonic() - began) * 1000))
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=300)) as body:
        while len(venue.asked) < 2:
            await asyncio.sleep(0.05)
        # 100 ms to the boundary, 300 ms to settle.
        assert all(abs(since - (began * 1000 + 400)) < 50 for since in venue.asked)
        push(body.sink, [trade(0, timestamp=minute + 59_950)])
        await seen.until(lambda: seen.ids == [0])
        venue.silent = False
        await seen.until(lambda: seen.messages[-1].until == minute + 60_000)
        assert [message.trades == [] for message in seen.messages] == [True, False, True]


# ---- a quiet market, in which nothing was traded yet


def quiet(sequential_ids: bool) -> tuple[ScriptedVenue, int]:
    """A venue shortly before a minute's end, and that end."""
    began = time.monotonic()
    minute = START // 60_000 * 60_000 + 60_000
    clock = lambda: minute - 200 + int((time.monotonic() - began) * 1000)
    return ScriptedVenue(Rest(), sequential_ids=sequential_ids, clock=clock), minute


def traded(venue: ScriptedVenue, *numbers: int) -> list[Trade]:
    """These trades happen now."""
    happened = [trade(number, timestamp=venue.clock() or 0) for number in numbers]
    venue.rest.happened += happened
    return happened


@pytest.mark.parametrize("marked", [True, False], ids=["after a minute", "at once"])
@pytest.mark.parametrize("sequential_ids", [True, False], ids=["counted", "uncounted"])
async def test_trades_of_an_outage_before_there_was_any_are_fetched(
    bus: Bus, sequential_ids: bool, marked: bool
) -> None:
    venue, minute = quiet(sequential_ids)
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=50)) as body:
        if marked:
            await seen.until(lambda: seen.messages[-1:] != [] and seen.messages[-1].until == minute)
        body.sink.disconnected("cut")
        missed = traded(venue, 1, 2, 3)
        body.sink.connected()
        (late,) = traded(venue, 4)
        body.sink.take([late], 0)
        await seen.until(lambda: consecutive(seen, 1, 5))
        assert seen.trades == [*missed, late]
        assert seen.gaps == []
        assert next(message.source for message in seen.messages if message.trades) == "rest"
        assert min(call["since"] for call in venue.rest.calls) <= missed[0].timestamp
        await seen.until(lambda: "repaired" in seen.events())
        assert body.state == "live"


@pytest.mark.parametrize("sequential_ids", [True, False], ids=["counted", "uncounted"])
async def test_trades_before_a_takeover_are_fetched_though_there_was_none_before(
    bus: Bus, sequential_ids: bool
) -> None:
    venue, minute = quiet(sequential_ids)
    async with witness(bus) as seen:
        async with running(bus, venue, StreamerSettings(settle_ms=50)):
            await seen.until(lambda: seen.messages[-1:] != [] and seen.messages[-1].until == minute)
        missed = traded(venue, 1, 2, 3)
        venue.watched.clear()
        async with running(bus, venue, StreamerSettings(settle_ms=50), owner="two"):
            # Nothing comes live.
            await seen.until(lambda: consecutive(seen, 1, 4))
            assert seen.trades == missed
            assert seen.gaps == []


@pytest.mark.parametrize("sequential_ids", [True, False], ids=["counted", "uncounted"])
async def test_what_rest_cannot_give_back_before_any_trade_is_a_gap_with_bounds(bus: Bus, sequential_ids: bool) -> None:
    venue, minute = quiet(sequential_ids)
    venue.rest.always = errors.ExchangeError("no")
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=50)) as body:
        await seen.until(lambda: seen.messages[-1:] != [] and seen.messages[-1].until == minute)
        body.sink.disconnected("cut")
        traded(venue, 1, 2, 3)
        body.sink.connected()
        (late,) = traded(venue, 4)
        body.sink.take([late], 0)
        await seen.until(lambda: seen.ids == [4])
        assert seen.gaps == [Gap(since=minute - 1, until=late.timestamp, before_id="4", reason="ExchangeError: no")]


@pytest.mark.parametrize("sequential_ids", [True, False], ids=["counted", "uncounted"])
async def test_before_any_trade_what_is_further_back_than_the_span_is_a_gap(bus: Bus, sequential_ids: bool) -> None:
    venue, minute = quiet(sequential_ids)
    async with witness(bus) as seen:
        async with running(bus, venue, StreamerSettings(settle_ms=50)):
            await seen.until(lambda: seen.messages[-1:] != [] and seen.messages[-1].until == minute)
        traded(venue, 1)
        clock = venue.clock
        venue.clock = lambda: (clock() or 0) + 40_000
        (second,) = traded(venue, 2)
        venue.watched.clear()
        async with running(bus, venue, StreamerSettings(settle_ms=50, repair_span_s=30), owner="two") as body:
            await seen.until(lambda: seen.trades == [second])
            (gap,) = seen.gaps
            assert (gap.since, gap.after_id, gap.before_id) == (minute - 1, None, None)
            assert abs((gap.until or 0) - (second.timestamp - 30_000)) < 5_000
            assert body.context.status.gaps == 1


# ---- the tape, read back


async def test_however_much_others_said_the_last_trades_are_read_back_at_once_and_alone(bus: Bus) -> None:
    """20,000 messages of others in between, not one of which is sent to us."""
    await on_tape(bus, trades(0, 1200))
    for number in range(20_000):
        await bus.client.publish("tape.trade.binance.ETH-USDT", b"{}")
        if number % 5000 == 4999:
            await bus.client.flush()
    tape, _ = await open_writer(bus, streams.TRADES, FEED.tape)
    end = await tape.append(messages.encode(Trades(exchange="binance", symbol="BTC/USDT", trades=[], received=1)))
    assert end > 20_000
    before = bus.client.stats["in_msgs"]
    recent = await recent_trades(bus, FEED, end, 1000)
    assert recent.trades == trades(200, 1200)
    assert bus.client.stats["in_msgs"] - before == 4, "the marker, and messages of 200, 500 and 500"


async def test_what_retention_left_of_the_tape_is_read_back_with_how_far_it_is_complete(bus: Bus) -> None:
    tape, _ = await open_writer(bus, streams.TRADES, FEED.tape)
    ends = []
    for number in range(6):
        some = [trade(number)] if number < 5 else []
        until = START + 1000 * number if number in (3, 4) else None
        message = Trades(exchange="binance", symbol="BTC/USDT", trades=some, received=1, until=until)
        ends.append(await tape.append(messages.encode(message)))
    assert (await recent_trades(bus, FEED, ends[-1], 2)) == (trades(3, 5), START + 4000)
    await bus.jetstream.purge_stream(streams.TRADES, seq=ends[2])
    assert (await recent_trades(bus, FEED, ends[-1], 10)) == (trades(2, 5), START + 4000)
    assert (await recent_trades(bus, FEED, ends[2], 10)) == (trades(2, 3), None)


# ---- ids far ahead

JUMP = 10**9


async def test_a_trade_whose_id_jumps_ahead_is_refused_and_costs_no_real_one(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 200)))
    odd = trade(JUMP, timestamp=trade(49).timestamp)
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 50))
        push(body.sink, [odd])
        for number in range(50, 200):
            push(body.sink, [trade(number)])
        await seen.until(lambda: consecutive(seen, 0, 200) and "rejected" in seen.events())
        await seen.until(lambda: body.state == "live")
        assert seen.gaps == []
        assert body.context.status.rejected == 1
        assert str(JUMP) in next(status.message for status in seen.statuses if status.event == "rejected")


async def test_an_id_that_jumps_ahead_in_a_quiet_market_does_not_hold_up_later_trades(bus: Bus) -> None:
    """Nothing contradicts it until it is given up; then the next real trade does."""
    venue = ScriptedVenue(Rest(trades(0, 50)))
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 50))
        push(body.sink, [trade(JUMP, timestamp=trade(49).timestamp)])
        await seen.until(lambda: "repaired" in seen.events())
        assert body.state == "live"
        venue.rest.happened += trades(50, 60)
        push(body.sink, trades(50, 60))
        await seen.until(lambda: consecutive(seen, 0, 60) and "rejected" in seen.events())
        assert seen.gaps == []
        assert body.context.status.rejected == 1


@pytest.mark.parametrize("rest_follows", [True, False])
async def test_an_exchange_that_renumbers_is_followed_after_a_gap(bus: Bus, rest_follows: bool) -> None:
    venue = ScriptedVenue(Rest(trades(0, 50)))
    new = [trade(JUMP + number, timestamp=trade(number).timestamp) for number in range(50, 80)]
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 50))
        await seen.until(lambda: consecutive(seen, 0, 50))
        if rest_follows:
            venue.rest.happened += new
        push(body.sink, new)
        await seen.until(lambda: seen.trades == [*trades(0, 50), *new])
        assert [(gap.after_id, gap.before_id) for gap in seen.gaps] == [("49", new[0].id)]
        assert body.context.status.rejected == 0


async def test_a_page_without_the_last_trade_proves_nothing(bus: Bus) -> None:
    """REST has forgotten everything: what happened in between is not to be had, and that nothing did is not known."""
    now = START
    venue = ScriptedVenue(Rest(), sequential_ids=False, clock=lambda: now)
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 10))
        await seen.until(lambda: len(seen.trades) == 10)
        now = START + 3_000
        body.sink.disconnected("cut")
        body.sink.connected()
        await seen.until(lambda: "repaired" in seen.events())
        (gap,) = seen.gaps
        assert (gap.since, gap.until, gap.after_id) == (trade(9).timestamp, now, "9")
        assert body.state == "live"
        push(body.sink, trades(40, 50))
        await seen.until(lambda: seen.ids == [*range(10), *range(40, 50)])
        assert seen.gaps == [gap]


async def test_what_lies_beyond_the_reach_of_rest_is_a_gap(bus: Bus) -> None:
    """bitstamp gives the last hour: an empty hour says nothing of the one before."""
    now = START
    venue = ScriptedVenue(Rest(), sequential_ids=False, clock=lambda: now)
    venue.past = PastTrades(venue.rest, TradeFacts(method="by_time", reach_ms=3_600_000, resolution_ms=1))
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(repair_span_s=86_400, settle_ms=0)) as body:
        push(body.sink, trades(0, 10))
        await seen.until(lambda: len(seen.trades) == 10)
        now = START + 7_200_000
        body.sink.disconnected("cut")
        body.sink.connected()
        await seen.until(lambda: "repaired" in seen.events())
        (gap,) = seen.gaps
        assert (gap.since, gap.until) == (trade(9).timestamp, START + 3_600_000)
        assert "far enough" in gap.reason
        assert body.state == "live"
