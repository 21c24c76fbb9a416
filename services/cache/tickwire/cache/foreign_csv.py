"""Reads data files that another program saved: detects encoding, separator, decimal mark and unit of times; no I/O.

Spreadsheets save a file in the format of their locale: with a byte order mark, CRLF, semicolons and decimal commas,
quotes, times in scientific notation. Only what can be read in exactly one way is read; nothing is guessed.

Rules and their reasons:
- One file has one locale: all of its numbers have the same decimal mark. In a number such as `1,234` the comma is the
  decimal mark only if another number of the file shows it (`0,5` or `1.234,5`). If the comma is the separator, the
  decimal mark is the point, as in the cache's own files.
- Excel shows and saves a time of 13 digits as `1.70001E+12`, with six significant digits: it stands for every time that
  rounds to it. It is read if only one candle opens at any of these times.
- Numbers without a point are times in milliseconds, or in seconds if the file's times are open times in seconds only.
- A text such as `2023-11-14T22:13:00Z` must state its offset from UTC.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

from tickwire.cache.candle_rows import HEADER
from tickwire.cache.disk import Buffer
from tickwire.model.messages import Row
from tickwire.model.timeframes import Grid

DecimalMark = Literal[".", ","]
LONGEST = 4096
"""Most characters of a row."""
EXCEL_DIGITS = 6
"""Most significant digits of a number in scientific notation in Excel's format "General"."""

NO_ROW = "is not a row of six numbers"

_NAMES = HEADER.decode().strip().split(",")
_SEPARATORS = (",", ";", "\t")
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_PLAIN = re.compile(r"-?\d+(?:,-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?){5}\n", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d[\d.,]*(?:[eE][+-]?\d{1,4})?", re.ASCII)
_STANDARD = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,4})?", re.ASCII)
_SPACED = re.compile(r"([+-]?\d{1,3})((?:[ \u00a0\u202f'\u2019]\d{3})+)(?!\d)")
_GROUPED: dict[DecimalMark, re.Pattern[str]] = {
    ".": re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?"),
    ",": re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?"),
}
_OTHER: dict[DecimalMark, DecimalMark] = {".": ",", ",": "."}
_LATEST = 2**62
_BUFFER = 1 << 16


class AmbiguousFile(ValueError):
    """A file that can be read in more than one way, as `line` (from 1) shows."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class UnreadableLine(ValueError):
    """A line that is not a row; `str()` is the reason."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The format of a file. `first` is the number of the first line of rows, `unit` the unit of times in ms."""

    encoding: str
    separator: str
    first: int
    native: bool
    decimal: DecimalMark = "."
    unit: Literal[1, 1000] = 1


def lines_of(view: Buffer, end: int, encoding: str) -> Iterator[str]:
    """The lines of `[0, end)`, each ending with `\\n` whatever its end in the file; the last may have no end.

    Of a line that is too long the start is returned, without an end.
    """
    with io.TextIOWrapper(
        io.BufferedReader(_Bytes(view, end), _BUFFER), encoding, errors="replace", newline=None
    ) as text:
        while line := text.readline(LONGEST):
            yield line
            while line and not line.endswith("\n"):
                line = text.readline(LONGEST)


def dialect_by_header(view: Buffer, end: int) -> Dialect | None:
    """The dialect of a file by its header; None if the column names are not those of the cache."""
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if view[: len(mark)] == mark), "utf-8")
    for number, line in enumerate(lines_of(view, end, encoding), 1):
        if number == 1 and re.fullmatch(r"sep=[,;\t]\n", line):
            # States the separator for Excel.
            continue
        for separator in _SEPARATORS:
            if [name.casefold() for name in _fields(line, separator)] == _NAMES:
                native = number == 1 and view[: len(HEADER)] == HEADER
                return Dialect(encoding, separator, number + 1, native)
        return None
    return None


def dialect_of(view: Buffer, end: int, grid: Grid, latest: int = _LATEST) -> Dialect | None:
    """The dialect of a file by all of its lines; None as in `dialect_by_header`. Raises AmbiguousFile."""
    found = dialect_by_header(view, end)
    if found is None:
        return None
    decimal = _decimal(view, end, found)
    known = Dialect(found.encoding, found.separator, found.first, found.native, decimal)
    unit = 1 if found.native else _unit(view, end, known, grid, latest)
    return Dialect(found.encoding, found.separator, found.first, found.native, decimal, unit)


def rows_of(view: Buffer, end: int, dialect: Dialect, grid: Grid) -> Iterator[tuple[int, Row | UnreadableLine]]:
    """The number of each line after the header, and its row or the reason why it is not one."""
    for number, line in enumerate(lines_of(view, end, dialect.encoding), 1):
        if number < dialect.first:
            continue
        try:
            yield number, read(line, dialect, grid)
        except UnreadableLine as error:
            yield number, error


def read(line: str, dialect: Dialect, grid: Grid) -> Row:
    """The row of one line with its end. Raises UnreadableLine."""
    if not line.endswith("\n"):
        raise UnreadableLine("is too long to be a row" if len(line) >= LONGEST else "has no end, so it may be cut off")
    fields = _fields(line, dialect.separator)
    if len(fields) != len(_NAMES):
        raise UnreadableLine(NO_ROW)
    date = _date(fields[0], dialect, grid)
    values = [_value(field, dialect.decimal) for field in fields[1:]]
    return (date, values[0], values[1], values[2], values[3], values[4])


def _fields(line: str, separator: str) -> list[str]:
    """The fields of a line without empty ones at its end; if the whole line is in quotes, those within."""
    text = line.rstrip("\n")
    if '"' in text:
        try:
            fields = next(csv.reader([text], delimiter=separator, strict=True), [])
        except csv.Error:
            return []
        if len(fields) == 1:
            fields = fields[0].split(separator)
    else:
        fields = text.split(separator)
    while len(fields) > len(_NAMES) and not fields[-1].strip():
        fields.pop()
    return [field.strip() for field in fields]


def _decimal(view: Buffer, end: int, dialect: Dialect) -> DecimalMark:
    """The decimal mark of a file. Raises AmbiguousFile."""
    known: DecimalMark | None = None
    undecided: tuple[int, str] | None = None
    for number, line in enumerate(lines_of(view, end, dialect.encoding), 1):
        if number < dialect.first or (dialect.separator == "," and _PLAIN.fullmatch(line)):
            continue
        fields = _fields(line, dialect.separator)
        if len(fields) != len(_NAMES):
            continue
        for field in fields:
            mark = _mark_of(field)
            if mark == "?":
                # A comma between fields goes with decimal points.
                if dialect.separator != "," or "," in field:
                    undecided = undecided or (number, field)
            elif mark is not None and known is not None and mark != known:
                raise AmbiguousFile(number, f"{field!r} has another decimal mark than the numbers before it")
            elif mark is not None:
                known = mark
    if known is None and undecided is not None:
        raise AmbiguousFile(
            undecided[0], f"{undecided[1]!r} has a decimal mark or a thousands separator, and nothing says which"
        )
    return known or "."


def _mark_of(field: str) -> DecimalMark | Literal["?"] | None:
    """The decimal mark by one number; `?` if its mark is ambiguous, None if it has none."""
    if not _NUMBER.fullmatch(_joined(field)):
        return None
    marks = [sign for sign in field if sign in ".,"]
    if not marks:
        return None
    last: DecimalMark = "." if marks[-1] == "." else ","
    other = _OTHER[last]
    if len(set(marks)) == 2:
        return last if _GROUPED[last].fullmatch(field) else None
    if len(marks) > 1:
        return other if _GROUPED[other].fullmatch(field) else None
    return "?" if _GROUPED[other].fullmatch(field) else last


def _unit(view: Buffer, end: int, dialect: Dialect, grid: Grid, latest: int) -> Literal[1, 1000]:
    """The unit of times: ms, or seconds if only that fits. Raises AmbiguousFile."""
    seconds, both = 0, 0
    for number, line in enumerate(lines_of(view, end, dialect.encoding), 1):
        fields = _fields(line, dialect.separator) if number >= dialect.first else []
        if len(fields) != len(_NAMES):
            continue
        exact = _exact(fields[0], dialect.decimal)
        if exact is None or exact[1] > 1:
            continue
        in_ms = grid.opens(exact[0]) and exact[0] < latest
        in_seconds = abs(exact[0]) < 10**11 and grid.opens(exact[0] * 1000) and exact[0] * 1000 < latest
        if in_ms and not in_seconds:
            return 1
        if in_seconds and not in_ms:
            seconds += 1
        elif in_seconds and not both:
            both = number
    if seconds:
        return 1000
    if both:
        raise AmbiguousFile(both, "its time is one in seconds and one in milliseconds, and no line says which")
    return 1


def _date(field: str, dialect: Dialect, grid: Grid) -> int:
    """The open time (ms) in a field. Raises UnreadableLine."""
    exact = _exact(field, dialect.decimal)
    date, apart = _of_text(field) if exact is None else (exact[0] * dialect.unit, exact[1] * dialect.unit)
    if not grid.opens(date):
        raise UnreadableLine(f"has {field}, where no {grid.timeframe} candle opens")
    if apart > 1 and min(date - grid.open_of(date - 1), grid.next_open(date) - date) <= apart // 2:
        raise UnreadableLine(f"has {field}, a rounded time that several {grid.timeframe} candles have")
    return date


def _exact(field: str, decimal: DecimalMark) -> tuple[int, int] | None:
    """An integer, and the distance between numbers that are written the same: 1 if it has all of its digits."""
    text = _standard(field, decimal)
    if text is None:
        return None
    number = Decimal(text)
    if not -_LATEST < number < _LATEST or number != number.to_integral_value():
        return None
    mantissa, exponent, _ = text.lower().partition("e")
    digits = max(EXCEL_DIGITS, sum(map(str.isdigit, mantissa)))
    return int(number), 10 ** max(0, number.adjusted() + 1 - digits) if exponent else 1


def _of_text(field: str) -> tuple[int, int]:
    """The time (ms) of an ISO 8601 text with an offset, as in `_exact`. Raises UnreadableLine."""
    try:
        when = datetime.fromisoformat(field)
    except ValueError:
        raise UnreadableLine(NO_ROW) from None
    if when.tzinfo is None:
        raise UnreadableLine(f"has {field}, which does not state its offset from UTC")
    ms, rest = divmod(when - datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1))
    # No candle opens at fractions of a millisecond.
    return ms, 1 if not rest else 2**62


def _value(field: str, decimal: DecimalMark) -> float:
    text = _standard(field, decimal)
    value = math.nan if text is None else float(text)
    if not math.isfinite(value):
        raise UnreadableLine(NO_ROW)
    return value


def _standard(field: str, decimal: DecimalMark) -> str | None:
    """A number in Python's form, without thousands separators; None if it is not a number."""
    text = _joined(field)
    if _OTHER[decimal] in text:
        if not _GROUPED[decimal].fullmatch(text):
            return None
        text = text.replace(_OTHER[decimal], "")
    text = text.replace(decimal, ".")
    return text if _STANDARD.fullmatch(text) else None


def _joined(field: str) -> str:
    """A number without spaces or apostrophes as thousands separators."""
    found = _SPACED.match(field)
    if found is None:
        return field
    return found[1] + re.sub(r"\D", "", found[2]) + field[found.end() :]


class _Bytes(io.RawIOBase):
    """The bytes `[0, end)` of a view as a raw stream."""

    def __init__(self, view: Buffer, end: int) -> None:
        self._view, self._end, self._at = view, end, 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        piece = self._view[self._at : min(self._at + len(into), self._end)]
        into[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
