"""Parameters of Binance's REST endpoints, parsed and checked. No I/O.

Source: Binance's spot API documentation, "General endpoints" and "Error codes", as of 2025.
"""

from __future__ import annotations

import re

from tickwire.simulator.answers import Query, Refused


def integer(query: Query, name: str) -> int | None:
    """Return an integer parameter, None where it is absent. Raises Refused."""
    value = query.get(name)
    if value is None:
        return None
    if not value:
        raise Refused(-1105, f"Parameter '{name}' was empty.")
    if not re.fullmatch(r"[0-9]{1,20}", value):
        raise Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(value)


def limit(query: Query, default: int, most: int) -> int:
    """Return `limit`, capped at `most`. Raises Refused."""
    value = integer(query, "limit")
    if value == 0:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(default if value is None else value, most)
