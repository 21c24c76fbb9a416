"""Non-negative decimal numbers as integers, so that sums of them are exact: 0.1 + 0.2 is 0.3.

Exchanges state amounts as decimals and sum them as such. A decimal with at most 15 significant digits is recovered from
its double. Where a number has more, or the total exceeds 62 bits, it is rounded to as many decimals as the total
allows, 22 at most.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

Ints = NDArray[numpy.int64]
Floats = NDArray[numpy.float64]

_MOST = 2.0**62
"""Totals are less than this, half of what 64 bits hold."""
_DECIMALS = 22
"""Powers of ten are exact doubles up to this one."""
_SAMPLE = 256
_EXACT = 2**53


class Fixed(NamedTuple):
    """Numbers: `units / 10 ** decimals`. The sum of all units is less than 2 ** 62."""

    units: Ints
    decimals: int

    def floats(self) -> Floats:
        """The double nearest to each number."""
        if self.decimals < 0:
            return numpy.multiply(self.units, 10.0**-self.decimals)
        found: Floats = self.units / 10.0**self.decimals
        # The quotient of exact operands is the nearest double.
        inexact = numpy.flatnonzero(self.units >= _EXACT) if self.decimals <= _DECIMALS else numpy.arange(len(found))
        for at in inexact.tolist():
            found[at] = int(self.units[at]) / 10**self.decimals
        return found

    def units_of(self, number: Decimal) -> int:
        """The least number of units that is not less than `number`."""
        return int(number.scaleb(self.decimals).to_integral_value(ROUND_CEILING))

    def number_of(self, units: int) -> Decimal:
        """So many units as a number."""
        return Decimal(units).scaleb(-self.decimals)


def fixed(values: Floats) -> Fixed:
    """Non-negative, finite numbers, exact if they have at most 15 digits and fit; else rounded."""
    most = _decimals_for(float(values.sum()))
    for decimals in range(most + 1):
        if _are_exact(values[:_SAMPLE], decimals) and _are_exact(values, decimals):
            return Fixed(_units(values, decimals), decimals)
    return Fixed(_units(values, most), most)


def scaled(numbers: Fixed, factor: Decimal) -> Fixed:
    """Each number times a positive one; exact if that fits."""
    digits, exponent = _integer(factor)
    if digits == 1:
        return Fixed(numbers.units, numbers.decimals - exponent)
    if float(numbers.units.sum()) * digits < _MOST:
        return Fixed(numbers.units * digits, numbers.decimals - exponent)
    return fixed(numbers.floats() * float(factor))


def product(left: Floats, right: Floats) -> Fixed:
    """The product of each pair; exact if that fits."""
    one, other = fixed(left), fixed(right)
    if float(one.units.astype(numpy.float64) @ other.units.astype(numpy.float64)) < _MOST:
        return Fixed(one.units * other.units, one.decimals + other.decimals)
    return fixed(left * right)


def sums(numbers: Fixed, starts: Ints) -> Fixed:
    """The sum of each run of numbers; a run begins at each of `starts`."""
    return Fixed(numpy.add.reduceat(numbers.units, starts), numbers.decimals)


def joined(parts: list[Fixed], order: Ints, starts: Ints) -> Fixed:
    """The sums of runs (`starts`) of the numbers of all parts in an order; exact if they fit."""
    largest = numpy.add.reduceat(numpy.concatenate([each.floats() for each in parts])[order], starts).max(initial=0.0)
    decimals = min(max(each.decimals for each in parts), _decimals_for(float(largest), most=2 * _DECIMALS))
    return sums(Fixed(numpy.concatenate([_rescaled(each, decimals) for each in parts])[order], decimals), starts)


def _rescaled(numbers: Fixed, decimals: int) -> Ints:
    if not numbers.units.any():
        return numbers.units
    if decimals >= numbers.decimals:
        # None is more than the largest sum, which fits.
        return numbers.units * numpy.int64(10 ** (decimals - numbers.decimals))
    if numbers.decimals - decimals > 18:
        # Less than half of one.
        return numpy.zeros_like(numbers.units)
    unit = 10 ** (numbers.decimals - decimals)
    return (numbers.units + numpy.int64(unit // 2)) // numpy.int64(unit)


def _decimals_for(total: float, most: int = _DECIMALS) -> int:
    """So many decimals fit, with a total of this size; negative where not even its last digits do."""
    return most if total <= 0 else min(most, math.floor(math.log10(_MOST) - math.log10(total)))


def _units(values: Floats, decimals: int) -> Ints:
    scale = 10.0 ** abs(decimals)
    return numpy.rint(values * scale if decimals >= 0 else values / scale).astype(numpy.int64)


def _are_exact(values: Floats, decimals: int) -> bool:
    scale = 10.0**decimals
    return bool((numpy.rint(values * scale) / scale == values).all())


def _integer(number: Decimal) -> tuple[int, int]:
    """A positive number as an integer without trailing zeros and the exponent of ten."""
    _, digits, exponent = number.normalize().as_tuple()
    assert isinstance(exponent, int)
    return int("".join(map(str, digits))), exponent
