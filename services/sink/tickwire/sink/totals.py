"""What goes on from one message of trades to the next: how many there were, and who bought more. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from tickwire.feeds import Trade
from tickwire.messages import SinkTotals

BOUNDS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
CLASSES = ("0-10k", "10k-100k", "100k-1m", "1m-10m", "10m-100m", "100m+")
"""Sizes of trades in quote currency, the lower bound included; above the last bound is a class of its own."""


def class_of(quote: float) -> str:
    """The size class of a trade of so much quote currency (price times amount)."""
    return CLASSES[bisect_right(BOUNDS, quote)]


def after(totals: SinkTotals, trades: Sequence[Trade], sequence: int) -> SinkTotals:
    """The totals with the trades of one more message, at `sequence` of the tape."""
    cvd = dict(totals.cvd)
    for trade in trades:
        quote = trade.price * trade.amount
        delta = quote if trade.side == "buy" else -quote if trade.side == "sell" else 0.0
        name = class_of(quote)
        cvd[name] = cvd.get(name, 0.0) + delta
    return SinkTotals(sequence=sequence, count=totals.count + len(trades), cvd=cvd)
