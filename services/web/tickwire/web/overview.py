"""The view of what runs: rows of tables, as the page shows them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tickwire.client import Job
from tickwire.client.survey import LeaseStatus, ServiceStatus, Status, StreamStatus
from tickwire.model.feeds import FeedReport
from tickwire.web.troubles import Trouble, troubles

FEEDS = 2000
"""Feeds of one page; further ones are counted."""


class FeedRow(Struct, frozen=True, kw_only=True):
    """A feed. Times are ms by the clock of `Overview.at`; `lag_ms` is by the exchange's clock and a streamer's."""

    kind: str
    exchange: str
    symbol: str
    timeframe: str | None
    state: str
    reason: str
    lag_ms: int | None
    last_message: int | None
    gaps: int
    owner: str | None
    subscribers: int
    messages: int


class JobRow(Struct, frozen=True, kw_only=True):
    """A fetch job; `progress` is the part that is known, from 0 to 1."""

    id: str
    what: str
    state: str
    progress: float
    rows: int
    expected: int
    since: int
    until: int
    error: str
    cancellable: bool


class Overview(Struct, frozen=True, kw_only=True):
    """Everything of the view; `at` is when it was asked for (ms)."""

    at: int
    troubles: list[Trouble]
    services: list[ServiceStatus] = []
    feeds: list[FeedRow] = []
    feeds_more: int = 0
    jobs: list[JobRow] = []
    jobs_waiting: int = 0
    leases: list[LeaseStatus] = []
    streams: list[StreamStatus] = []


def overview(status: Status, ended: Sequence[Job], expected: frozenset[str]) -> Overview:
    """Return the view of a state. `ended` are the jobs that ended of late, the newest first."""
    feeds = status.feeds or []
    unfinished = {each.id for each in status.jobs}
    return Overview(
        at=status.at,
        troubles=troubles(status, ended, expected),
        services=status.services,
        feeds=[feed_row(each) for each in feeds[:FEEDS]],
        feeds_more=max(0, len(feeds) - FEEDS),
        jobs=[*map(job_row, status.jobs), *(job_row(each) for each in ended if each.id not in unfinished)],
        jobs_waiting=status.jobs_waiting,
        leases=status.leases,
        streams=status.streams,
    )


def feed_row(report: FeedReport) -> FeedRow:
    """The row of a feed."""
    return FeedRow(
        kind=report.kind,
        exchange=report.exchange,
        symbol=report.symbol,
        timeframe=report.timeframe,
        state=report.state,
        reason=report.reason,
        lag_ms=report.lag_ms,
        last_message=report.last_message,
        gaps=report.gaps,
        owner=report.owner,
        subscribers=report.subscribers,
        messages=report.messages,
    )


def job_row(job: Job) -> JobRow:
    """The row of a job."""
    known = job.rows_from_cache + job.rows_fetched
    share = 1.0 if job.complete else min(1.0, known / job.rows_expected) if job.rows_expected else 0.0
    error = job.error.message if job.error is not None else job.last_error
    return JobRow(
        id=job.id,
        what=" ".join(filter(None, (job.exchange, job.symbol, job.timeframe or "trades"))),
        state=job.state,
        progress=share,
        rows=known,
        expected=job.rows_expected,
        since=job.since,
        until=job.until,
        error=error,
        cancellable=not job.ended,
    )
