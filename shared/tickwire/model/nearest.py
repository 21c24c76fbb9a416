"""The known names that a person may have meant by an unknown one. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

CUTOFF = 0.6
"""The least similarity, from 0 to 1, of a name that is suggested."""
NAMED = 5
"""Most names that an error lists."""

Market = tuple[str, str]
"""An exchange and a symbol."""


def nearest(name: str, names: Iterable[str], most: int = 1, cutoff: float = CUTOFF) -> list[str]:
    """The most similar of the known names, whatever their case, the best first."""
    known: dict[str, str] = {}
    for each in names:
        known.setdefault(each.casefold(), each)
    return [known[each] for each in difflib.get_close_matches(name.casefold(), list(known), most, cutoff)]


def did_you_mean(near: Sequence[str]) -> str:
    """Asks whether one of the names was meant."""
    return f"did you mean {' or '.join(near)}?"


def markets_like(exchange: str, symbol: str, known: Iterable[Market]) -> str:
    """Lists the known markets that may have been meant: similar ones, else those of the exchange, else the exchanges.

    Empty if no market is known.
    """
    markets = sorted(set(known))
    near = nearest(f"{exchange} {symbol}", (" ".join(each) for each in markets), NAMED)
    names = near or [" ".join(each) for each in markets if each[0] == exchange]
    if not names:
        exchanges = sorted({each for each, _ in markets})
        return f"feeds of {listed(exchanges)}" if exchanges else ""
    return listed(names)


def listed(names: Sequence[str]) -> str:
    """The first of the names, separated by commas."""
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
