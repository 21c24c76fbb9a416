"""Candles of an exchange's own form, a page at a time: which column is what, found out once for a page.

ccxt parses each candle by itself, looking for every field by several names: a third of the fetcher's time under load
(docs/performance.md). Where its parser only picks columns of a list, a row of distinct numbers shows which ones, and
the page is then read by position. Where it does more than that (another unit, a name, a sum), it does it. A parser may
do the one with distinct numbers and the other with real ones (kucoin's goes by the length of the time's text), so the
page's own first, last and middle rows have to come out the same either way.

ccxt then leaves of a page only what opens at or after `since`, and of that so many. `whole_pages` has what was there
before: where a page begins tells whether the exchange took any notice of `since`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_BASE = 1_600_000_000_000
"""What the numbers of the row of distinct ones begin with: a time in ms where one is expected."""
WORTH_IT = 10
"""Candles in a page from which on finding out pays."""
_COLUMNS = 6

Parse = Callable[[Any], Any]
"""A candle of the exchange's form -> ccxt's form: [open time (ms), open, high, low, close, volume]."""

_pages: ContextVar[list[list[Any]] | None] = ContextVar("whole_pages", default=None)


@contextmanager
def whole_pages() -> Iterator[list[list[Any]]]:
    """The pages that are parsed within the block, by the task that runs it, as the exchange gave them."""
    pages: list[list[Any]] = []
    before = _pages.set(pages)
    try:
        yield pages
    finally:
        _pages.reset(before)


def parsed(page: list[Any], parse: Parse) -> list[Any]:
    """A page in ccxt's form, in the exchange's order. A candle that the parser trips over stands as a text."""
    rows = by_position(page, parse)
    if rows is None:
        rows = [_parsed(candle, parse) for candle in page]
    if (pages := _pages.get()) is not None:
        pages.append(rows)
    return rows


def _parsed(candle: Any, parse: Parse) -> Any:
    try:
        return parse(candle)
    except (TypeError, KeyError, IndexError, AttributeError, ValueError, ArithmeticError):
        # ccxt's parsers trip like this over what is no candle.
        return repr(candle)


def by_position(page: Any, parse: Parse) -> list[list[float]] | None:
    """The candles of a page as `parse` would make each, or None where only `parse` can tell."""
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
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError):
        return None
    return rows if same else None


def _columns(row: list[Any], parse: Parse) -> tuple[int, ...] | None:
    """Which columns `parse` picks, in its order; None where it does anything else."""
    distinct = [_numbered(value, _BASE + place) for place, value in enumerate(row)]
    try:
        picked = [value - _BASE for value in parse(distinct)]
    except Exception:  # noqa: BLE001
        # Whatever it is, the parser will say it of the true row.
        return None
    if len(picked) != _COLUMNS or any(place not in range(len(row)) for place in picked):
        return None
    columns = tuple(int(place) for place in picked)
    # A column that is no number it cannot have picked.
    return columns if all(distinct[place] is not row[place] for place in columns) else None


def _numbered(value: Any, number: int) -> Any:
    """A number in the form of a value: as text where it is one."""
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
