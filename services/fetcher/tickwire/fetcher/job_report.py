"""The state of a running job and its publication on `md.job.<id>`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count

import msgspec

from tickwire.errors import TickwireError
from tickwire.fetcher.calls import FailedAttempt
from tickwire.fetcher.job_context import JobContext
from tickwire.fetcher.job_messages import outcome, queued
from tickwire.fetcher.paging_types import RefusedRange
from tickwire.model import messages, subjects
from tickwire.model.messages import FetchRequest, Job, Refused
from tickwire.model.ranges import Range, subtract
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.process.throttle import Throttle
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

PROGRESS_S = 0.2
"""The shortest time between two messages of progress."""
_CHECKPOINT = ("until", "pages", "retries", "rows_from_cache", "rows_fetched", "rows_expected", "missing")
_AUDIT_CHECKPOINT = ("rows_compared", "difference_count", "differences")
"""The fields that a second run of a job takes over."""


class JobReport:
    """The message of one job. Progress is published without acknowledgement; checkpoints and the end are durable."""

    def __init__(self, context: JobContext, request: FetchRequest) -> None:
        self._context = context
        self._bus = context.bus
        self.request = request
        self.job: Job = msgspec.structs.replace(queued(request, 0), state="running", instance=context.instance)
        self.run_id = time.time_ns()
        """Distinguishes the runs of one job."""
        self.refreshed: list[Range] = []
        """The ranges that earlier runs of a refresh made durable."""
        self._numbers = count()
        self._throttle = Throttle()

    def update(self, **changes: object) -> None:
        """Change fields of the job's message."""
        self.job = msgspec.structs.replace(self.job, **changes)

    def add_refused(self, refused: Iterable[RefusedRange]) -> None:
        """Add ranges that the exchange refused to serve, or the cache to store."""
        new = [Refused(since=each.since, until=each.until, message=each.reason) for each in refused]
        self.update(refused=[*self.job.refused, *new])

    def resume(self, before: Job) -> None:
        """Continue from the last message of an earlier run."""
        self.update(**{name: getattr(before, name) for name in _CHECKPOINT + _AUDIT_CHECKPOINT})
        if before.rows_expected:
            # The earlier run came as far as the first checkpoint with its missing ranges.
            self.refreshed = subtract(Range(before.since, before.until), before.missing)

    async def on_retry(self, attempt: FailedAttempt) -> None:
        """Report a failed attempt; the first one at once."""
        is_first = not self.job.last_error
        self.update(retries=self.job.retries + 1, last_error=attempt.reason, next_try_at=attempt.next_try_at)
        self.progress(at_once=is_first)

    def progress(self, *, at_once: bool = False) -> None:
        """Have the message published soon, at most five times a second unless `at_once`; the newest one always is."""
        if at_once:
            self._throttle.notify_now()
        else:
            self._throttle.notify()

    @asynccontextmanager
    async def progressing(self) -> AsyncIterator[None]:
        """Publish progress within the block; nothing after it, when the job may have ended."""
        async with lifecycle.unwrapped(), TaskGroup() as group:
            publishing = group.create_task(self._publish_progress())
            try:
                yield
            finally:
                publishing.cancel()

    async def _publish_progress(self) -> None:
        while True:
            await self._throttle.wait(PROGRESS_S)
            # Nothing is buffered for a broker that is away: by then the job may run, or have ended, elsewhere.
            if not self._bus.lost.is_set():
                await self._bus.publish(subjects.job(self.job.id), self.job)

    async def checkpoint(self) -> None:
        """Publish the message durably. Raises BrokerUnavailable."""
        job = self.job
        message_id = f"{job.id}.{self.run_id}.{job.instance}.{next(self._numbers)}"
        await self._bus.append(subjects.job(job.id), messages.encode(job), message_id=message_id)

    async def hand_over(self) -> None:
        """Publish that the job was left in order, so that its next run counts no crash."""
        if self.job.id in self._context.begun and not self._bus.lost.is_set():
            self._context.begun.discard(self.job.id)
            self.update(instance="")
            await self._bus.publish(subjects.job(self.job.id), self.job)

    async def end(self, state: str, error: TickwireError | None = None) -> None:
        """Publish the end of the job durably. Raises BrokerUnavailable."""
        self.update(state=state, error=messages.error_reply(error) if error is not None else None)
        self.update(last_error="", next_try_at=None)
        await self.checkpoint()
        job = self.job
        self._context.begun.discard(job.id)
        self._context.metrics.ended.labels(job.exchange, outcome(job)).inc()
        log.info(
            "job ended",
            job=job.id,
            exchange=job.exchange,
            symbol=job.symbol,
            timeframe=job.timeframe,
            state=state,
            complete=job.complete,
            fetched=job.rows_fetched,
            from_cache=job.rows_from_cache,
            pages=job.pages,
            retries=job.retries,
        )
