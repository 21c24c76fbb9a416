"""What of a fetch request can be refused without asking its exchange."""

from __future__ import annotations

from tickwire.errors import BadRequest
from tickwire.exchange import opening
from tickwire.model import messages, subjects, timeframes
from tickwire.model.messages import FetchRequest
from tickwire.model.times import LATEST_MS
from tickwire.settings import Settings

AHEAD_MS = 366 * 86_400_000
"""How far beyond this computer's clock `until` may lie: a stand-in for an exchange may keep a time of its own."""


def job_id(found: str | None) -> str:
    """The id itself, once it is safe in a subject. Raises BadRequest."""
    return subjects.job_name(found or "")


def queued_request(data: bytes, exchange: str) -> FetchRequest:
    """The request that was queued for an exchange, known or not. Raises BadRequest where it is none."""
    request = messages.decode(data, FetchRequest)
    job_id(request.id)
    if request.exchange != exchange:
        raise BadRequest(f"a job of {request.exchange[:40]!r} is none of {exchange[:40]}")
    return request


def check(request: FetchRequest, now: int, settings: Settings) -> None:
    """Refuse a request that cannot be meant; `now` is this computer's time, ms.

    Raises BadRequest, UnknownExchange, UnsupportedTimeframe.
    """
    job_id(request.id)
    opening.known(request.exchange)
    timeframes.parse(request.timeframe)
    opening.check_timeframe(request.exchange, request.timeframe)
    subjects.key_path(request.key)
    # A local stand-in may keep another time than ours; it is asked when the job runs.
    stand_in = settings.of_exchange(request.exchange).gateway is not None
    _check_times(request, now, stand_in=stand_in)
    until = now if request.until is None else request.until
    candles, most = timeframes.count(request.timeframe, request.since, until), settings.fetcher.max_candles
    if candles > most:
        raise BadRequest(
            f"that is {candles:,} candles of {request.key}, and one request may ask for {most:,}",
            "split the range, take a larger timeframe, or raise fetcher.max_candles",
        )


def _check_times(request: FetchRequest, now: int, *, stand_in: bool) -> None:
    since, until = request.since, request.until
    if since < 0:
        raise BadRequest("since is before 1970", "times are ms since the epoch")
    latest = LATEST_MS if stand_in else min(LATEST_MS, now + AHEAD_MS)
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and moment > latest:
            raise BadRequest(f"{name} ({moment}) is far in the future", "times are ms since the epoch")
    if until is not None and until <= since:
        raise BadRequest(f"since ({since}) is not before until ({until})", "the range is [since, until)")
    if since > now and not stand_in:
        raise BadRequest(f"since ({since}) is in the future", "ask for what has happened")
