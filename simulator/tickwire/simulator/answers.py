"""What an endpoint of a venue returns: an answer, or a refusal. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from tickwire.model import timeframes

Query = Mapping[str, str]


class Refused(Exception):
    """An error answer with the venue's code and message; `status` is its HTTP status where it is not the usual one."""

    def __init__(self, code: int | str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class Answer(Struct, frozen=True):
    """An answer: rows, and how their JSON value is made of them. Faults change the rows before `form` is called."""

    rows: Any
    """A list, in the order in which it is sent; any other JSON value is sent as it is."""
    form: Callable[[Any], Any] | None = None
    """Makes the JSON value of the rows; None: the rows are the value."""
    weight: int = 1
    """What the request counts for the venue's rate limit."""
    interval: str = ""
    """Of candles alone: their timeframe. Such rows are candles of the market, with the open time (ms) in front."""
    until: int | None = None
    """Of candles alone: the end (ms, exclusive) of the window that was asked for; None where it has no end."""

    def value(self) -> Any:
        """Return the JSON value."""
        return self.rows if self.form is None else self.form(self.rows)


def whole(query: Query, name: str, refusal: Exception) -> int | None:
    """Return a parameter that is a whole number, None where it is absent or empty. Raises `refusal` for others."""
    value = query.get(name, "")
    if not value:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", value) or int(value) >= 2**63:
        raise refusal
    return int(value)


def window_end(interval: str, start: int | None, end: int | None, limit: int) -> int | None:
    """Return the end (ms, exclusive) of a window of at most `limit` candles in `[start, end]`; None without both."""
    ends = [] if start is None else [timeframes.advance(interval, timeframes.ceil_open(interval, start), limit)]
    return min([*ends, *([] if end is None else [end + 1])], default=None)
