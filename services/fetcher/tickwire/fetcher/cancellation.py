"""The cancellation of one job, and waiting that it interrupts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from tickwire.errors import JobCancelled

T = TypeVar("T")


class Cancellation:
    """Requested at most once for a job, by `fetcher.cancel`."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._requested = asyncio.Event()

    @property
    def is_requested(self) -> bool:
        """Whether the job is to end."""
        return self._requested.is_set()

    @property
    def error(self) -> JobCancelled:
        """The error that a cancelled job ends with."""
        return cancelled(self._job_id)

    def request(self) -> None:
        """End the job."""
        self._requested.set()

    async def unless_cancelled(self, work: Awaitable[T]) -> T:
        """The result of `work`, which is cancelled with the job. Raises JobCancelled then."""
        return await unless(self._requested, work, self.error)


async def unless(event: asyncio.Event, work: Awaitable[T], error: Exception) -> T:
    """The result of `work`. If the event is set before, `work` is cancelled, and `error` raised."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise error
        return working.result()
    finally:
        waiting.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})


def cancelled(job_id: str) -> JobCancelled:
    """The error of a job that was cancelled."""
    return JobCancelled(f"job {job_id} was cancelled", "what it had stored is kept; fetch again for the rest")
