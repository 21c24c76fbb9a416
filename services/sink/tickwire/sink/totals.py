"""Running totals of a feed of trades: the count, and the cumulative volume delta (CVD) by size class. Pure.

On contract markets the value in quote currency is known only if the message states the unit of its amounts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from tickwire.model.feeds import Trades
from tickwire.model.messages import SinkTotals
from tickwire.venues.units import is_contract, measure_of

BOUNDS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
CLASSES = ("0-10k", "10k-100k", "100k-1m", "1m-10m", "10m-100m", "100m+")
"""Size classes of trades in quote currency; lower bounds are inclusive, the last class has no upper bound."""


def quotes_of(message: Trades) -> list[float] | None:
    """The value of each trade in quote currency; None if it is not known."""
    measure = measure_of(message)
    if measure is None:
        return None
    return [measure.quote_volume(trade.amount, trade.price) for trade in message.trades]


def class_of(quote: float) -> str:
    """The size class of a trade by its value in quote currency."""
    return CLASSES[bisect_right(BOUNDS, quote)]


def restarts_cvd(totals: SinkTotals, message: Trades) -> bool:
    """Whether the volume deltas must restart: an earlier version counted contracts as base currency."""
    return bool(totals.cvd) and not totals.measured and is_contract(message.symbol) and measure_of(message) is not None


def after(totals: SinkTotals, message: Trades, quotes: Sequence[float] | None, sequence: int) -> SinkTotals:
    """The totals with the trades of one more message, at `sequence` of the tape; `quotes` as of `quotes_of`."""
    count = totals.count + len(message.trades)
    if quotes is None:
        return msgspec.structs.replace(totals, sequence=sequence, count=count)
    cvd = {} if restarts_cvd(totals, message) else dict(totals.cvd)
    for trade, quote in zip(message.trades, quotes, strict=True):
        delta = quote if trade.side == "buy" else -quote if trade.side == "sell" else 0.0
        name = class_of(quote)
        cvd[name] = cvd.get(name, 0.0) + delta
    return msgspec.structs.replace(
        totals, sequence=sequence, count=count, cvd=cvd, measured=is_contract(message.symbol)
    )
