"""Candles of an exchange's own form, a page at a time: which column is what, found out once for a page.

ccxt parses each candle by itself, looking for every field by several names: a third of the fetcher's time under load
(docs/performance.md). Where its parser only picks columns of a list, a row of distinct numbers shows which ones, and
the page is then read by position. Where it does more than that (another unit, a name, a sum), it does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_BASE = 1_600_000_000_000
"""What the numbers of the row of distinct ones begin with: a time in ms where one is expected."""
WORTH_IT = 10
"""Candles in a page from which on finding out pays."""
_COLUMNS = 6


def by_position(page: Any, parse: Callable[[list[Any]], Any]) -> list[list[float]] | None:
    """The candles of a page as `parse` would make each, or None where only `parse` can tell."""
    if not isinstance(page, list) or len(page) < WORTH_IT or not isinstance(page[0], list):
        return None
    columns = _columns(page[0], parse)
    if columns is None:
        return None
    at, open_, high, low, close, volume = columns
    try:
        return [
            [int(row[at]), float(row[open_]), float(row[high]), float(row[low]), float(row[close]), float(row[volume])]
            for row in page
        ]
    except (TypeError, ValueError, IndexError, KeyError):
        return None


def _columns(row: list[Any], parse: Callable[[list[Any]], Any]) -> tuple[int, ...] | None:
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
