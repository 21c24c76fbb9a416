"""Applies the pages of one partition while this instance holds its lease: from stream OHLCV to durable files.

| subject | here | what |
|---|---|---|
| `ohlcv.<p>.<exchange>.<token>.<timeframe>` (stream OHLCV) | read | pages of closed candles, from the checkpoint on |
| `md.stored.<exchange>.<token>.<timeframe>` | published | pages that became durable |
| `md.rejected.<exchange>.<token>.<timeframe>` | published | pages that were rejected |
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import nats.errors
from msgspec import Struct
from nats.aio.msg import Msg

from tickwire.bus import graceful_close, streams
from tickwire.bus.connection import Bus
from tickwire.bus.leases import Lease
from tickwire.cache.append_plan import CommitResult
from tickwire.cache.column_keeping import ColumnKeeping
from tickwire.cache.fence import Fence
from tickwire.cache.metrics import CacheMetrics, CountingDisk, timed
from tickwire.cache.purging import Purge, purging
from tickwire.cache.store import Store
from tickwire.errors import BadRequest, BrokerUnavailable, CacheFileError, Fenced, StorageError, TickwireError
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, RejectedPage
from tickwire.model.subjects import Key
from tickwire.observe import logs
from tickwire.observe.episodes import QUIET_S, Episode
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff
from tickwire.process.loop_yield import LoopYield

log = logs.get(__name__)

IDLE_S = 0.2
"""Older candles wait this long for more pages of their key, so that a backfill is spliced once, not page by page."""
CHECKPOINT_S = 1.0
"""Interval of checkpoints, and so the longest time whose pages are read again after a crash, which is harmless."""
QUEUED_BYTES = 16 << 20
"""Pages received from the stream and not yet stored; beyond this the broker pauses (flow control)."""
BATCH_BYTES = 2 << 20
"""Pages in one group commit: large enough to make the sync negligible, small enough to announce in milliseconds."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 5.0
"""Delays before a write that the disk refused is tried again."""

T = TypeVar("T")


class _Queued(NamedTuple):
    """A message of the stream that is not applied yet."""

    sequence: int
    subject: str
    data: bytes


class Partition:
    """A partition of the cache on this instance. `store` is set while the lease is held."""

    def __init__(self, bus: Bus, directory: Path, number: int, partitions: int, metrics: CacheMetrics) -> None:
        self.bus = bus
        self.directory = directory
        self.number = number
        self.partitions = partitions
        self.owned = False
        self.store: Store | None = None
        self.trouble: TickwireError | None = None
        """Why nothing can be stored at present; None otherwise."""
        self.changed = asyncio.Event()
        """Set when the store is opened or closed, or `trouble` changes; then replaced by a new event."""
        self.metrics = metrics
        self._disk = CountingDisk(metrics)
        self._queue: deque[_Queued] = deque()
        self._queued = 0
        self._received = asyncio.Event()
        self._room = asyncio.Event()
        self._worker: ThreadPoolExecutor | None = None
        self._columns = ColumnKeeping(number)
        # Throttled: opening is retried at once, and rejected pages may repeat; each is published on `md.rejected`.
        self._released = Episode(log, "the partition is released", quiet_s=QUIET_S, partition=number)
        self._rejections = Episode(log, "a page is rejected", quiet_s=QUIET_S, partition=number)

    @property
    def queued(self) -> int:
        """Bytes of pages received from the stream that are not applied yet."""
        return self._queued

    async def own(self, lease: Lease) -> None:
        """Apply the partition's pages until `lease.stop`; then make everything durable.

        Cancelled when the lease is lost: a write in the thread is then refused by the fence. Raises ConfigError when
        the folder was made for another number of partitions.
        """
        self._queue.clear()
        self._queued = 0
        self._columns.clear()
        # One thread, because the store is not reentrant; its own, because a splice may take seconds.
        self._worker = ThreadPoolExecutor(1, f"partition-{self.number}")
        self.owned = True
        try:
            stream = str(await streams.read_created_ms(self.bus.jetstream, streams.OHLCV))
            claim = Fence(lease.epoch.generation, lease.epoch.revision)
            store = await self._retry_until_done(
                lease,
                lambda: Store.open(
                    self.directory,
                    self.number,
                    partitions=self.partitions,
                    claim=claim,
                    stream=stream,
                    disk=self._disk,
                ),
            )
            self.store = store
            self._notify()
            async with purging(self.bus, self.number, stream) as purge:
                await self._apply(store, lease, purge)
        except (Fenced, StorageError, CacheFileError, BrokerUnavailable) as error:
            self._released.occurs(reason=str(error))
        except nats.errors.Error as error:
            self._released.occurs(reason=repr(error))
        finally:
            self.owned = False
            self.store = None
            self.trouble = None
            self._worker.shutdown(wait=False)
            self._notify()

    async def ready(self) -> Store:
        """The store, once it is open. Raises Fenced when the lease is not held, or the error that keeps it closed."""
        while self.owned and self.store is None and self.trouble is None:
            await self.changed.wait()
        if self.owned and self.trouble is not None and self.store is None:
            raise self.trouble
        if self.store is None:
            raise Fenced(f"partition {self.number} is not held here")
        return self.store

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call of the store in the partition's thread. Raises Fenced when the lease was just lost."""
        worker = self._worker
        if worker is None or self.store is None:
            raise Fenced(f"partition {self.number} is not held any more")
        try:
            return await asyncio.get_running_loop().run_in_executor(worker, call)
        except RuntimeError as error:
            if self._worker is worker and self.store is not None:
                raise
            raise Fenced(f"partition {self.number} is not held any more") from error

    async def flush(self, keys: Iterable[Key]) -> None:
        """Splice the waiting pages of these keys now. Raises Fenced, StorageError."""
        store = self.store
        if store is not None and (wanted := [key for key in keys if key in store.waiting]):
            await self._publish_result(await self.run(lambda: store.flush(wanted)))

    def keep_columns(self, key: Key, parsed: int, wrong: int | None) -> None:
        """Have the columns kept that a read of a key had to parse (`ColumnKeeping.add`), between commits."""
        if self._columns.add(key, parsed, wrong):
            self._received.set()

    # -- private -------------------------------------------------------------------------------------------------

    async def _apply(self, store: Store, lease: Lease, purge: Purge) -> None:
        loop = asyncio.get_running_loop()
        touched: dict[Key, float] = {}
        purge.up_to(store.position)
        checkpointed, checkpoint_at = store.position, loop.time() + CHECKPOINT_S
        subscription = await self.bus.subscribe_ordered(
            f"ohlcv.{self.number}.>", streams.OHLCV, self._enqueue, start_sequence=store.position + 1
        )
        try:
            while True:
                self._received.clear()
                if batch := self._next_batch():
                    keys, committed, unreadable = await self._retry_until_done(lease, partial(_commit, store, batch))
                    touched.update(dict.fromkeys(keys, loop.time()))
                    await self._publish_result(committed)
                    await self._publish_unreadable(unreadable)
                due = [key for key in store.waiting if touched.get(key, 0.0) + IDLE_S <= loop.time()]
                if due:
                    await self._publish_result(await self._retry_until_done(lease, partial(store.flush, due)))
                if loop.time() >= checkpoint_at:
                    purge.up_to(checkpointed := await self._retry_until_done(lease, store.checkpoint))
                    checkpoint_at = loop.time() + CHECKPOINT_S
                if lease.stop.is_set():
                    # The next owner reads the queued pages from the stream: under load the queue is never empty.
                    break
                if self._columns.is_due:
                    await self._columns.step(store, self.run)
                elif not self._queue:
                    idle = store.position == checkpointed and not store.waiting
                    pause = None if idle else IDLE_S if store.waiting else checkpoint_at - loop.time()
                    await lifecycle.first_of(pause, self._received.wait(), lease.stop.wait())
            await self._publish_result(await self._retry_until_done(lease, store.flush))
            purge.up_to(await self._retry_until_done(lease, store.checkpoint))
        finally:
            await graceful_close.unsubscribe(self.bus.client, subscription)

    async def _enqueue(self, message: Msg) -> None:
        while self._queued > QUEUED_BYTES:
            self._room.clear()
            await self._room.wait()
        self._queue.append(_Queued(message.metadata.sequence.stream, message.subject, message.data))
        self._queued += len(message.data)
        self._received.set()

    def _next_batch(self) -> list[_Queued]:
        batch: list[_Queued] = []
        size = 0
        while self._queue and size < BATCH_BYTES:
            batch.append(self._queue.popleft())
            size += len(batch[-1].data)
        self._queued -= size
        self._room.set()
        return batch

    async def _retry_until_done(self, lease: Lease, call: Callable[[], T]) -> T:
        """Run a call in the partition's thread, and retry while the disk refuses.

        Raises StorageError or CacheFileError only once `lease.stop` is set.
        """
        assert self._worker is not None
        backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S, at_once=False)
        while True:
            try:
                with timed(self.metrics.commits):
                    result = await asyncio.get_running_loop().run_in_executor(self._worker, call)
            except (StorageError, CacheFileError) as error:
                if self.trouble is None or str(self.trouble) != str(error):
                    log.warning("cannot store candles", partition=self.number, reason=str(error))
                self.trouble = error
                self._notify()
                if lease.stop.is_set():
                    raise
                await lifecycle.pause(lease.stop, backoff.next())
            else:
                if self.trouble is not None:
                    log.info("candles can be stored again", partition=self.number)
                    self.trouble = None
                    self._notify()
                return result

    async def _publish_result(self, committed: CommitResult) -> None:
        self.metrics.refused.inc(len(committed.rejected))
        self.metrics.pages.inc(len(committed.stored))
        self.metrics.rows.inc(sum(stored.rows for stored in committed.stored))
        loop_yield = LoopYield()
        for sequence, page, refusal in committed.rejected:
            self._rejections.occurs(**page.key._asdict(), since=page.since, sequence=sequence, reason=str(refusal))
            await self._publish_rejection(page.key, sequence, refusal, page)
            await loop_yield.after_step()
        for stored in committed.stored:
            key = Key(stored.exchange, stored.symbol, stored.timeframe)
            await self._publish(subjects.stored(key), stored)
            await loop_yield.after_step()

    async def _publish_unreadable(self, unreadable: list[tuple[_Queued, BadRequest]]) -> None:
        """Count and publish messages that are not a page of their subject's key."""
        self.metrics.refused.inc(len(unreadable))
        loop_yield = LoopYield()
        for each, error in unreadable:
            await loop_yield.after_step()
            self.bus.undecodable.skip(each.subject, each.data, error, sequence=each.sequence)
            try:
                key = subjects.key_of(_path_of(each.subject))
            except BadRequest:
                # The subject names no key, so there is no subject to publish the rejection on.
                continue
            await self._publish_rejection(key, each.sequence, error)

    async def _publish_rejection(
        self, key: Key, sequence: int, error: TickwireError, page: CandlePage | None = None
    ) -> None:
        rejected = RejectedPage(
            exchange=key.exchange,
            symbol=key.symbol,
            timeframe=key.timeframe,
            sequence=sequence,
            reason=error.message[:500],
            since=page.since if page else None,
            until=page.until if page else None,
        )
        await self._publish(subjects.rejected(key), rejected)

    async def _publish(self, subject: str, message: Struct) -> None:
        try:
            await self.bus.publish(subject, message)
        except nats.errors.Error as error:
            # A fetcher that waits for it looks into the stream, from which the page is purged (`purging`).
            log.debug("cannot announce a page", subject=subject, error=repr(error))

    def _notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


def _commit(store: Store, batch: list[_Queued]) -> tuple[set[Key], CommitResult, list[tuple[_Queued, BadRequest]]]:
    """Commit a batch of messages; returns its keys, the result, and the messages that are not pages."""
    pages: list[tuple[int, CandlePage]] = []
    unreadable: list[tuple[_Queued, BadRequest]] = []
    for each in batch:
        try:
            pages.append((each.sequence, _page_of(each)))
        except BadRequest as error:
            unreadable.append((each, error))
    return {page.key for _, page in pages}, store.commit(pages, batch[-1].sequence), unreadable


def _page_of(queued: _Queued) -> CandlePage:
    """Decode a page. Raises BadRequest if it is not one, or belongs to another key than its subject's."""
    page = messages.decode(queued.data, CandlePage)
    if subjects.key_path(page.key) != _path_of(queued.subject):
        raise BadRequest(f"a page of {page.key} on the subject of another key", "see docs/asyncapi.json")
    return page


def _path_of(subject: str) -> str:
    """The last three tokens of a subject."""
    return subject.split(".", 2)[2]
