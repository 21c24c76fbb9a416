"""Requests a job's missing ranges from the exchange, side by side, and publishes in order what the answers prove."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import TypeVar

from tickwire.errors import ExchangeFailed, TickwireError
from tickwire.fetcher.bounds import Bounds
from tickwire.fetcher.calls import OnRetry
from tickwire.fetcher.cancellation import Cancellation, unless
from tickwire.fetcher.candle_source import CandleSource
from tickwire.fetcher.job_context import JobContext
from tickwire.fetcher.job_report import JobReport
from tickwire.fetcher.page_publisher import PagePublisher
from tickwire.fetcher.pager import Pager
from tickwire.fetcher.paging_types import PageRequest, Reply
from tickwire.fetcher.range_pagers import RangePagers
from tickwire.fetcher.requests_ahead import Fetch, RequestsAhead, sending_ahead
from tickwire.fetcher.row_audit import RowAudit
from tickwire.model.messages import Coverage
from tickwire.model.ranges import Range
from tickwire.model.timeframes import Grid

T = TypeVar("T")


class Stopped(Exception):
    """The job stopped between two pages. The next holder of the exchange's lease continues it."""


class RangeRequests:
    """The requests of one job, and what the job reports of them. Ends early when `stop` is set."""

    def __init__(
        self,
        context: JobContext,
        source: CandleSource,
        report: JobReport,
        cancellation: Cancellation,
        stop: asyncio.Event,
    ) -> None:
        self._source = source
        self._report = report
        self._key = report.request.key
        self._metrics = context.metrics
        self._steps = context.steps
        self._cancellation = cancellation
        self._stop = stop
        self._audit = RowAudit(context, report) if report.request.audit else None
        self._has_answered = False
        """Whether the exchange answered for any range. Where it is declared to have nothing it need not be asked."""
        self.newest: int | None = None
        """The open time (ms) of the newest candle that the exchange answered."""

    async def run(
        self, publisher: PagePublisher, found: Bounds, wanted: Sequence[Range], before: Coverage
    ) -> TickwireError | None:
        """Page through the ranges, and put what is proven to `publisher`. Returns why it ended early, if it did.

        `before` is what the cache has.
        Raises OtherGrid, Stopped.
        """
        if not wanted:
            return None
        key = self._key
        if self._audit is not None:
            self._audit.begin(before)
        try:
            facts = await self._unless_cancelled(
                self._source.paging_facts(key.symbol, key.timeframe, self._report.on_retry)
            )
            pagers = RangePagers(wanted, lambda part: Pager(found.grid, part, found.closed, facts, self.newest))
            is_background = self._report.request.background
            with nullcontext() if is_background else self._source.fetching():
                share = (lambda: 1) if is_background else self._source.share
                async with sending_ahead(self._fetch_on(found.grid), self._report.on_retry, share) as ahead:
                    failure = await self._ranges(publisher, found, pagers, ahead)
        except TickwireError as error:
            # What was fetched is kept: it is stored before the job reports that it failed.
            return error
        refused = self._report.job.refused
        if failure is None and refused and not self._has_answered:
            return ExchangeFailed(refused[0].message, "ask for what the exchange has")
        return failure

    def _fetch_on(self, grid: Grid) -> Fetch:
        async def fetch(request: PageRequest, on_retry: OnRetry) -> Reply:
            async with self._source.background() if self._report.request.background else nullcontext():
                return await self._source.fetch(request, self._key.symbol, grid, on_retry)

        return fetch

    async def _ranges(
        self, publisher: PagePublisher, found: Bounds, pagers: RangePagers, ahead: RequestsAhead
    ) -> ExchangeFailed | None:
        """Page through each range. Returns the first failure.

        A page that cannot be fetched ends its own range. If the exchange does not answer for the next one either, the
        rest is not requested.
        """

        def reply_to(request: PageRequest) -> Awaitable[Reply]:
            # Without a clock, the next pager depends on what this one finds.
            return ahead.reply(request, pagers.expected() if found.closed is not None else ())

        first: ExchangeFailed | None = None
        is_failing = False
        for pager in pagers:
            is_asked = pager.ask is not None
            failure = await self._range(publisher, found, pager, reply_to)
            self.newest = pager.newest
            self._report.add_refused(pager.refused)
            self._has_answered |= pager.answered or not is_asked
            first = first or failure
            if is_failing and failure is not None and not pager.answered:
                break
            is_failing = failure is not None
        return first

    async def _range(
        self, publisher: PagePublisher, found: Bounds, pager: Pager, reply_to: Callable[[PageRequest], Awaitable[Reply]]
    ) -> ExchangeFailed | None:
        """Page through one range. Returns why a page could not be fetched."""
        exchange, wanted = self._key.exchange, pager.wanted
        while (request := pager.ask) is not None:
            if self._stop.is_set():
                raise Stopped
            try:
                reply = await self._unless_cancelled(self._unless_stopped(reply_to(request)))
            except ExchangeFailed as failure:
                return failure
            async with self._steps:
                pages = [self._source.in_base_currency(self._key.symbol, page) for page in pager.take(reply)]
            self._report.update(pages=self._report.job.pages + 1, last_error="", next_try_at=None)
            self._metrics.pages.labels(exchange).inc()
            for page in pages:
                self._metrics.rows.labels(exchange).inc(len(page.rows))
                if self._audit is not None:
                    await self._audit.compare(page)
                await publisher.put(found.with_finality(page, pager.newest))
            self._report.progress()
            if any(wanted.since <= each.since < wanted.until for each in publisher.refused):
                # The cache will most likely reject the next pages for the same reason.
                break
        return None

    async def _unless_stopped(self, work: Awaitable[T]) -> T:
        """The result of `work`; in the background it is given up once the job is to stop. Raises Stopped then.

        Its turn may come late, and the job that it gives way to waits.
        """
        if not self._report.request.background:
            return await work
        return await unless(self._stop, work, Stopped())

    async def _unless_cancelled(self, work: Awaitable[T]) -> T:
        return await self._cancellation.unless_cancelled(work)
