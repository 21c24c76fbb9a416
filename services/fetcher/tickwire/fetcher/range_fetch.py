"""The fetch of one job: asks the cache what is missing, the exchange for that, and the cache for the result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from tickwire.errors import ExchangeFailed, PageRejected, TickwireError
from tickwire.fetcher.bounds import Bounds, bounds_of
from tickwire.fetcher.cancellation import Cancellation
from tickwire.fetcher.candle_source import CandleSource
from tickwire.fetcher.job_context import JobContext
from tickwire.fetcher.job_report import JobReport
from tickwire.fetcher.page_publisher import PagePublisher, publishing_pages
from tickwire.fetcher.page_rows import OtherGrid
from tickwire.fetcher.paging_types import RefusedRange, merge_refused
from tickwire.fetcher.probation import Probation
from tickwire.fetcher.range_requests import RangeRequests
from tickwire.model import timeframes
from tickwire.model.messages import Coverage, Origin
from tickwire.model.ranges import Range, clip, subtract
from tickwire.model.timeframes import Grid
from tickwire.model.times import now_ms
from tickwire.venues.registry import grid_of, profile_of

T = TypeVar("T")


@dataclass(frozen=True)
class _Plan:
    """`wanted` are the ranges to request; `before` is what the cache had before that.

    `audited` are the ranges that the job is to have audited at its end; None unless it is an audit.
    """

    bounds: Bounds
    wanted: list[Range]
    before: Coverage
    audited: list[Range] | None = None


class RangeFetch:
    """Fetches the missing ranges of a job and reports on `report`. Ends early when `stop` is set."""

    def __init__(
        self,
        context: JobContext,
        source: CandleSource,
        report: JobReport,
        probation: Probation,
        cancellation: Cancellation,
        stop: asyncio.Event,
    ) -> None:
        self._context = context
        self._source = source
        self._report = report
        self._request = report.request
        self._key = report.request.key
        self._probation = probation
        self._cancellation = cancellation
        self._requests = RangeRequests(context, source, report, cancellation, stop)
        self._is_resumed = report.job.rows_expected > 0
        """Whether an earlier run reported what the cache had before the first page."""
        self._rows_before = 0
        """Rows that earlier runs of this job made durable."""

    async def run(self) -> None:
        """Fetch, store and report. Raises Stopped, TickwireError; what was stored before an error is kept."""
        job_id = self._report.job.id
        # A refresh sends again what was not durable, under another message id: of a page that the stream drops as a
        # duplicate nothing is announced, and the cache's coverage cannot distinguish it from rows before the refresh.
        is_again = self._request.refresh or self._request.audit
        message_prefix = f"{job_id}.{self._report.run_id}" if is_again else job_id
        origin: Origin = "audited" if self._request.audit else "exchange"
        self._rows_before = self._report.job.rows_fetched
        # What an interrupted run reported as refused is requested again.
        self._report.update(refused=[])
        bus = self._context.bus
        steps = self._context.steps
        async with publishing_pages(bus, self._key, message_prefix, self._on_durable, steps, origin) as publisher:
            plan, failure = await self._fetch(publisher)
            await publisher.wait_until_durable()
            failure = failure or self._rejection(publisher)
            after = await self._coverage_after(publisher, plan)
        self._report_result(plan, after)
        failure = failure or self._unstored(publisher)
        if failure is not None:
            raise failure

    # -- what is missing ------------------------------------------------------------------------------------------

    async def _fetch(self, publisher: PagePublisher) -> tuple[_Plan, TickwireError | None]:
        """Plan and fetch, on the grid that the cache or the exchange shows. Returns why it ended early, if it did."""
        key, is_other = self._key, False
        grid = grid_of(key.exchange, key.timeframe)
        now = await self._unless_cancelled(self._source.now(self._report.on_retry))
        while True:
            found = self._bounds(grid, now)
            coverage = await self._coverage_before(publisher, found)
            if coverage.first is not None:
                cached = timeframes.grid(key.timeframe, coverage.opens_at)
                if cached != grid:
                    grid = cached
                    continue
            plan = await self._plan(publisher, found, coverage)
            try:
                return plan, await self._requests.run(publisher, plan.bounds, plan.wanted, plan.before)
            except OtherGrid as other:
                if is_other:
                    # The exchange's grid was adopted before: so it is the cache that has candles of another grid.
                    return plan, ExchangeFailed(
                        f"{other} at {key.exchange}, and those in the cache do not",
                        "remove those of this key from the cache, then fetch it again",
                    )
                grid, is_other = other.grid, True

    def _bounds(self, grid: Grid, now: int | None) -> Bounds:
        settle_ms = self._context.settings.fetcher.settle_ms
        revised_ms = profile_of(self._key.exchange).candles.settled_after_ms
        return bounds_of(self._request, grid, now, now_ms(), settle_ms, revised_ms)

    async def _coverage_before(self, publisher: PagePublisher, found: Bounds) -> Coverage:
        whole = Range(found.since, found.until)
        self._report.update(since=found.since, until=found.until, missing=[whole])
        async with self._context.coverage_permits:
            return await self._unless_cancelled(publisher.coverage(found.since, max(found.until, found.reach)))

    async def _plan(self, publisher: PagePublisher, found: Bounds, coverage: Coverage) -> _Plan:
        """Decide what to request, and report what the cache has."""
        if self._request.audit:
            return await self._plan_of_audit(found, coverage)
        is_refresh = self._request.refresh
        known = self._report.refreshed if is_refresh else coverage.verified
        missing = subtract(Range(found.since, found.until), known)
        wanted = subtract(Range(found.since, found.reach), known)
        if not is_refresh:
            if found.reach > found.until:
                # The rows after `until` may still be revised, and do not count.
                coverage = await self._unless_cancelled(publisher.coverage(found.since, found.until))
            if not self._is_resumed:
                self._report.update(rows_from_cache=coverage.rows)
            self._rows_before = coverage.rows - self._report.job.rows_from_cache
        expected = found.grid.count(found.since, min(found.until, found.reach))
        self._report.update(rows_expected=expected, missing=missing)
        if wanted:
            # Durable before the first page, so that a second run knows what the cache had before the first.
            await self._report.checkpoint()
        return _Plan(found, wanted, coverage)

    async def _plan_of_audit(self, found: Bounds, coverage: Coverage) -> _Plan:
        """Request again what the cache has and the exchange does not revise any more."""
        settled = found.grid.open_of(now_ms() - found.revised_ms) if found.settled is None else found.settled
        audited = clip(coverage.verified, Range(found.since, min(found.until, settled)))
        wanted = [part for whole in audited for part in subtract(whole, self._report.refreshed)]
        expected = sum(found.grid.count(*part) for part in audited)
        self._report.update(rows_expected=expected, missing=wanted)
        if wanted:
            await self._report.checkpoint()
        return _Plan(found, wanted, coverage, audited)

    # -- what became of it ----------------------------------------------------------------------------------------

    async def _on_durable(self, publisher: PagePublisher) -> None:
        """Report what became durable, and end the probation: something else ended the process."""
        if not publisher.stored:
            return
        report = self._report
        report.update(rows_fetched=self._rows_before + publisher.rows)
        if self._request.refresh or self._request.audit:
            report.update(missing=[part for whole in report.job.missing for part in subtract(whole, publisher.done)])
        if report.job.crashes:
            report.update(crashes=0)
            # Durable before the next suspect runs, so that a crash of that one is not counted for this job.
            await report.checkpoint()
        self._probation.end()
        report.progress()

    def _rejection(self, publisher: PagePublisher) -> PageRejected | None:
        """Report the pages that the cache rejected; the error that the job then ends with."""
        if not publisher.refused:
            return None
        self._report.add_refused(merge_refused(publisher.refused))
        return PageRejected(
            f"the cache rejected a page of {self._key}: {publisher.refused[0].reason}",
            "what else was fetched is kept; correct the cause, then fetch again",
        )

    def _unstored(self, publisher: PagePublisher) -> PageRejected | None:
        """Report pages that the cache removed from the stream and does not have: their `md.rejected` was missed."""
        missing = self._report.job.missing
        lost = [part for removed in publisher.removed for part in clip(missing, removed)]
        if not lost:
            return None
        reason = "the cache removed the page and does not have it; the reason was missed: see the log of the cache"
        self._report.add_refused([RefusedRange(*part, reason) for part in lost])
        return PageRejected(f"{self._key}: {reason}", "correct the cause, then fetch again")

    async def _coverage_after(self, publisher: PagePublisher, plan: _Plan) -> Coverage:
        if not plan.wanted and not self._request.refresh and plan.audited is None:
            # Nothing was fetched.
            return plan.before
        return await publisher.coverage(self._report.job.since, self._report.job.until)

    def _report_result(self, plan: _Plan, after: Coverage) -> None:
        if plan.audited is not None:
            done = after.provenance.audited
            missing = [part for whole in plan.audited for part in subtract(whole, done)]
            self._report.update(missing=missing, complete=not missing)
            return
        found, newest = plan.bounds, self._requests.newest
        if found.closed is None and self._request.until is None and newest is not None:
            self._report.update(until=max(found.since, min(found.until, found.settled_by(newest))))
        job = self._report.job
        missing = subtract(Range(job.since, job.until), after.verified)
        fetched = max(0, after.rows - job.rows_from_cache)
        self._report.update(missing=missing, complete=not missing, rows_fetched=fetched)

    async def _unless_cancelled(self, work: Awaitable[T]) -> T:
        return await self._cancellation.unless_cancelled(work)
