"""Messages of the tape of trades, taken once the exchange's clock has come to what they end.

A trade may be stamped a little later than the exchange's clock shows (`tickwire.model.plausibility`). It ends the
intervals before it, and no interval is over before the exchange's clock says so. Times that no clock comes to soon are
left out here too: they were put on the tape by an owner that took them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from tickwire.exchange.admission import Admission, LeftOut
from tickwire.model.feeds import Gap, Trades
from tickwire.process import lifecycle
from tickwire.streamer.candles.builder import CandleBuilder
from tickwire.streamer.control.feed_venue import FeedVenue


def admitted(message: Trades, admission: Admission, left_out: LeftOut) -> Trades:
    """The same without the times that cannot be right; where trades are left out by that, after a gap."""
    kept = list(admission.timed(message.trades, left_out))
    until = message.until if message.until is None or admission.refusal(message.until) is None else None
    if len(kept) == len(message.trades) and until == message.until:
        return message
    gap = message.gap
    if gap is None and len(kept) < len(message.trades):
        gap = Gap(since=None, until=None, reason="trades on the tape have times that cannot be right")
    return msgspec.structs.replace(message, trades=kept, until=until, gap=gap)


async def in_time(message: Trades, buildings: Iterable[CandleBuilder], venue: FeedVenue, stop: asyncio.Event) -> bool:
    """Wait until the exchange's clock has come to the end of all intervals that a message ends; whether it has.

    It has not when `stop` was set. Where the exchange's time is unknown, a later trade is what ends an interval.
    """
    now = venue.clock()
    newest = max([message.until or 0, *(trade.timestamp for trade in message.trades)])
    if now is None or newest <= now:
        return True
    due = max((building.end_reached_by(newest) for building in buildings), default=0)
    while (now := venue.clock()) is not None and now < due:
        await lifecycle.pause(stop, (due - now) / 1000)
        if stop.is_set():
            return False
    return True
