"""Decides which ranges of a key are to be audited by now, in requests that are the same whoever makes them; no I/O.

What was built from the tape is audited in windows of a UTC day (shorter where the exchange keeps only its newest
candles; one candle where a candle is longer), once the window has ended and settled. An audit that does not succeed is
requested again after one hour, then after two more, four more and so on: the time since the window settled tells the
attempt, so nothing has to be remembered. The id of a request is that of its key, window and attempt, so that it is one
job, however often and by whomever it is requested.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from tickwire.model import timeframes
from tickwire.model.messages import FetchRequest
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.model.timeframes import Grid
from tickwire.venues.profile import CandleFacts

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


def first_due(key: Key, grid: Grid, tape: Sequence[Range], facts: CandleFacts) -> int | None:
    """When (ms) the first audit of a key is due whose ranges `tape` (ascending) were built from the tape."""
    if not tape:
        return None
    return _window(grid, tape[0].since, length_ms(key.timeframe, facts.newest_rows)).until + facts.settled_after_ms


def due(key: Key, grid: Grid, tape: Iterable[Range], facts: CandleFacts, now: int) -> list[FetchRequest]:
    """The audits that are due at `now` (ms) of a key whose ranges `tape` were built from the tape, ascending."""
    length = length_ms(key.timeframe, facts.newest_rows)
    windows: dict[int, Range] = {}
    for part in tape:
        at = part.since
        while at < part.until:
            window = _window(grid, at, length)
            windows[window.since] = window
            at = window.until
    requests = (_request(key, window, now - window.until - facts.settled_after_ms) for window in windows.values())
    return [each for each in requests if each is not None]


def length_ms(timeframe: str, newest_rows: int | None) -> int:
    """The length of a window. Of an exchange that keeps few candles, half of them leave time to audit the rest."""
    length, duration = DAY_MS, timeframes.duration_ms(timeframe)
    while newest_rows is not None and length > 2 * duration and length // duration > newest_rows // 2:
        length //= 2
    return length


def _window(grid: Grid, at: int, length: int) -> Range:
    """The window of the candle that opens at `at`."""
    if timeframes.duration_ms(grid.timeframe) >= length:
        return Range(at, grid.next_open(at))
    since = at - at % length
    return Range(grid.ceil_open(since), grid.ceil_open(since + length))


def _request(key: Key, window: Range, age: int) -> FetchRequest | None:
    """The request for a window that settled `age` ms ago; None if it has not."""
    if age < 0:
        return None
    attempt = (age // HOUR_MS + 1).bit_length() - 1
    digest = hashlib.blake2b("\n".join(key).encode(), digest_size=8).hexdigest()
    return FetchRequest(
        **key._asdict(),
        since=window.since,
        until=window.until,
        # An earlier version, which knows no audits, at least fetches the rows again.
        refresh=True,
        audit=True,
        background=True,
        id=f"audit-{digest}-{window.since}-{attempt}",
    )
