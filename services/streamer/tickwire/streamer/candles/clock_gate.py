"""Holds messages of the trade tape back until the exchange's clock reaches the end of the intervals that they end.

A trade may be stamped slightly ahead of the exchange's clock (`tickwire.model.plausibility`). It ends the intervals
before it, and no interval is over before the exchange's clock says so. Implausible times on the tape, which an earlier
owner accepted, are dropped here.
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
    """The message without implausible times; with a gap before it if trades are left out."""
    kept = list(admission.timed(message.trades, left_out))
    until = message.until if message.until is None or admission.refusal(message.until) is None else None
    if len(kept) == len(message.trades) and until == message.until:
        return message
    gap = message.gap
    if gap is None and len(kept) < len(message.trades):
        gap = Gap(since=None, until=None, reason="trades on the tape have implausible times")
    return msgspec.structs.replace(message, trades=kept, until=until, gap=gap)


async def in_time(message: Trades, builders: Iterable[CandleBuilder], venue: FeedVenue, stop: asyncio.Event) -> bool:
    """Wait until the exchange's clock reaches the end of all intervals that a message ends; False if `stop` was set.

    If the exchange's time is unknown, a later trade ends an interval, and nothing is waited for.
    """
    now = venue.clock()
    newest = max([message.until or 0, *(trade.timestamp for trade in message.trades)])
    if now is None or newest <= now:
        return True
    due = max((builder.end_reached_by(newest) for builder in builders), default=0)
    while (now := venue.clock()) is not None and now < due:
        await lifecycle.pause(stop, (due - now) / 1000)
        if stop.is_set():
            return False
    return True
