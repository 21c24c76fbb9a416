"""Trades summed up per grain, the longest span that every requested timeframe consists of. No I/O.

Summing once per grain makes each further timeframe cheap: a builder adds one partial candle instead of many trades.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import reduce
from math import gcd
from typing import NamedTuple

from tickwire.model import timeframes
from tickwire.model.feeds import Trade
from tickwire.venues.units import BASE, Measure

DAY_MS = 86_400_000


def divides_a_day(timeframe: str) -> bool:
    """Whether candles of this timeframe are built from trades: only if a new candle opens at each UTC midnight."""
    return DAY_MS % timeframes.duration_ms(timeframe) == 0


def grain_of(names: Iterable[str]) -> int:
    """The greatest common divisor (ms) of these timeframes and a day."""
    return reduce(gcd, (timeframes.duration_ms(name) for name in names), DAY_MS)


class PartialCandle(NamedTuple):
    """Consecutive trades of one grain, summed up. `at` is the start of the grain (ms); `volume` is in base currency."""

    at: int
    open: float
    high: float
    low: float
    close: float
    volume: Decimal
    trades: int


def partial_candles(trades: Sequence[Trade], grain: int, measure: Measure = BASE) -> list[PartialCandle]:
    """Sum up trades, given in tape order, per grain (ms). `measure` converts their amounts to base currency."""
    if not trades:
        return []
    grains = [trade.timestamp // grain for trade in trades]
    if grains.count(grains[0]) == len(grains):
        return [_summed(grains[0] * grain, trades, measure)]
    partials, start = [], 0
    for index in range(1, len(grains) + 1):
        if index == len(grains) or grains[index] != grains[start]:
            partials.append(_summed(grains[start] * grain, trades[start:index], measure))
            start = index
    return partials


def _summed(at: int, trades: Sequence[Trade], measure: Measure) -> PartialCandle:
    if len(trades) == 1:
        trade = trades[0]
        price = trade.price
        return PartialCandle(at, price, price, price, price, measure.base_volume(trade.amount, price), 1)
    prices = [trade.price for trade in trades]
    return PartialCandle(at, prices[0], max(prices), min(prices), prices[-1], measure.total(trades), len(prices))
