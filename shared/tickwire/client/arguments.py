"""What callers of the client pass: times, ranges, names of keys. Pure, but for the clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product

from tickwire.errors import BadRequest
from tickwire.model import subjects, timeframes, times
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms

Time = int | float | str | datetime | timedelta
"""Milliseconds since 1970; ISO 8601, a year or an age such as "30d", as on the command line; a datetime (UTC if naive);
or a timedelta: so long before now."""
Names = str | Sequence[str]


def keys_of(exchanges: Names, symbols: Names, timeframes: Names) -> list[Key]:
    """Every combination, each once. Raises BadRequest."""
    names = [[each] if isinstance(each, str) else list(each) for each in (exchanges, symbols, timeframes)]
    return list(dict.fromkeys(key_of(*parts) for parts in product(*names)))


def key_of(exchange: str, symbol: str, timeframe: str) -> Key:
    """A key, checked for form. Raises BadRequest."""
    key = Key(exchange, symbol, timeframe)
    timeframes.parse(timeframe)
    subjects.key_path(key)
    return key


def span_of(since: Time | None, until: Time | None) -> tuple[int | None, int | None]:
    """Both as ms, the first one earlier. Raises BadRequest."""
    now = now_ms()
    start, end = moment_of(since, now, "since"), moment_of(until, now, "until")
    if start is not None and start >= (now if end is None else end):
        raise BadRequest(
            f"since {since} is not before {'now' if until is None else f'until {until}'}", "choose an earlier since"
        )
    return start, end


def range_of(since: Time, until: Time | None) -> tuple[int, int | None]:
    """As `span_of`, of a range that has a beginning. Raises BadRequest."""
    start, end = span_of(since, until)
    if start is None:
        raise BadRequest("since is missing", "say where to begin, such as since='1h'")
    return start, end


def moment_of(moment: Time | None, now: int, what: str) -> int | None:
    """A time as ms; ages are before `now` (ms). Raises BadRequest, which calls the time `what`."""
    if moment is None:
        return None
    if isinstance(moment, datetime | timedelta):
        try:
            if isinstance(moment, timedelta):
                moment = datetime.fromtimestamp(now / 1000, UTC) - moment
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            found = round(moment.timestamp() * 1000)
        except (ValueError, OverflowError) as error:
            # pandas.NaT is a datetime.
            raise BadRequest(f"{what} {moment} is not a time", times.TIME_FORMS) from error
        if found < 0:
            raise BadRequest(f"{what} {moment} is before 1970", "choose a later time")
        return times.time_ms(str(found), now, what) if found > times.LATEST_MS else found
    if isinstance(moment, float) and moment.is_integer():
        moment = int(moment)
    return times.time_ms(str(moment), now, what)
