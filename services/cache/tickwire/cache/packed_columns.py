"""Columns in the form in which they are kept and sent: a half to a third of the bytes, and exactly the same numbers.

Times with one distance between them are the first and the step. Numbers with few digits are integers and one number of
decimals: an integer of 32 bits divided by a power of ten is the same float as its decimal text, both being the float
that is nearest to the exact quotient.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tickwire.cache.candle_rows import Columns

PLAIN = -1
"""In `decimals`: the column has float64 values."""

_HEAD = struct.Struct("<Iq5b3x")
_MOST_DECIMALS = 12
_LARGEST = 2**31 - 1


class Packed(NamedTuple):
    """So many `rows`: `dates` (int64, ms) of the first alone if `step` (ms) is not 0; `values` of the other columns.

    Values are int32 of so many `decimals`, or float64 where that is PLAIN.
    """

    rows: int
    step: int
    dates: npt.NDArray[np.int64]
    decimals: tuple[int, ...]
    values: tuple[npt.NDArray[Any], ...]

    def part(self, first: int, end: int) -> Packed:
        """The rows `[first, end)`, one at least."""
        dates = self.dates[:1] + first * self.step if self.step else self.dates[first:end]
        return Packed(end - first, self.step, dates, self.decimals, tuple(each[first:end] for each in self.values))

    @property
    def ends(self) -> tuple[int, int]:
        """The dates of the first and of the last row."""
        return int(self.dates[0]), int(self.dates[-1]) + self.step * (self.rows - 1)

    def unpacked(self) -> Columns:
        """The same as plain columns."""
        dates = self.dates[0] + self.step * np.arange(self.rows) if self.step else self.dates
        pairs = zip(self.values, self.decimals, strict=True)
        return Columns(dates, *(each if n == PLAIN else each / 10.0**n for each, n in pairs))


def pack(table: Columns) -> Packed:
    """Columns, one row at least, in packed form."""
    count = len(table.dates)
    steps = np.diff(table.dates)
    step = int(steps[0]) if steps.size and bool((steps == steps[0]).all()) else 0
    packed = [_packed(column) for column in table[1:]]
    return Packed(
        count,
        step,
        table.dates[:1] if step else table.dates,
        tuple(decimals for decimals, _ in packed),
        tuple(values for _, values in packed),
    )


def plain(table: Columns) -> Packed:
    """Columns as they are."""
    return Packed(len(table.dates), 0, table.dates, (PLAIN,) * 5, table[1:])


def encode(packed: Packed) -> bytes:
    """Packed columns as bytes."""
    head = _HEAD.pack(packed.rows, packed.step, *packed.decimals)
    values = (as_bytes(each) for each in packed.values)
    return b"".join([head, as_bytes(packed.dates), *values])


def decode(data: bytes) -> Packed:
    """The columns of `encode`."""
    count, step, *decimals = _HEAD.unpack_from(data)
    dates = np.frombuffer(data, "<i8", 1 if step else count, _HEAD.size)
    offset = _HEAD.size + dates.nbytes
    values: list[npt.NDArray[Any]] = []
    for each in decimals:
        values.append(np.frombuffer(data, "<f8" if each == PLAIN else "<i4", count, offset))
        offset += values[-1].nbytes
    return Packed(count, step, dates, tuple(decimals), tuple(values))


def as_bytes(values: npt.NDArray[Any]) -> memoryview:
    """The values as little-endian bytes."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data.cast("B")


def _packed(column: npt.NDArray[np.float64]) -> tuple[int, npt.NDArray[Any]]:
    """A column as integers and their decimals, or unchanged and PLAIN."""
    largest = float(np.abs(column).max())
    for decimals in range(_MOST_DECIMALS + 1):
        power = 10.0**decimals
        if largest * power > _LARGEST:
            break
        whole = np.rint(column * power).astype(np.int32)
        # By their bits, because 0.0 and -0.0 are equal.
        if np.array_equal((whole / power).view(np.int64), column.view(np.int64)):
            return decimals, whole
    return PLAIN, column
