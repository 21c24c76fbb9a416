"""One fetch job on this instance, from its last message to its published end.

A job can be killed at any point and run again by another instance: all it needs is in the request, in the cache's
coverage and in the job's last message. For a refresh that message is the checkpoint: the cache knew the range before,
so what is not yet refreshed is what the message lists as missing.
"""

from __future__ import annotations

import asyncio

from tickwire.errors import JobCancelled, JobParked, TickwireError
from tickwire.fetcher import request_checks
from tickwire.fetcher.cancellation import Cancellation
from tickwire.fetcher.candle_source import CandleSource
from tickwire.fetcher.job_context import JobContext, UnopenedExchange
from tickwire.fetcher.job_messages import bug, is_cancelled, last_message, still_missing
from tickwire.fetcher.job_report import JobReport
from tickwire.fetcher.probation import Probation
from tickwire.fetcher.range_fetch import RangeFetch
from tickwire.fetcher.range_requests import Stopped
from tickwire.fetcher.trade_fetch import TradeFetch
from tickwire.model.messages import FetchRequest
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.process import lifecycle

log = logs.get(__name__)


def create_job(
    context: JobContext,
    source: CandleSource | UnopenedExchange,
    request: FetchRequest,
    stop: asyncio.Event,
    cancellation: Cancellation,
) -> FetchJob:
    """Make a job. Raises TickwireError when its request is invalid or the exchange could not be opened."""
    if isinstance(source, UnopenedExchange):
        raise source.error
    request_checks.check(request, now_ms(), context.settings)
    return FetchJob(context, source, request, stop, cancellation)


class FetchJob:
    """A job while it runs on this instance. Made by `create_job`."""

    def __init__(
        self,
        context: JobContext,
        source: CandleSource,
        request: FetchRequest,
        stop: asyncio.Event,
        cancellation: Cancellation,
    ) -> None:
        assert request.id is not None
        self._id = request.id
        self._context = context
        self._source = source
        self._stop = stop
        self._cancellation = cancellation
        self._report = JobReport(context, request)
        self._probation = Probation(context, request.id)

    async def run(self) -> None:
        """Run the job to its published end. Raises Stopped when another instance is to continue it."""
        report = self._report
        before = await last_message(self._context.bus, self._id)
        if before is not None and before.ended:
            return
        if before is not None and before.state == "running":
            report.resume(before)
            report.update(crashes=self._probation.crashes(before))
        try:
            await self._begin()
            kind = TradeFetch if report.request.kind == "trade" else RangeFetch
            fetch = kind(self._context, self._source, report, self._probation, self._cancellation, self._stop)
            async with report.progressing():
                await fetch.run()
            await report.end("done")
        except Stopped:
            raise
        except (TickwireError, BaseExceptionGroup) as error:
            first = lifecycle.leaf(error)
            if isinstance(first, Stopped | asyncio.CancelledError):
                raise first from error
            if not isinstance(first, TickwireError):
                raise
            log.warning("job failed", job=self._id, **report.job.key._asdict(), error=str(first))
            await report.end("failed", first)
        finally:
            self._probation.end()

    async def _begin(self) -> None:
        """Record durably that the job runs here. Raises JobParked, JobCancelled."""
        try:
            self._probation.check(self._report.job.crashes)
            if self._report.job.crashes:
                await self._cancellation.unless_cancelled(self._probation.begin())
            # Durable before anything else: if the process ends now, the next instance knows which job it ran.
            await self._report.checkpoint()
            self._context.begun.add(self._id)
            if self._cancellation.is_requested or await is_cancelled(self._context.bus, self._id):
                raise self._cancellation.error
        except (JobParked, JobCancelled):
            self._report.update(missing=await still_missing(self._context.bus, self._report.job))
            raise

    async def fail(self, error: Exception) -> None:
        """Publish that a bug ended the job."""
        await self._report.end("failed", bug(error))

    async def hand_over(self) -> None:
        """Publish that another instance is to continue the job."""
        await self._report.hand_over()
