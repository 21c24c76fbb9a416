"""One fetch job: from what the cache knows, through what the exchange is asked, to what the cache then knows.

A job can be killed anywhere and run again by another instance: everything it needs is in the request, in the cache's
coverage and in the job's last message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec
import nats.js.errors

from tickwire import lifecycle, logs, messages, streams, subjects, timeframes
from tickwire.bus import Bus, patiently
from tickwire.config import FetcherSettings
from tickwire.errors import BadRequest, InternalError, TickwireError
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.fetcher.paging import Pager
from tickwire.fetcher.storing import Storing, storing
from tickwire.fetcher.venue import Venue
from tickwire.messages import Coverage, FetchRequest, Job
from tickwire.ranges import Range, subtract

log = logs.get(__name__)

PROGRESS_S = 0.2
"""Progress is published at most five times a second."""


class Stopped(Exception):
    """The job was left at a page boundary for the next holder to go on with."""


async def last_message(bus: Bus, job_id: str) -> Job | None:
    """The newest message of a job, as long as it is kept (an hour). Raises BrokerUnavailable."""
    try:
        kept = await patiently(lambda: bus.jetstream.get_last_msg(streams.JOB_RESULTS, subjects.job(job_id)))
    except nats.js.errors.NotFoundError:
        return None
    return messages.decode(kept.data or b"", Job)


def queued(request: FetchRequest, now: int) -> Job:
    """The first message of a job. Without `until` it says `now` (ms) for the time being."""
    assert request.id is not None
    since = timeframes.ceil_open(request.timeframe, request.since)
    until = timeframes.ceil_open(request.timeframe, now if request.until is None else request.until)
    return Job(
        id=request.id,
        exchange=request.exchange,
        symbol=request.symbol,
        timeframe=request.timeframe,
        state="queued",
        since=since,
        until=max(since, until),
    )


class Run:
    """A job while it runs on this instance. `delivered` counts how often it was handed out."""

    def __init__(
        self,
        bus: Bus,
        venue: Venue,
        settings: FetcherSettings,
        request: FetchRequest,
        *,
        instance: str,
        stop: asyncio.Event,
        metrics: FetcherMetrics,
        delivered: int = 1,
    ) -> None:
        assert request.id is not None
        self._metrics = metrics
        self._bus = bus
        self._venue = venue
        self._settings = settings
        self._request = request
        self._stop = stop
        self._delivered = delivered
        self._job = msgspec.structs.replace(queued(request, 0), state="running", instance=instance)
        self._published = float("-inf")
        self._base = 0
        self._newest: int | None = None
        """Where the newest candle opens that the exchange gave."""

    async def run(self) -> None:
        """Run the job to its published end. Raises Stopped when it is to be handed on."""
        before = await last_message(self._bus, self._job.id)
        if before is not None and before.ended:
            return
        if before is not None and before.state == "running":
            self._note(pages=before.pages, retries=before.retries, rows_from_cache=before.rows_from_cache)
        try:
            await self._fetch(again=before is not None and before.state == "running")
            await self._publish_end("done")
        except Stopped:
            raise
        except (TickwireError, BaseExceptionGroup) as error:
            first = lifecycle.leaf(error)
            if isinstance(first, Stopped | asyncio.CancelledError):
                raise first from error
            if not isinstance(first, TickwireError):
                raise
            log.warning("job failed", job=self._job.id, **self._job.key._asdict(), error=str(first))
            await self._publish_end("failed", first)

    async def fail(self, error: Exception) -> None:
        """Publish that the job ended in a bug."""
        await self._publish_end("failed", InternalError(f"the job met a bug: {error!r}", "see the fetcher's log"))

    async def _fetch(self, *, again: bool) -> None:
        request, key = self._request, self._request.key
        run = f"{self._job.id}.{self._delivered}" if request.refresh else self._job.id
        async with storing(self._bus, key, run, refresh=request.refresh) as way:
            closed = await self._bounds()
            self._note(missing=[Range(self._job.since, self._job.until)])
            before = await way.coverage(self._job.since, self._job.until)
            if request.refresh:
                missing = [Range(self._job.since, self._job.until)]
            else:
                missing = subtract(Range(self._job.since, self._job.until), before.verified)
                if not again:
                    self._note(rows_from_cache=before.rows)
                self._base = before.rows - self._job.rows_from_cache
            self._note(
                rows_expected=timeframes.count(
                    key.timeframe, self._job.since, self._job.until if closed is None else min(self._job.until, closed)
                ),
                missing=missing,
            )
            # Durable before the first page, so that a second run knows what was there before the first.
            await self._publish_durably()
            failure = await self._fill(way, missing, closed)
            await way.settled()
            self._result(await way.coverage(self._job.since, self._job.until), closed)
        if failure is not None:
            raise failure

    async def _bounds(self) -> int | None:
        """Fix the job's range by the exchange's clock; the end of its newest closed candle.

        None where the exchange's time is unknown: a candle is then closed when a later one exists.
        """
        now = await self._venue.now(self._retried)
        if now is None:
            if self._request.until is None:
                # Our own clock says only how far to ask: `_result` ends the range at the newest candle there is.
                ours = timeframes.open_of(self._job.timeframe, time.time_ns() // 1_000_000)
                self._note(until=max(ours, self._job.since))
            return None
        closed = timeframes.open_of(self._job.timeframe, now - self._settings.settle_ms)
        if self._request.since > now:
            raise BadRequest(
                f"since ({self._request.since}) is in the future of {self._job.exchange}, where it is {now}",
                "ask for what has happened",
            )
        if self._request.until is None:
            self._note(until=max(closed, self._job.since))
        return closed

    async def _fill(self, way: Storing, missing: Sequence[Range], closed: int | None) -> TickwireError | None:
        """Ask the exchange for what is missing; why it stopped early, if it did."""
        closed_parts = [
            Range(since, until if closed is None else min(until, closed))
            for since, until in missing
            if closed is None or since < closed
        ]
        if not closed_parts:
            return None
        try:
            paging = await self._venue.paging_of(self._job.symbol, self._job.timeframe, self._retried)
            for part in closed_parts:
                pager = Pager(self._job.timeframe, part, closed, paging)
                while pager.ask is not None:
                    if self._stop.is_set():
                        raise Stopped
                    page = await self._venue.page(pager, self._job.symbol, self._retried)
                    self._note(pages=self._job.pages + 1)
                    self._metrics.pages.labels(self._job.exchange).inc()
                    if page is not None:
                        self._metrics.rows.labels(self._job.exchange).inc(len(page.rows))
                        await way.put(page)
                    await self._progress(way)
                self._newest = pager.newest
        except TickwireError as error:
            # What was fetched is kept: it is stored before the job says that it failed.
            return error
        return None

    def _result(self, after: Coverage, closed: int | None) -> None:
        if closed is None and self._request.until is None and self._newest is not None:
            self._note(until=max(self._job.since, min(self._job.until, self._newest)))
        missing = subtract(Range(self._job.since, self._job.until), after.verified)
        fetched = after.rows - self._job.rows_from_cache
        self._note(missing=missing, complete=not missing, rows_fetched=max(0, fetched))

    # -- telling --------------------------------------------------------------------------------------------------

    def _retried(self) -> None:
        self._note(retries=self._job.retries + 1)

    def _note(self, **changes: object) -> None:
        self._job = msgspec.structs.replace(self._job, **changes)

    async def _progress(self, way: Storing) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._published >= PROGRESS_S:
            self._published = now
            self._note(rows_fetched=self._base + way.rows)
            await self._bus.publish(subjects.job(self._job.id), self._job)

    async def _publish_end(self, state: str, error: TickwireError | None = None) -> None:
        self._note(state=state, error=messages.error_reply(error) if error is not None else None)
        await self._publish_durably()
        self._metrics.ended.labels(self._job.exchange, state).inc()
        log.info(
            "job ended",
            job=self._job.id,
            exchange=self._job.exchange,
            symbol=self._job.symbol,
            timeframe=self._job.timeframe,
            state=state,
            complete=self._job.complete,
            fetched=self._job.rows_fetched,
            from_cache=self._job.rows_from_cache,
            pages=self._job.pages,
            retries=self._job.retries,
        )

    async def _publish_durably(self) -> None:
        job = self._job
        message_id = f"{job.id}.{self._delivered}.{job.instance}.{job.state}"
        await self._bus.append(subjects.job(job.id), messages.encode(job), message_id=message_id)
