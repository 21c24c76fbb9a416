"""REST that fails, lags, hangs or throttles during a repair: the trades are fetched later or named as a gap."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ccxt.base import errors

from support.feeds import ScriptedVenue
from support.trading import START, Rest, row, trade, trades
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Gap
from tickwire.settings import StreamerSettings
from trades.trade_feed import consecutive, on_tape, push, running, witness

pytestmark = pytest.mark.actors


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
        await seen.until(lambda: seen.ids == [0, 5])
        assert len(seen.gaps) == 1


async def test_an_exchange_that_wants_to_be_left_alone_for_long_is_left_alone(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 10)))
    venue.rest.gate.shut(600)
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, [trade(0), trade(5)])
        await seen.until(lambda: seen.ids == [0, 5])
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
