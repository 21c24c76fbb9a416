"""Checks of a fetch request that need no call to its exchange."""

from __future__ import annotations

from tickwire.errors import BadRequest, UnsupportedKind
from tickwire.exchange import opening
from tickwire.exchange.trade_history import why_refused
from tickwire.model import messages, subjects, timeframes
from tickwire.model.messages import FetchRequest
from tickwire.model.times import LATEST_MS
from tickwire.settings import Settings
from tickwire.venues.registry import profile_of

AHEAD_MS = 366 * 86_400_000
"""How far after this machine's clock a time may lie (ms)."""


def job_id(found: str | None) -> str:
    """The id, if it is safe as a part of a subject. Raises BadRequest."""
    return subjects.job_name(found or "")


def queued_request(data: bytes, exchange: str) -> FetchRequest:
    """Decode a request that was queued for an exchange, known or not. Raises BadRequest."""
    request = messages.decode(data, FetchRequest)
    job_id(request.id)
    if request.exchange != exchange:
        raise BadRequest(f"a job of {request.exchange[:40]!r} is in the queue of {exchange[:40]}")
    return request


def check_key(request: FetchRequest) -> None:
    """Reject names that are not safe in subjects and file names. Raises BadRequest."""
    if request.kind == "trade":
        subjects.archived("trade", request.exchange, request.symbol)
    else:
        subjects.key_path(request.key)


def check_trades(request: FetchRequest) -> None:
    """Reject a request for trades that the exchange's history cannot serve. Raises UnsupportedKind, BadRequest."""
    if request.timeframe or request.refresh or request.audit:
        raise BadRequest("timeframe, refresh and audit are for candles", "leave them out of a request for trades")
    if reason := why_refused(request.exchange, profile_of(request.exchange).trades):
        raise UnsupportedKind(reason, "archive its trades live: tickwire start trade")


def check(request: FetchRequest, now: int, settings: Settings) -> None:
    """Reject an invalid request. `now` is this machine's time (ms).

    Raises BadRequest, UnknownExchange, UnsupportedTimeframe.
    """
    job_id(request.id)
    opening.known(request.exchange)
    if request.kind == "candle":
        timeframes.parse(request.timeframe)
        opening.check_timeframe(request.exchange, request.timeframe)
    else:
        check_trades(request)
    check_key(request)
    # An exchange behind a gateway may be a simulator with a clock of its own, which is asked when the job runs.
    behind_gateway = settings.of_exchange(request.exchange).gateway is not None
    _check_times(request, now, behind_gateway=behind_gateway)
    if request.kind == "trade":
        return
    until = now if request.until is None else request.until
    candles, most = timeframes.count(request.timeframe, request.since, until), settings.fetcher.max_candles
    if candles > most:
        raise BadRequest(
            f"that is {candles:,} candles of {request.key}, and one request may ask for {most:,}",
            "split the range, take a larger timeframe, or raise fetcher.max_candles",
        )


def _check_times(request: FetchRequest, now: int, *, behind_gateway: bool) -> None:
    since, until = request.since, request.until
    if since < 0:
        raise BadRequest("since is before 1970", "times are ms since the epoch")
    latest = LATEST_MS if behind_gateway else min(LATEST_MS, now + AHEAD_MS)
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and moment > latest:
            raise BadRequest(f"{name} ({moment}) is far in the future", "times are ms since the epoch")
    if until is not None and until <= since:
        raise BadRequest(f"since ({since}) is not before until ({until})", "the range is [since, until)")
    if since > now and not behind_gateway:
        raise BadRequest(f"since ({since}) is in the future", "ask for what has happened")
