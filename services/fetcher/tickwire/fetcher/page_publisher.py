"""Publishes proven pages to the cache, in order and a few ahead, and follows them until they are durable.

A page is durable when `md.stored` covers it. That message is not repeated, so one that was missed (a reconnect) is
replaced by a look into stream OHLCV: the cache removes what it has applied. The cache publishes `md.rejected` for a
page that it does not apply.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import cancellable
from tickwire.errors import NoSuchService, RequestTimeout, StorageError
from tickwire.fetcher.paging_types import ProvenPage, RefusedRange
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, Coverage, KeyRequest, Origin, RejectedPage, Stored
from tickwire.model.ranges import Range, covers, merge
from tickwire.model.subjects import Key
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff
from tickwire.process.loop_yield import StepPerTurn
from tickwire.task_group import TaskGroup

UNACKNOWLEDGED = 4
"""Pages that wait for the broker's acknowledgement while the next is fetched."""
NOT_DURABLE = 64
"""Pages published and not yet durable; with more, fetching waits."""
STORAGE_TIMEOUT_S = 30.0
"""How long no page may become durable before the job fails: a takeover of a cache partition takes a few seconds."""
LOOK_AFTER_S = 2.0
"""How long without `md.stored` before the pages are looked for in stream OHLCV."""
COVERAGE_TIMEOUT_S = 5.0


@dataclass
class _SentPage:
    """A page that is not yet durable.

    `range` is that of the page, `final` the part that may not be revised any more. `sequence` is its place in stream
    OHLCV, once the broker has acknowledged it.
    """

    range: Range
    final: Range
    rows: int
    sequence: int | None = None


class PagePublisher:
    """The pages of one job of a key. Made by `publishing_pages`."""

    def __init__(
        self, bus: Bus, key: Key, message_prefix: str, steps: StepPerTurn, origin: Origin = "exchange"
    ) -> None:
        self._origin = origin
        self._bus = bus
        self._steps = steps
        self._key = key
        self._message_prefix = message_prefix
        self._to_publish: asyncio.Queue[tuple[ProvenPage, _SentPage] | None] = asyncio.Queue(UNACKNOWLEDGED)
        self._pending: list[_SentPage] = []
        """Pages that are neither durable nor rejected."""
        self._durable: list[Range] = []
        self._changed = asyncio.Event()
        """Set when pages became durable or were rejected; a new one each time."""
        self._ended = False
        self.rows = 0
        """The number of rows that became durable."""
        self.stored = 0
        """The number of pages that became durable."""
        self.done: list[Range] = []
        """The ranges of these pages."""
        self.removed: list[Range] = []
        """The ranges among them that the cache removed from the stream, without a message that arrived here."""
        self.refused: list[RefusedRange] = []
        """The pages that the cache rejected."""
        self._rejected: dict[int, str] = {}
        """Reasons of rejected pages by sequence: `md.rejected` may arrive before the broker's acknowledgement."""

    # -- for the job ----------------------------------------------------------------------------------------------

    async def put(self, page: ProvenPage) -> None:
        """Publish a page; waits while too many are not durable. Raises as `wait_until_durable` does."""
        if len(self._pending) >= NOT_DURABLE:
            await self._wait_until(lambda: len(self._pending) < NOT_DURABLE)
        whole = Range(page.since, page.until)
        final = Range(page.since, page.until if page.settled is None else page.settled)
        sent = _SentPage(whole, final, len(page.rows))
        self._pending.append(sent)
        await self._to_publish.put((page, sent))

    async def wait_until_durable(self) -> None:
        """Wait until every page is durable or rejected. Raises StorageError when for 30 s no page becomes so."""
        await self._wait_until(lambda: not self._pending)

    async def coverage(self, since: int, until: int) -> Coverage:
        """What the cache has of `[since, until)`. Waits up to 30 s for a cache that is starting."""
        request = KeyRequest(**self._key._asdict(), since=since, until=until)
        deadline = asyncio.get_running_loop().time() + STORAGE_TIMEOUT_S
        backoff = Backoff(0.1, 1.0, at_once=False)
        while True:
            try:
                return await self._bus.request("cache.coverage", request, Coverage, timeout_s=COVERAGE_TIMEOUT_S)
            except (NoSuchService, RequestTimeout):
                if asyncio.get_running_loop().time() >= deadline:
                    raise
            await asyncio.sleep(backoff.next())

    async def _wait_until(self, reached: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        left, progress_at = len(self._pending), loop.time()
        while not reached():
            if not await lifecycle.pause(self._changed, LOOK_AFTER_S):
                await self._look_into_stream()
            if len(self._pending) != left:
                left, progress_at = len(self._pending), loop.time()
            elif loop.time() - progress_at > STORAGE_TIMEOUT_S:
                raise StorageError(
                    f"{left} pages of {self._key} were not stored within {STORAGE_TIMEOUT_S:.0f} s",
                    "is a cache running, and has its disk room? what was published is kept and will be stored",
                )

    # -- what became of the pages ---------------------------------------------------------------------------------

    async def _look_into_stream(self) -> None:
        """Find pending pages that the cache has applied. It applies the pages of a key in order."""
        gone = []
        for sent in list(self._pending):
            if sent.sequence is None or not await self._is_gone(sent.sequence):
                break
            gone.append(sent.final)
        if gone:
            self.removed = merge([*self.removed, *gone])
            self._became_durable(gone)

    async def _is_gone(self, sequence: int) -> bool:
        """Whether stream OHLCV no longer has a page; False when the broker does not answer."""
        try:
            await cancellable(self._bus.jetstream.get_msg(streams.OHLCV, sequence))
        except nats.js.errors.NotFoundError:
            return True
        except nats.errors.Error:
            return False
        return False

    def _became_durable(self, ranges: list[Range]) -> None:
        self._durable = merge([*self._durable, *ranges])
        pending = []
        for sent in self._pending:
            if covers(self._durable, sent.final):
                self.rows += sent.rows
                self.stored += 1
                self.done = merge([*self.done, sent.final])
            else:
                pending.append(sent)
        self._pending = pending
        self._notify()

    def _drop_rejected(self) -> None:
        """Move rejected pages from the pending ones to `refused`."""
        pending = []
        for sent in self._pending:
            if sent.sequence is not None and (reason := self._rejected.pop(sent.sequence, None)) is not None:
                self.refused.append(RefusedRange(*sent.range, reason))
            else:
                pending.append(sent)
        if len(pending) < len(self._pending):
            self._pending = pending
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # -- run by `publishing_pages` --------------------------------------------------------------------------------

    async def on_stored(self, message: Msg) -> None:
        """Handle `md.stored`."""
        stored = messages.decode(message.data, Stored)
        self._became_durable([Range(stored.since, stored.until)])

    async def on_rejected(self, message: Msg) -> None:
        """Handle `md.rejected`."""
        rejected = messages.decode(message.data, RejectedPage)
        self._rejected[rejected.sequence] = rejected.reason
        self._drop_rejected()

    async def report(self, on_durable: OnDurable) -> None:
        """Call `on_durable` after each change of the pages, until `end`."""
        while not self._ended:
            changed = self._changed
            await on_durable(self)
            await changed.wait()

    async def publish(self) -> None:
        """Publish pages in order until `end`. Raises BrokerUnavailable."""
        while (each := await self._to_publish.get()) is not None:
            page, sent = each
            async with self._steps:
                data = self._encoded(page)
                digest = hashlib.blake2b(data, digest_size=12).hexdigest()
            message_id = f"{self._message_prefix}.{digest}"
            ack = await self._bus.append(subjects.ohlcv(self._key), data, message_id=message_id)
            sent.sequence = ack.seq
            self._drop_rejected()

    def _encoded(self, page: ProvenPage) -> bytes:
        return messages.encode(
            CandlePage(
                **self._key._asdict(),
                since=page.since,
                until=page.until,
                rows=page.rows,
                volume_unit=page.volume_unit,
                settled=page.settled,
                opens_at=page.opens_at,
                origin=self._origin,
            )
        )

    async def end(self) -> None:
        """Let `publish` return after the pages that it has, and `report` after the call that it is in."""
        await self._to_publish.put(None)
        self._ended = True
        self._notify()


OnDurable = Callable[[PagePublisher], Awaitable[None]]


@asynccontextmanager
async def publishing_pages(
    bus: Bus,
    key: Key,
    message_prefix: str,
    on_durable: OnDurable,
    steps: StepPerTurn,
    origin: Origin = "exchange",
) -> AsyncIterator[PagePublisher]:
    """Publish pages of a key within the block; at its end those put are published, unless it is cancelled.

    The same page published twice with the same `message_prefix` is stored once. `on_durable` is called, one call after
    another, whenever pages became durable or were rejected. `steps` is shared by all jobs of the process.
    `origin` as in CandlePage.
    """
    publisher = PagePublisher(bus, key, message_prefix, steps, origin)
    async with (
        bus.subscribed(subjects.stored(key), publisher.on_stored),
        bus.subscribed(subjects.rejected(key), publisher.on_rejected),
        TaskGroup() as group,
    ):
        group.create_task(publisher.publish())
        group.create_task(publisher.report(on_durable))
        yield publisher
        await publisher.end()
