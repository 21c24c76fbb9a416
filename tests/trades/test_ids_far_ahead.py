"""A trade id that jumps far ahead: refused where nothing confirms it, followed where the exchange renumbers."""

from __future__ import annotations

import pytest

from support.feeds import ScriptedVenue
from support.trading import Rest, trade, trades
from tickwire.bus.connection import Bus
from trades.trade_feed import consecutive, push, running, witness

pytestmark = pytest.mark.actors

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
