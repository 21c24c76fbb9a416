"""Refusals of any exchange, and what all of Binance's REST endpoints share: parameters. No I/O.

Source: Binance's spot API documentation, "General endpoints" and "Error codes", as of 2025.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Query = Mapping[str, str]


class Refused(Exception):
    """An answer that is an error, with a code and a message: of Binance's, HTTP 400."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def integer(query: Query, name: str) -> int | None:
    """A whole number, None where it is not given. Raises Refused."""
    value = query.get(name)
    if value is None:
        return None
    if not value:
        raise Refused(-1105, f"Parameter '{name}' was empty.")
    if not re.fullmatch(r"[0-9]{1,20}", value):
        raise Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(value)


def limit(query: Query, default: int, most: int) -> int:
    """How many rows are asked for. Raises Refused."""
    value = integer(query, "limit")
    if value == 0:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(default if value is None else value, most)
