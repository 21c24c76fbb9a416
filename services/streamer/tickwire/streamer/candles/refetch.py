"""Has the fetcher fetch what candles lack: ranges settle, then become fetch jobs, one at a time."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

from nats.aio.msg import Msg

from tickwire.bus.connection import Bus
from tickwire.errors import BrokerUnavailable, Busy, NoSuchService, RequestTimeout, StorageError, TickwireError
from tickwire.model import messages, subjects
from tickwire.model.feeds import Feed, Gap
from tickwire.model.messages import FetchAccepted, FetchRequest, Job
from tickwire.model.ranges import Range
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.streamer.candles.refetch_queue import RefetchQueue
from tickwire.streamer.control.feed_status import FeedStatus

log = logs.get(__name__)

ATTEMPTS = 10
"""Jobs in a row that may leave part of a range missing before it is given up."""
JOB_S = 300.0
"""A job that publishes nothing for this long is requested again: if it was done, that costs a look into the cache."""
_PASSING = (NoSuchService, RequestTimeout, BrokerUnavailable, Busy, StorageError)
"""Errors of a request that may be accepted later: the fetcher is away or busy, or the broker's disk is full."""
LAST_REQUEST_S = 2.0
"""How long a fetcher may take to accept what is left when the feed stops."""


class Refetch:
    """The fetch requests of one market. `run` works beside the candles until `finish`.

    `added` is called when something is to be requested that was not before.
    """

    def __init__(self, bus: Bus, market: Feed, status: FeedStatus, settle_ms: int, added: Callable[[], None]) -> None:
        self._bus = bus
        self._market = market
        self._status = status
        self._settle_s = settle_ms / 1000
        self._added = added
        self._queues: dict[str, RefetchQueue] = {}
        self._news = asyncio.Event()
        self._finishing = asyncio.Event()
        self._no_fetcher = False

    def missed(self, timeframe: str, missing: Range, *, refresh: bool) -> None:
        """Have a range fetched once it has settled at the exchange; with `refresh`, even if it is cached."""
        queue = self._queues.setdefault(timeframe, RefetchQueue())
        queue.add_settling(time.monotonic() + self._settle_s, missing, refresh=refresh)
        self._news.set()
        self._added()

    def oldest(self, timeframe: str, *, refresh: bool) -> int | None:
        """Start (ms) of the oldest range that no fetcher has accepted."""
        queue = self._queues.get(timeframe)
        return None if queue is None else queue.oldest(refresh=refresh)

    def finish(self) -> None:
        """Have `run` hand over what is left, and return."""
        self._finishing.set()
        self._news.set()

    async def run(self) -> None:
        """Request what was missed, one job at a time, until `finish`; then what a fetcher accepts at once."""
        while not self._finishing.is_set():
            self._news.clear()
            now = time.monotonic()
            for each in self._queues.values():
                if not each:
                    each.due = now
                each.settle(now)
            timeframe, queue = min(self._queues.items(), key=lambda item: item[1].next_due, default=("", None))
            if queue is not None and queue and queue.due <= now:
                await self._fetch(timeframe, queue)
                continue
            due = float("inf") if queue is None else queue.next_due
            await lifecycle.pause(self._news, None if due == float("inf") else max(0.0, due - now))
        await self._hand_over()

    async def _fetch(self, timeframe: str, queue: RefetchQueue) -> None:
        """Run one job; what it leaves missing is requested again later."""
        missing, refresh = queue.take()
        request = self._request(timeframe, missing, refresh=refresh)
        jobs: asyncio.Queue[Job] = asyncio.Queue()

        async def on_job(message: Msg) -> None:
            jobs.put_nowait(messages.decode(message.data, Job))

        try:
            async with self._bus.subscribed(subjects.job(str(request.id)), on_job):
                await self._bus.request("fetcher.fetch", request, FetchAccepted)
                self._no_fetcher = False
                queue.requested = None
                left = await self._left_missing(missing, jobs)
        except _PASSING as error:
            self._report_no_fetcher(error)
            self._retry(queue, [missing], refresh=refresh)
            return
        except TickwireError as error:
            self._give_up(timeframe, missing, str(error))
            return
        finally:
            queue.requested = None
        if not left:
            queue.succeeded(time.monotonic())
        elif queue.failures >= ATTEMPTS:
            queue.failures = 0
            self._give_up(timeframe, Range(left[0].since, left[-1].until), "the fetcher could not fetch them")
        else:
            self._retry(queue, left, refresh=refresh)

    async def _left_missing(self, missing: Range, jobs: asyncio.Queue[Job]) -> list[Range]:
        """What the job left missing; all of it if the job publishes nothing, nothing if the feed stops first."""
        while True:
            try:
                async with asyncio.timeout(JOB_S):
                    job = await lifecycle.unless_stopped(self._finishing, jobs.get())
            except TimeoutError:
                log.warning("a job publishes nothing", **self._market.fields, since=missing.since, until=missing.until)
                return [missing]
            if job is None:
                return []
            if job.ended and job.complete:
                self._status.repaired += 1
                return []
            if job.ended:
                return list(job.missing) or [missing]

    def _retry(self, queue: RefetchQueue, ranges: list[Range], *, refresh: bool) -> None:
        queue.retry(ranges, time.monotonic(), refresh=refresh)
        self._added()

    def _report_no_fetcher(self, error: TickwireError) -> None:
        if not self._no_fetcher:
            self._no_fetcher = True
            log.warning("no fetcher accepts missing candles", **self._market.fields, error=str(error))
            self._status.report("gap", f"candles are incomplete and wait for a fetcher: {error}")

    def _give_up(self, timeframe: str, missing: Range, reason: str) -> None:
        log.warning("candles stay incomplete", **self._market.fields, timeframe=timeframe, reason=reason)
        self._status.report(
            "gap",
            f"{timeframe} candles are not in the cache: {reason}",
            gap=Gap(since=missing.since - 1, until=missing.until, reason=reason),
        )

    def _request(self, timeframe: str, missing: Range, *, refresh: bool) -> FetchRequest:
        return FetchRequest(
            exchange=self._market.exchange,
            symbol=self._market.symbol,
            timeframe=timeframe,
            since=missing.since,
            until=missing.until,
            refresh=refresh,
            id=uuid.uuid4().hex,
        )

    async def _hand_over(self) -> None:
        """Request everything that is left, if there is a fetcher; else the next owner reads it from the tape."""
        for timeframe, queue in list(self._queues.items()):
            queue.settle(float("inf"))
            while queue:
                missing, refresh = queue.take()
                request = self._request(timeframe, missing, refresh=refresh)
                try:
                    await self._bus.request("fetcher.fetch", request, FetchAccepted, timeout_s=LAST_REQUEST_S)
                except TickwireError as error:
                    log.warning("candles stay incomplete", **self._market.fields, reason=str(error))
                    return
