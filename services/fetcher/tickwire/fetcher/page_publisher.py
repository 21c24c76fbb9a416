"""The way of proven pages into the cache: sent in order, a few ahead, and followed until they are durable."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from tickwire.bus import graceful_close, streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import cancellable
from tickwire.errors import NoSuchService, RequestTimeout, StorageError
from tickwire.fetcher.paging_types import ProvenPage, RefusedRange
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, Coverage, KeyRequest, RejectedPage, Stored
from tickwire.model.ranges import Range, covers, merge
from tickwire.model.subjects import Key

SENDING = 4
"""Pages that wait for the broker's confirmation while the next is fetched."""
UNSTORED = 64
"""Pages that may be on their way to the cache; with more, fetching waits."""
PATIENCE_S = 30.0
"""How long nothing may become durable before the job says so: a cache needs a few seconds to be taken over."""
ASK_AGAIN_S = 2.0
"""How long without news of what is stored before the cache is asked: news is not repeated after a reconnect."""


@dataclass
class _Sent:
    """A page on its way; `sequence` is its place in stream OHLCV once the broker has it.

    `range` is what of `page` becomes known: not what may still be revised.
    """

    page: Range
    range: Range
    rows: int
    sequence: int | None = None


class PagePublisher:
    """The pages of one job on their way. Made by `storing`."""

    def __init__(self, bus: Bus, key: Key, run: str, *, refresh: bool) -> None:
        self._bus = bus
        self._key = key
        self._run = run
        self._refresh = refresh
        self._to_send: asyncio.Queue[tuple[ProvenPage, _Sent] | None] = asyncio.Queue(SENDING)
        self._on_the_way: list[_Sent] = []
        self._durable: list[Range] = []
        self._news = asyncio.Event()
        """Set when pages became durable or were passed over; a new one each time."""
        self._ended = False
        self.rows = 0
        """How many rows of this job are durable."""
        self.stored = 0
        """How many of its pages are."""
        self.done: list[Range] = []
        """The ranges of these pages."""
        self.refusals: list[RefusedRange] = []
        """Pages of this job that the cache passed over for good, and why."""
        self._passed_over: dict[int, str] = {}
        """Why pages were passed over, by sequence: the cache may say so before the broker's confirmation is read."""

    async def put(self, page: ProvenPage) -> None:
        """Send a page, waiting for earlier ones when too many are on their way. Raises as `settled` does."""
        if len(self._on_the_way) >= UNSTORED:
            await self._until(lambda: len(self._on_the_way) < UNSTORED)
        known = Range(page.since, page.until if page.settled is None else page.settled)
        sent = _Sent(Range(page.since, page.until), known, len(page.rows))
        self._on_the_way.append(sent)
        await self._to_send.put((page, sent))

    async def settled(self) -> None:
        """Wait until all pages are durable, or among `refusals`.

        Raises StorageError when for 30 s nothing becomes so, and what the cache says when it refuses the key.
        """
        await self._until(lambda: not self._on_the_way)

    async def coverage(self, since: int, until: int) -> Coverage:
        """What the cache knows of `[since, until)`. Waits up to 30 s for a cache that is just coming up."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            try:
                return await self._coverage(since, until)
            except (NoSuchService, RequestTimeout):
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def _coverage(self, since: int, until: int) -> Coverage:
        request = KeyRequest(
            exchange=self._key.exchange,
            symbol=self._key.symbol,
            timeframe=self._key.timeframe,
            since=since,
            until=until,
        )
        return await self._bus.request("cache.coverage", request, Coverage, timeout_s=5)

    async def _until(self, reached: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        left, progress = len(self._on_the_way), loop.time()
        while not reached():
            try:
                async with asyncio.timeout(ASK_AGAIN_S):
                    await self._news.wait()
            except TimeoutError:
                await self._ask_the_cache()
            if len(self._on_the_way) != left:
                left, progress = len(self._on_the_way), loop.time()
            elif loop.time() - progress > PATIENCE_S:
                raise StorageError(
                    f"of {self._key}, {left} pages were not stored within {PATIENCE_S:.0f} s",
                    "is a cache running, and has its disk room? what was sent is kept and will be stored",
                )

    async def _ask_the_cache(self) -> None:
        if not self._on_the_way:
            return
        if self._refresh:
            # The range was known before, so that it is known says nothing; but the cache removes what it has stored.
            self._became_durable([sent.range for sent in list(self._on_the_way) if await self._is_gone(sent)])
            return
        since = min(sent.range.since for sent in self._on_the_way)
        until = max(sent.range.until for sent in self._on_the_way)
        try:
            self._became_durable((await self._coverage(since, until)).verified)
        except (NoSuchService, RequestTimeout):
            return

    async def _is_gone(self, sent: _Sent) -> bool:
        if sent.sequence is None:
            return False
        try:
            await cancellable(self._bus.jetstream.get_msg(streams.OHLCV, sent.sequence))
        except nats.js.errors.NotFoundError:
            return True
        except nats.errors.Error:
            return False
        return False

    def _became_durable(self, ranges: list[Range]) -> None:
        self._durable = merge([*self._durable, *ranges])
        waiting = []
        for sent in self._on_the_way:
            if covers(self._durable, sent.range):
                self.rows += sent.rows
                self.stored += 1
                self.done = merge([*self.done, sent.range])
            else:
                waiting.append(sent)
        self._on_the_way = waiting
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def follow(self, on_durable: OnDurable) -> None:
        """Call `on_durable` whenever there is news of pages, until `end`."""
        while not self._ended:
            news = self._news
            await on_durable(self)
            await news.wait()

    async def on_stored(self, message: Msg) -> None:
        """Take in `md.stored`."""
        stored = messages.decode(message.data, Stored)
        self._became_durable([Range(stored.since, stored.until)])

    async def on_rejected(self, message: Msg) -> None:
        """Take in `md.rejected`."""
        rejected = messages.decode(message.data, RejectedPage)
        self._passed_over[rejected.sequence] = rejected.reason
        self._take_out()

    def _take_out(self) -> None:
        """No longer wait for pages that were passed over."""
        waiting = []
        for sent in self._on_the_way:
            if sent.sequence is not None and (reason := self._passed_over.pop(sent.sequence, None)) is not None:
                self.refusals.append(RefusedRange(*sent.page, reason))
            else:
                waiting.append(sent)
        if len(waiting) < len(self._on_the_way):
            self._on_the_way = waiting
            self._tell()

    async def send(self) -> None:
        """Send pages in order until the None that ends them. Raises BrokerUnavailable."""
        while (each := await self._to_send.get()) is not None:
            page, sent = each
            data = messages.encode(
                CandlePage(
                    exchange=self._key.exchange,
                    symbol=self._key.symbol,
                    timeframe=self._key.timeframe,
                    since=page.since,
                    until=page.until,
                    rows=page.rows,
                    volume_unit=page.volume_unit,
                    settled=page.settled,
                    opens_at=page.opens_at,
                )
            )
            digest = hashlib.blake2b(data, digest_size=12).hexdigest()
            ack = await self._bus.append(subjects.ohlcv(self._key), data, message_id=f"{self._run}.{digest}")
            sent.sequence = ack.seq
            self._take_out()

    async def end(self) -> None:
        """Have `send` return after what it has, and `follow` after the call that it is in."""
        await self._to_send.put(None)
        self._ended = True
        self._tell()


OnDurable = Callable[[PagePublisher], Awaitable[None]]


@asynccontextmanager
async def publishing_pages(
    bus: Bus, key: Key, run: str, on_durable: OnDurable, *, refresh: bool = False
) -> AsyncIterator[PagePublisher]:
    """Send pages of a key within the block. On the way out, those put are sent, unless it is cancelled.

    The same page sent twice under the same `run` is stored once. `on_durable` is called, one call after another,
    whenever pages became durable or were passed over.
    """
    way = PagePublisher(bus, key, run, refresh=refresh)
    stored = await bus.subscribe(subjects.stored(key), way.on_stored)
    rejected = await bus.subscribe(subjects.rejected(key), way.on_rejected)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(way.send())
            group.create_task(way.follow(on_durable))
            yield way
            await way.end()
    finally:
        await graceful_close.unsubscribe(bus.client, stored)
        await graceful_close.unsubscribe(bus.client, rejected)
