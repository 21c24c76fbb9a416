"""Parses a page of candles by column instead of candle by candle.

ccxt looks for every field of each candle under several names: a third of the fetcher's time under load
(docs/performance.md). If ccxt's parser only picks columns of a list, parsing a row of distinct numbers shows which
ones, and the page is read by position. If it does more (another unit, a name, a sum), it parses each candle. A parser
may treat distinct and real numbers differently (kucoin's depends on the length of the time's text), so the first,
middle and last rows of the page must have the same result both ways.

Where the venue's dialect declares a form (`venues.candle_forms`), a typed decoder reads the page from the text of the
answer. The same is required of it: the parser's result for a row of distinct numbers, and for the first, middle and
last rows.

ccxt then cuts a page to `since` and the limit. `whole_pages` has the page from before that: where it begins shows
whether the exchange honours `since`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec

from tickwire.model.messages import Row
from tickwire.venues.candle_forms import CandleForm, CandleTexts

_BASE = 1_600_000_000_000
"""The first of the distinct numbers: a plausible time in ms."""
WORTH_IT = 10
"""Smaller pages are parsed candle by candle."""
_COLUMNS = 6
_DIGITS_OF_S = 10
"""Digits of a time in seconds, until the year 2286."""
_NO_CANDLE = (TypeError, KeyError, IndexError, AttributeError, ValueError, ArithmeticError)
"""What ccxt's parsers raise for what is no candle."""

Parse = Callable[[Any], Any]
"""A candle in the exchange's form -> in ccxt's form: [open time (ms), open, high, low, close, volume]."""

form: ContextVar[CandleForm | None] = ContextVar("candle_form", default=None)
"""The form of the candles that this task requests."""
_pages: ContextVar[list[Sequence[Any]] | None] = ContextVar("whole_pages", default=None)


@contextmanager
def whole_pages(of: CandleForm | None = None) -> Iterator[list[Sequence[Any]]]:
    """Collect the pages that this task parses within the block, before ccxt cuts them. They may have the form `of`."""
    pages: list[Sequence[Any]] = []
    before, form_before = _pages.set(pages), form.set(of)
    try:
        yield pages
    finally:
        _pages.reset(before)
        form.reset(form_before)


def parsed(page: list[Any], parse: Parse) -> list[Any]:
    """A page in ccxt's form and the exchange's order. A candle that cannot be parsed is its `repr`."""
    rows = by_position(page, parse)
    if rows is None:
        rows = [_parsed(candle, parse) for candle in page]
    if (pages := _pages.get()) is not None:
        pages.append(rows)
    return rows


def typed(candles: CandleTexts, parse: Parse) -> list[Row] | None:
    """A page as its form reads it, in the exchange's order; None if `parse` reads a candle otherwise."""
    rows, first = candles.rows, candles.candle(0)
    try:
        distinct = _distinct(first)
        (row,) = candles.form.rows(msgspec.json.encode([distinct]))
        if list(row) != parse(distinct) or any(
            list(rows[place]) != parse(candles.candle(place)) for place in (0, len(rows) // 2, -1)
        ):
            return None
    except (msgspec.MsgspecError, *_NO_CANDLE):
        return None
    if (pages := _pages.get()) is not None:
        pages.append(rows)
    return rows


def _distinct(candle: Any) -> Any:
    """A candle with another number in each place, each with as many digits as a time in the same unit."""
    if isinstance(candle, dict):
        return {name: _alike(value, place) for place, (name, value) in enumerate(candle.items())}
    return [_alike(value, place) for place, value in enumerate(candle)]


def _alike(value: Any, place: int) -> Any:
    in_seconds = len(str(value)) == _DIGITS_OF_S
    return _numbered(value, (_BASE // 1000 if in_seconds else _BASE) + place)


def _parsed(candle: Any, parse: Parse) -> Any:
    try:
        return parse(candle)
    except _NO_CANDLE:
        return repr(candle)


def by_position(page: Any, parse: Parse) -> list[list[float]] | None:
    """The candles of a page by position; None if `parse` must parse each."""
    if not isinstance(page, list) or len(page) < WORTH_IT or not isinstance(page[0], list):
        return None
    columns = _columns(page[0], parse)
    if columns is None:
        return None
    at, open_, high, low, close, volume = columns
    try:
        rows = [
            [int(row[at]), float(row[open_]), float(row[high]), float(row[low]), float(row[close]), float(row[volume])]
            for row in page
        ]
        same = all(rows[place] == parse(page[place]) for place in (0, len(page) // 2, -1))
    except _NO_CANDLE:
        return None
    return rows if same else None


def _columns(row: list[Any], parse: Parse) -> tuple[int, ...] | None:
    """The columns that `parse` picks, in its order; None if it does anything else."""
    distinct = [_numbered(value, _BASE + place) for place, value in enumerate(row)]
    try:
        picked = [value - _BASE for value in parse(distinct)]
    except Exception:  # noqa: BLE001
        # The parser will raise it again for the real row.
        return None
    if len(picked) != _COLUMNS or any(place not in range(len(row)) for place in picked):
        return None
    columns = tuple(int(place) for place in picked)
    # It cannot have picked a column that is no number.
    return columns if all(distinct[place] is not row[place] for place in columns) else None


def _numbered(value: Any, number: int) -> Any:
    """A number in the form of a value: a text if the value is one."""
    match value:
        case bool() | None:
            return value
        case str():
            return str(number)
        case int():
            return number
        case float():
            return float(number)
        case _:
            return value
