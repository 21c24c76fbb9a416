"""Rules: which bar each trade belongs to.

A rule gives each trade the number of its bar. Numbers ascend with the bars; those of time bars are their open times.
A bar of volume, trades or quote amount ends with the trade that fills it, which is not divided: the bar has at least
the wanted size. The next trade begins the next bar.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Protocol

import numpy

from tickwire.bars.fixed import Fixed, Ints
from tickwire.errors import BadRequest
from tickwire.model.timeframes import Grid
from tickwire.venues.registry import grid_of

_EPOCH_MONTHS = 1970 * 12
_FORM = re.compile(r"(volume|ticks|quote):(.+)\Z")
FORMS = "write a timeframe such as 5m, or volume:100, ticks:1000 or quote:1000000"


class Rule(Protocol):
    """Numbers the bars of consecutive trades. It keeps what the next trades depend on."""

    def numbers(self, timestamps: Ints, volumes: Fixed, quotes: Fixed) -> Ints:
        """The number of each trade's bar. At least one trade, in tape order; times in ms."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the last bar may get further trades."""
        ...


class TimeRule:
    """Bars of a timeframe, which open on a grid; the number of a bar is its open time (ms).

    Trades may be out of order: each belongs to the bar of its time.
    """

    is_open = True

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def numbers(self, timestamps: Ints, volumes: Fixed, quotes: Fixed) -> Ints:
        """See `Rule.numbers`."""
        grid = self.grid
        if grid.step:
            return timestamps - (timestamps - grid.origin) % grid.step
        months = (timestamps - grid.origin).astype("datetime64[ms]").astype("datetime64[M]").astype(numpy.int64)
        months -= (months + _EPOCH_MONTHS - grid.phase) % grid.months
        opened: Ints = months.astype("datetime64[M]").astype("datetime64[ms]").astype(numpy.int64)
        return opened + grid.origin


class TickRule:
    """Bars of `size` trades."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._trades = 0

    def numbers(self, timestamps: Ints, volumes: Fixed, quotes: Fixed) -> Ints:
        """See `Rule.numbers`."""
        found = (numpy.arange(len(timestamps), dtype=numpy.int64) + self._trades) // self._size
        self._trades += len(timestamps)
        return found

    @property
    def is_open(self) -> bool:
        """Whether the last bar has fewer trades."""
        return self._trades % self._size > 0


class _Filled:
    """Bars that end when the sum of a quantity reaches `size`."""

    def __init__(self, size: Decimal) -> None:
        self._size = size
        self._number = 0
        self._held = Decimal(0)
        self.is_open = False
        """Whether the last bar is not filled."""

    def _numbers(self, quantities: Fixed) -> Ints:
        totals = numpy.cumsum(quantities.units)
        ends = self._ends(quantities, totals)
        numbers = numpy.zeros(len(totals) + 1, numpy.int64)
        numbers[numpy.array(ends, numpy.int64) + 1] = 1
        found: Ints = numpy.cumsum(numbers[:-1]) + self._number
        self._number += len(ends)
        self.is_open = not ends or ends[-1] + 1 < len(totals)
        before = int(totals[ends[-1]]) if ends else 0
        self._held = (Decimal(0) if ends else self._held) + quantities.number_of(int(totals[-1]) - before)
        return found

    def _ends(self, quantities: Fixed, totals: Ints) -> list[int]:
        """The rows of the trades that fill a bar."""
        last = int(totals[-1])
        first, size = quantities.units_of(self._size - self._held), quantities.units_of(self._size)
        if first > last:
            return []
        ends = [int(numpy.searchsorted(totals, first))]
        if size > last:
            return ends
        following = numpy.searchsorted(totals, totals + size).tolist()
        while (end := following[ends[-1]]) < len(totals):
            ends.append(end)
        return ends


class VolumeRule(_Filled):
    """Bars of at least `size` in base currency."""

    def __init__(self, size: float | Decimal) -> None:
        super().__init__(_positive(size))

    def numbers(self, timestamps: Ints, volumes: Fixed, quotes: Fixed) -> Ints:
        """See `Rule.numbers`."""
        return self._numbers(volumes)


class QuoteRule(_Filled):
    """Bars of at least `size` in quote currency: the sum of price times amount."""

    def __init__(self, size: float | Decimal) -> None:
        super().__init__(_positive(size))

    def numbers(self, timestamps: Ints, volumes: Fixed, quotes: Fixed) -> Ints:
        """See `Rule.numbers`."""
        return self._numbers(quotes)


def rule_of(exchange: str, text: str) -> Rule:
    """The rule of `5m`, on the exchange's grid, `volume:100`, `ticks:1000` or `quote:1000000`.

    Raises BadRequest, UnsupportedTimeframe.
    """
    if (match := _FORM.match(text)) is None:
        if ":" in text:
            raise BadRequest(f"{text[:40]!r} is not a kind of bar", FORMS)
        return TimeRule(grid_of(exchange, text))
    size = _positive(match[2])
    if match[1] == "ticks":
        if size != size.to_integral_value():
            raise BadRequest(f"{text[:40]!r}: half a trade does not exist", FORMS)
        return TickRule(int(size))
    return VolumeRule(size) if match[1] == "volume" else QuoteRule(size)


def _positive(size: float | Decimal | str) -> Decimal:
    try:
        number = Decimal(str(size))
    except InvalidOperation:
        number = Decimal(0)
    # Numbers of bars and sums are 64 bits wide.
    if not (number.is_finite() and Decimal("1e-12") <= number <= Decimal("1e18")):
        raise BadRequest(f"{str(size)[:40]!r} is not the size of a bar", f"give a number above 0; {FORMS}")
    return number
