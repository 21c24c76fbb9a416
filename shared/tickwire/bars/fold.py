"""The values of bars, from columns of trades in tape order.

Trades are summed up per bar in batches, and the sums of all batches once more at the end: what is kept grows with the
number of bars, not with that of trades.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy

from tickwire.bars import fixed
from tickwire.bars.fixed import Fixed, Floats, Ints
from tickwire.bars.rules import Rule, TimeRule
from tickwire.venues.units import BASE, Measure

BATCH = 65_536
"""Trades that are summed up at once: they stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars in order, a row each. `volume` is in base currency, `quote_volume` in quote currency.

    `timestamp` is the open time of a time bar, and the time of the first trade of another one; `last` the time of the
    last trade (ms). An interval without trades has no bar. `is_open`: the last bar may get further trades.
    """

    timestamp: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    trades: Ints
    last: Ints
    is_open: bool

    def __len__(self) -> int:
        return len(self.timestamp)


class _Sums(NamedTuple):
    """Trades summed up: a row for each bar, or part of one."""

    number: Ints
    first: Ints
    last: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    trades: Ints
    volume: Fixed
    quote_volume: Fixed


class Fold:
    """Builds bars by a rule. `measure` converts the amounts of the next trades to base and quote currency."""

    def __init__(self, rule: Rule, measure: Measure = BASE) -> None:
        self.measure = measure
        self._rule = rule
        self._parts: list[_Sums] = []

    def take(self, timestamps: Ints, prices: Floats, amounts: Floats) -> None:
        """Add trades in tape order: times in ms, non-negative amounts. Columns of one length."""
        for start in range(0, len(timestamps), BATCH):
            part = slice(start, start + BATCH)
            self._take(timestamps[part], prices[part], amounts[part])

    def _take(self, timestamps: Ints, prices: Floats, amounts: Floats) -> None:
        volumes, quotes = self._quantities(prices, amounts)
        numbers = self._rule.numbers(timestamps, volumes, quotes)
        if len(numbers) > 1 and (numbers[1:] < numbers[:-1]).any():
            order = numpy.argsort(numbers, kind="stable")
            numbers, timestamps, prices = numbers[order], timestamps[order], prices[order]
            volumes, quotes = (Fixed(each.units[order], each.decimals) for each in (volumes, quotes))
        starts = _starts(numbers)
        ends = numpy.append(starts[1:], len(numbers)) - 1
        self._parts.append(
            _Sums(
                number=numbers[starts],
                first=timestamps[starts],
                last=timestamps[ends],
                open=prices[starts],
                high=numpy.maximum.reduceat(prices, starts),
                low=numpy.minimum.reduceat(prices, starts),
                close=prices[ends],
                trades=ends + 1 - starts,
                volume=fixed.sums(volumes, starts),
                quote_volume=fixed.sums(quotes, starts),
            )
        )

    def _quantities(self, prices: Floats, amounts: Floats) -> tuple[Fixed, Fixed]:
        """Amounts in base and in quote currency, never negative: some contracts have negative prices."""
        size, inverse, prices = self.measure.size, self.measure.inverse, numpy.abs(prices)
        held = fixed.scaled(fixed.fixed(amounts), size)
        if inverse:
            return fixed.fixed(held.floats() / prices), held
        return held, fixed.scaled(fixed.product(prices, amounts), size)

    def result(self) -> Bars:
        """All bars so far, the last one also if it is not full."""
        parts = self._parts
        if not parts:
            ints, no = numpy.empty(0, numpy.int64), numpy.empty(0)
            return Bars(ints, no, no, no, no, no, no, ints, ints, is_open=False)
        numbers = numpy.concatenate([each.number for each in parts])
        order = numpy.argsort(numbers, kind="stable")
        starts = _starts(numbers[order])
        ends = numpy.append(starts[1:], len(numbers)) - 1

        def column(name: str) -> Any:
            return numpy.concatenate([getattr(each, name) for each in parts])[order]

        return Bars(
            timestamp=numbers[order][starts] if isinstance(self._rule, TimeRule) else column("first")[starts],
            open=column("open")[starts],
            high=numpy.maximum.reduceat(column("high"), starts),
            low=numpy.minimum.reduceat(column("low"), starts),
            close=column("close")[ends],
            volume=fixed.joined([each.volume for each in parts], order, starts).floats(),
            quote_volume=fixed.joined([each.quote_volume for each in parts], order, starts).floats(),
            trades=numpy.add.reduceat(column("trades"), starts),
            last=column("last")[ends],
            is_open=self._rule.is_open,
        )


def _starts(numbers: Ints) -> Ints:
    """Where each run of equal numbers begins."""
    return numpy.flatnonzero(numpy.append(True, numbers[1:] != numbers[:-1]))
