"""The fetch of one job of trades: asks the archive what it lacks, the exchange for that, and sends it to the archive.

Only days that have ended are added to. A day is closed once its pages are sent, so that what a killed job had sent is
not requested again: a day with pages that no certificate speaks of is closed first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import aclosing
from typing import TypeVar

from tickwire.archive_files.layout import begin_of, date_of
from tickwire.archive_files.proven_pages import PageBuffer, Proven
from tickwire.archive_requests.writer import ArchiveWriter, lacking, span_of
from tickwire.errors import BadRequest, ExchangeFailed, JobCancelled, TickwireError
from tickwire.exchange.trade_history import paging_of
from tickwire.fetcher.calls import RequestRefused
from tickwire.fetcher.cancellation import Cancellation
from tickwire.fetcher.candle_source import CandleSource
from tickwire.fetcher.job_context import JobContext
from tickwire.fetcher.job_report import JobReport
from tickwire.fetcher.paging_types import RefusedRange
from tickwire.fetcher.probation import Probation
from tickwire.fetcher.range_requests import Stopped
from tickwire.fetcher.trade_paging import PAGERS, Ended, TradeSource
from tickwire.model.feeds import Feed
from tickwire.model.messages.archive_writing import TradePage
from tickwire.model.ranges import Range, clip, subtract
from tickwire.model.times import now_ms
from tickwire.venues.registry import profile_of
from tickwire.venues.units import Stated, stated_in_trades, units_of

T = TypeVar("T")


class TradeFetch:
    """Fetches what the archive lacks of a job's range, and reports on `report`. Ends early when `stop` is set."""

    def __init__(
        self,
        context: JobContext,
        source: CandleSource,
        report: JobReport,
        probation: Probation,
        cancellation: Cancellation,
        stop: asyncio.Event,
    ) -> None:
        self._metrics = context.metrics
        self._source = source
        self._report = report
        self._request = report.request
        self._probation = probation
        self._cancellation = cancellation
        self._stop = stop
        request = report.request
        self._archive = ArchiveWriter(context.bus, Feed("trade", request.exchange, request.symbol))
        self._stated: Stated = {}
        self._open: set[str] = set()
        """Days that were sent pages since they were closed."""

    async def run(self) -> None:
        """Fetch, store and report. Raises Stopped, TickwireError; what was stored before an error is kept."""
        request, report = self._request, self._report
        profile = profile_of(request.exchange)
        report.update(refused=[])
        market = await self._unless_cancelled(self._source.market(request.symbol, report.on_retry))
        self._stated = stated_in_trades(units_of(profile, market))
        history = self._source.history(request.symbol, report.on_retry)
        ended = begin_of(date_of(await self._unless_cancelled(history.now())))
        if request.since >= ended:
            remedy = "fetch it when it has ended; until then `tickwire start trade` archives what happens"
            raise BadRequest("the day of since has not ended", remedy)
        span = Range(request.since, ended if request.until is None else request.until)
        report.update(since=span.since, until=span.until, missing=[span])
        wanted = await self._unless_cancelled(self._wanted(span, ended))
        await report.checkpoint()
        failure = await self._ranges(history, wanted)
        # Also of a job that is cancelled: what it has sent is to be seen.
        await self._close(self._open)
        if ended < span.until:
            self._ended(Ended(max(span.since, ended), span.until, "the day has not ended"))
        missing = lacking(await self._archive.days(*span), span)
        report.update(missing=missing, complete=not missing)
        if failure is not None:
            raise failure

    async def _wanted(self, span: Range, ended: int) -> list[Range]:
        """What the archive lacks of the days that have ended, ascending."""
        bounds = Range(span.since, min(span.until, ended))
        days = await self._archive.days(*bounds)
        unmerged = [each.date for each in days if each.condition == "open"]
        if unmerged:
            await self._close(unmerged)
            days = await self._archive.days(*bounds)
        if not self._report.job.pages:
            whole = [each.rows for each in days if clip([span_of(each)], span) == [span_of(each)]]
            self._report.update(rows_from_cache=sum(whole))
        missing = lacking(days, span)
        self._report.update(missing=missing)
        return [Range(since, min(until, ended)) for since, until in missing if since < ended]

    async def _ranges(self, history: TradeSource, wanted: Iterable[Range]) -> TickwireError | None:
        """Page through ranges; why it ended early, if it did. A refused request ends its own range. Raises Stopped."""
        refused: TickwireError | None = None
        for each in wanted:
            pages = self._report.job.pages
            try:
                await self._range(history, each)
            except RequestRefused as error:
                self._ended(Ended(each.since, each.until, error.message))
                refused = error if self._report.job.pages == pages else refused
            except (ExchangeFailed, JobCancelled) as error:
                return error
        return refused

    async def _range(self, history: TradeSource, wanted: Range) -> None:
        """Page through a range. Raises Stopped, TickwireError."""
        paging = paging_of(profile_of(self._request.exchange).trades)
        assert paging is not None
        buffer = PageBuffer()
        async with aclosing(PAGERS[paging](history, wanted)) as pages:
            try:
                while (found := await self._unless_cancelled(anext(pages, None))) is not None:
                    if isinstance(found, Ended):
                        self._ended(found)
                        continue
                    self._report.update(pages=self._report.job.pages + 1, last_error="", next_try_at=None)
                    self._metrics.pages.labels(self._request.exchange).inc()
                    await self._send_all(buffer.add(found))
                    if self._stop.is_set():
                        raise Stopped
            except (ExchangeFailed, JobCancelled):
                # What was fetched is kept.
                await self._send_all(buffer.rest())
                raise
            await self._send_all(buffer.rest())

    async def _send_all(self, found: Iterable[Proven]) -> None:
        for each in found:
            await self._send(each)

    def _ended(self, ended: Ended) -> None:
        if ended.since < ended.until:
            self._report.add_refused([RefusedRange(ended.since, ended.until, ended.reason)])

    async def _send(self, proven: Proven) -> None:
        if proven.since == proven.until and not proven.trades:
            return
        request = self._request
        page = TradePage(
            exchange=request.exchange,
            symbol=request.symbol,
            source="history",
            since=proven.since,
            until=proven.until,
            received=now_ms(),
            trades=proven.trades,
            **self._stated,
        )
        rows = await self._archive.write(page)
        # Proven up to the begin of the next day is of the day before.
        day = date_of(proven.trades[0].timestamp if proven.trades else proven.since).isoformat()
        self._metrics.rows.labels(request.exchange).inc(rows)
        job = self._report.job
        missing = [part for whole in job.missing for part in subtract(whole, [Range(proven.since, proven.until)])]
        self._report.update(rows_fetched=job.rows_fetched + rows, missing=missing, crashes=0)
        if job.crashes:
            await self._report.checkpoint()
        self._probation.end()
        await self._close(self._open - {day})
        self._open.add(day)
        self._report.progress()

    async def _close(self, dates: Iterable[str]) -> None:
        for each in sorted(dates):
            await self._archive.close(each)
            self._open.discard(each)
        # So that a second run counts what this one has stored.
        if dates:
            await self._report.checkpoint()

    async def _unless_cancelled(self, work: Awaitable[T]) -> T:
        return await self._cancellation.unless_cancelled(work)
