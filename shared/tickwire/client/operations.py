"""What runs and what is kept, for programs that show or steer it.

| subject | what |
|---|---|
| `$SRV.STATS`, `streamer.list`, `cache.list`, `archive.days` | what runs, and what is kept |
| `fetcher.fetch`, `fetcher.cancel`, `md.job.<id>` | jobs |
| `fetcher.markets` | the markets that exchanges list |
| `streamer.start`, `streamer.stop` | feeds that run until they are stopped |
| `md.<kind>.…`, `cache.get`, `cache.coverage` | what feeds say, and candles, for programs that draw them |

Leases, queued jobs and the sizes of streams are read from JetStream, which programs of account DESK may not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TypeVar

from msgspec import Struct
from nats.aio.msg import Msg

from tickwire.bus.connection import Bus
from tickwire.client import (
    archived,
    feed_list,
    fetch_jobs,
    history,
    interest,
    inventory,
    job_queue,
    listed_markets,
    survey,
)
from tickwire.client.columns import rows_of
from tickwire.model import messages
from tickwire.model.feeds import Feed, FeedReport
from tickwire.model.messages import (
    Certificate,
    Coverage,
    FetchRequest,
    Job,
    KeyRequest,
    ListedMarket,
    MarketList,
    MarketsRequest,
    Row,
)
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.tape.reader import read_tape
from tickwire.tape.sequence import TapeMessage

T = TypeVar("T", bound=Struct)


class Operates:
    """The part of a client that shows and steers what runs."""

    bus: Bus

    @property
    def lost(self) -> asyncio.Event:
        """Set while there is no connection to the broker."""
        return self.bus.lost

    async def status(self, *, cached: bool = True) -> survey.Status:
        """Services, leases, streams, jobs and feeds, as `tickwire status`; keys and rows only if `cached`.

        Raises BrokerUnavailable.
        """
        return await survey.collect(self.bus, cached=cached)

    async def coverage(self) -> tuple[list[Coverage], list[str]]:
        """The coverage of every cached key, and the damaged files. Raises NoSuchService, BrokerUnavailable."""
        return await inventory.inventory(self.bus)

    async def coverage_of(self, key: Key, part: Range) -> Coverage:
        """The coverage of a part of a key: its `rows`, `holes`, `verified` and `quiet`. Raises NoSuchService."""
        request = KeyRequest(**key._asdict(), since=part.since, until=part.until, quiet=True)
        return await self.bus.request("cache.coverage", request, Coverage)

    async def archived_days(self, exchange: str, symbol: str, since: int, until: int) -> list[Certificate]:
        """The days of a feed of trades that the archive has of `[since, until)` (ms).

        Raises NotArchived, NoSuchService, StorageError.
        """
        return await archived.days(self.bus, Feed("trade", exchange, symbol), since, until)

    async def feeds(self, exchange: str | None = None) -> list[FeedReport]:
        """The feeds that have subscribers, of an exchange or of all. Raises NoSuchService, BrokerUnavailable."""
        return (await feed_list.list_feeds(self.bus, exchange))[0]

    async def newest_candles(self, key: Key, most: int) -> tuple[list[Row], list[Range]]:
        """The cached ones of the newest `most` candles, and the ranges (ms) of these that are not known.

        Raises UnsupportedTimeframe, NoSuchService, BrokerUnavailable.
        """
        now = now_ms()
        since = history.begin_of_last(key, most, None, now)
        span = await history.known(self.bus, key, since, None, now)
        async with aclosing(history.cached(self.bus, key, span)) as chunks:
            return [row async for chunk in chunks for row in rows_of(chunk)], span.missing

    @asynccontextmanager
    async def following(
        self,
        feed: Feed,
        kind: type[T],
        take: Callable[[T], None],
        back: int = 1,
        missed: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[None]:
        """Within the block, `take` is called with each message of a feed, the `back` newest stored ones first.

        `missed` is called where messages between the last one and the next are no longer stored. Does not start the
        feed: where it does not run, the stored messages are old.
        """

        async def taken(message: TapeMessage) -> None:
            if message.skipped:
                missed()
            take(messages.decode(message.data, kind))

        async with read_tape(self.bus, feed.public, taken, back=back):
            yield

    async def markets(self, exchange: str, search: str = "") -> list[ListedMarket]:
        """The markets that an exchange lists, or those that match `search`, the best first (see MarketsRequest).

        Where none matches, the list is empty; that none is known is an error. Raises UnknownExchange, ExchangeFailed,
        NoSuchService.
        """
        return await listed_markets.listed(self.bus, exchange, search)

    async def market_page(self, request: MarketsRequest) -> MarketList:
        """One page of the markets that match, and the nearest symbols where none does.

        Raises UnknownExchange, ExchangeFailed; NotLoaded if the request does not wait; NoSuchService, at once.
        """
        return await listed_markets.page(self.bus, request)

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

    async def last_jobs(self) -> list[Job]:
        """The newest message of each job of the last hour, the oldest first. Raises BrokerUnavailable.

        Programs of account DESK may not.
        """
        return await job_queue.last_messages(self.bus)

    def jobs_followed(self, take: Callable[[Job], None]) -> AbstractAsyncContextManager[object]:
        """Within the block, `take` is called with each message of every job."""

        async def heard(message: Msg) -> None:
            job = self.bus.undecodable.decode(message.subject, message.data, Job)
            if job is not None:
                take(job)

        return self.bus.subscribed("md.job.*", heard)
