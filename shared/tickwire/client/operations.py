"""What runs and what is kept, for programs that show or steer it.

| subject | what |
|---|---|
| `$SRV.STATS`, `streamer.list`, `cache.list`, `archive.days` | what runs, and what is kept |
| `fetcher.fetch`, `fetcher.cancel`, `md.job.<id>` | jobs |
| `streamer.start`, `streamer.stop` | feeds that run until they are stopped |

Leases, queued jobs and the sizes of streams are read from JetStream, which programs of account DESK may not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from nats.aio.msg import Msg

from tickwire.bus.connection import Bus
from tickwire.client import archived, fetch_jobs, interest, inventory, job_queue, survey
from tickwire.model.feeds import Feed, FeedReport
from tickwire.model.messages import Certificate, Coverage, FetchRequest, Job


class Operates:
    """The part of a client that shows and steers what runs."""

    bus: Bus

    async def status(self, *, cached: bool = True) -> survey.Status:
        """Services, leases, streams, jobs and feeds, as `tickwire status`; keys and rows only if `cached`.

        Raises BrokerUnavailable.
        """
        return await survey.collect(self.bus, cached=cached)

    async def coverage(self) -> tuple[list[Coverage], list[str]]:
        """The coverage of every cached key, and the damaged files. Raises NoSuchService, BrokerUnavailable."""
        return await inventory.inventory(self.bus)

    async def archived_days(self, exchange: str, symbol: str, since: int, until: int) -> list[Certificate]:
        """The days of a feed of trades that the archive has of `[since, until)` (ms).

        Raises NotArchived, NoSuchService, StorageError.
        """
        return await archived.days(self.bus, Feed("trade", exchange, symbol), since, until)

    async def start_feed(self, feed: Feed, subscriber: str) -> FeedReport:
        """Have a feed run for a subscriber until `stop_feed`. Raises the streamer's refusals, NoSuchService."""
        # Without a TTL: it runs on when this program ends.
        request = interest.start_request(feed, subscriber, ttl_s=None)
        return await interest.start(self.bus, request)

    async def stop_feed(self, feed: Feed, subscriber: str) -> FeedReport:
        """Withdraw a subscriber's interest in a feed. Raises NoSuchService."""
        return await self.bus.service_wait.call(lambda: interest.stop(self.bus, feed, subscriber))

    async def order_fetch(
        self, exchange: str, symbol: str, timeframe: str | None, since: int, until: int | None = None
    ) -> str:
        """Request what is missing in `[since, until)` (ms) without waiting for it; return the job's id.

        Candles, or trades for the archive where there is no timeframe. Raises the fetcher's refusals, NoSuchService.
        """
        request = FetchRequest(
            exchange=exchange,
            symbol=symbol,
            timeframe=timeframe or "",
            kind="candle" if timeframe else "trade",
            since=since,
            until=until,
            id=fetch_jobs.new_id(),
        )
        ordered = await fetch_jobs.order_request(self.bus, request)
        if ordered.error is not None:
            raise ordered.error
        return ordered.id

    async def cancel_job(self, job_id: str) -> Job:
        """Cancel a job; return its newest message. Raises BadRequest for an unknown job, NoSuchService."""
        return await job_queue.cancel_one(self.bus, job_id)

    def jobs_followed(self, take: Callable[[Job], None]) -> AbstractAsyncContextManager[object]:
        """Within the block, `take` is called with each message of every job."""

        async def heard(message: Msg) -> None:
            job = self.bus.undecodable.decode(message.subject, message.data, Job)
            if job is not None:
                take(job)

        return self.bus.subscribed("md.job.*", heard)
