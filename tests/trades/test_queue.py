"""The queue between the socket and the tape, while the tape accepts nothing."""

from __future__ import annotations

import pytest

from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed, Trade
from tickwire.streamer.control.feed_status import open_feed_status
from tickwire.streamer.trades.by_id import OrderingById
from tickwire.streamer.trades.queue import TradeQueue

pytestmark = pytest.mark.actors


def trade(number: int) -> Trade:
    return Trade(id=str(number), timestamp=1_700_000_000_000 + number, side="buy", price=1.0, amount=1.0)


async def test_trades_that_cannot_be_used_take_no_memory_while_the_tape_accepts_nothing(bus: Bus) -> None:
    """A venue with a wrong clock sends nothing else, thousands in a second; one gap states the first reason."""
    status = await open_feed_status(bus, Feed("trade", "binance", "BTC/USDT"), "one")
    queue = TradeQueue(status, OrderingById(), 1000, lambda: None)
    queue.take([trade(1)], 1)
    for number in range(5000):
        queue.left_out(f"its time is wrong ({number})")
    queue.take([trade(2)], 2)
    queue.left_out("later")
    assert len(queue._entries) == 4
    assert [run.trades for run in queue.all_runs()] == [[trade(1)], [trade(2)]]
    assert status.rejected == 5001
    gap = queue.ordering.pending_gap(1_800_000_000_000)
    assert gap is not None
    assert gap.reason == "a trade was left out: later"
