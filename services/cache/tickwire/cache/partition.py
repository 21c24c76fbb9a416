"""One partition while this instance holds its lease: stream OHLCV in, durable files and announcements out.

| subject | here | what |
|---|---|---|
| `ohlcv.<p>.<exchange>.<token>.<timeframe>` (stream OHLCV) | read | pages of closed candles, from the checkpoint on |
| `md.stored.<exchange>.<token>.<timeframe>` | published | what became durable |
| `md.rejected.<exchange>.<token>.<timeframe>` | published | pages that were passed over |
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
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
from tickwire.cache.fence import Fence
from tickwire.cache.metrics import CacheMetrics, CountingDisk, timed
from tickwire.cache.store import Store
from tickwire.errors import BadRequest, CacheFileError, Fenced, StorageError, TickwireError
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
"""Older candles wait this long for more of their key, so that a backfill is spliced in once and not page by page."""
CHECKPOINT_S = 1.0
"""How much is read again at most after a crash; reading again is harmless, and the checkpoint costs two syncs."""
QUEUED_BYTES = 16 << 20
"""Pages taken from the stream and not yet stored; beyond this the broker holds them back (flow control)."""
BATCH_BYTES = 2 << 20
"""Pages in one group commit: large enough that the sync vanishes, small enough to announce within milliseconds."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 5.0
"""Delays before a write that the disk refused is tried again."""

T = TypeVar("T")


class _Queued(NamedTuple):
    """A message of the stream that is not applied yet."""

    sequence: int
    subject: str
    data: bytes


class Partition:
    """A partition of the cache, as this instance sees it. `store` is there while the lease is held."""

    def __init__(self, bus: Bus, directory: Path, number: int, partitions: int, metrics: CacheMetrics) -> None:
        self.bus = bus
        self.directory = directory
        self.number = number
        self.partitions = partitions
        self.owned = False
        self.store: Store | None = None
        self.trouble: TickwireError | None = None
        """Why nothing can be stored at present, if so."""
        self.changed = asyncio.Event()
        """Set when the store was opened or given up, or trouble came or went; a new one each time."""
        self._metrics = metrics
        self._disk = CountingDisk(metrics)
        self._queue: deque[_Queued] = deque()
        self._queued = 0
        self._woken = asyncio.Event()
        self._room = asyncio.Event()
        self._worker: ThreadPoolExecutor | None = None
        # It is tried again at once, and what is refused comes again and again; each page is told on `md.rejected`.
        self._given_up = Episode(log, "partition given up", quiet_s=QUIET_S, partition=number)
        self._refusals = Episode(log, "page refused", quiet_s=QUIET_S, partition=number)

    @property
    def queued(self) -> int:
        """Bytes of pages taken from the stream that are not applied yet."""
        return self._queued

    async def own(self, lease: Lease) -> None:
        """Apply the partition's pages until the lease is to be released; then leave everything durable.

        Cancelled when the lease is lost: what is in a thread then runs into the fence. Raises ConfigError when
        the folder was made for another number of partitions.
        """
        self._queue.clear()
        self._queued = 0
        # One thread, because the store takes one at a time; its own, because a splice may take seconds.
        self._worker = ThreadPoolExecutor(1, f"partition-{self.number}")
        self.owned = True
        try:
            stream = str(await streams.read_created_ms(self.bus.jetstream, streams.OHLCV))
            claim = Fence(lease.epoch.generation, lease.epoch.revision)
            store = await self._until_done(
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
            await self._apply(store, lease)
        except Fenced as error:
            self._given_up.occurs(reason=str(error))
        except (StorageError, CacheFileError) as error:
            self._given_up.occurs(reason=str(error))
        except nats.errors.Error as error:
            self._given_up.occurs(reason=repr(error))
        finally:
            self.owned = False
            self.store = None
            self.trouble = None
            self._worker.shutdown(wait=False)
            self._notify()

    async def ready(self) -> Store:
        """The store, as soon as it is open. Raises Fenced when the lease is not held, or what is in its way."""
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
        """Splice what waits for these keys, now. Raises Fenced, StorageError."""
        store = self.store
        if store is not None and (wanted := [key for key in keys if key in store.waiting]):
            await self._announce(await self.run(lambda: store.flush(wanted)))

    # -- inside --------------------------------------------------------------------------------------------------

    async def _apply(self, store: Store, lease: Lease) -> None:
        loop = asyncio.get_running_loop()
        touched: dict[Key, float] = {}
        checkpointed, checkpoint_at = store.position, loop.time() + CHECKPOINT_S
        subscription = await self.bus.subscribe_ordered(
            f"ohlcv.{self.number}.>", streams.OHLCV, self._take, start_sequence=store.position + 1
        )
        try:
            while True:
                self._woken.clear()
                if batch := self._next_batch():
                    keys, outcome, unread = await self._until_done(lease, partial(_commit, store, batch))
                    touched.update(dict.fromkeys(keys, loop.time()))
                    await self._announce(outcome)
                    await self._pass_over(unread)
                due = [key for key in store.waiting if touched.get(key, 0.0) + IDLE_S <= loop.time()]
                if due:
                    await self._announce(await self._until_done(lease, partial(store.flush, due)))
                if loop.time() >= checkpoint_at:
                    checkpointed = await self._checkpoint(store, lease, checkpointed)
                    checkpoint_at = loop.time() + CHECKPOINT_S
                if lease.stop.is_set():
                    # What is queued is still in the stream, and the next owner's: under load there is always more.
                    break
                if not self._queue:
                    idle = store.position == checkpointed and not store.waiting
                    pause = None if idle else IDLE_S if store.waiting else checkpoint_at - loop.time()
                    await first_of(pause, self._woken.wait(), lease.stop.wait())
            await self._announce(await self._until_done(lease, store.flush))
            await self._checkpoint(store, lease, checkpointed)
        finally:
            await graceful_close.unsubscribe(self.bus.client, subscription)

    async def _take(self, message: Msg) -> None:
        while self._queued > QUEUED_BYTES:
            self._room.clear()
            await self._room.wait()
        self._queue.append(_Queued(message.metadata.sequence.stream, message.subject, message.data))
        self._queued += len(message.data)
        self._woken.set()

    def _next_batch(self) -> list[_Queued]:
        batch: list[_Queued] = []
        size = 0
        while self._queue and size < BATCH_BYTES:
            batch.append(self._queue.popleft())
            size += len(batch[-1].data)
        self._queued -= size
        self._room.set()
        return batch

    async def _until_done(self, lease: Lease, call: Callable[[], T]) -> T:
        """Run a call in the partition's thread, again and again while the disk refuses.

        Raises StorageError or CacheFileError only when the lease is to be released meanwhile.
        """
        assert self._worker is not None
        backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S, at_once=False)
        while True:
            try:
                with timed(self._metrics.commits):
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

    async def _checkpoint(self, store: Store, lease: Lease, before: int) -> int:
        position = await self._until_done(lease, store.checkpoint)
        if position != before:
            try:
                await self.bus.jetstream.purge_stream(streams.OHLCV, seq=position + 1, subject=f"ohlcv.{self.number}.>")
            except nats.errors.Error as error:
                # It is done again with the next checkpoint.
                log.debug("could not purge what is stored", partition=self.number, error=repr(error))
        return position

    async def _announce(self, outcome: CommitResult) -> None:
        self._metrics.refused.inc(len(outcome.rejected))
        self._metrics.pages.inc(len(outcome.stored))
        self._metrics.rows.inc(sum(stored.rows for stored in outcome.stored))
        loop_yield = LoopYield()
        for sequence, page, refusal in outcome.rejected:
            self._refusals.occurs(**page.key._asdict(), since=page.since, sequence=sequence, reason=str(refusal))
            await self._reject(page.key, sequence, refusal, page)
            await loop_yield.after_step()
        for stored in outcome.stored:
            key = Key(stored.exchange, stored.symbol, stored.timeframe)
            await self._say(subjects.stored(key), stored)
            await loop_yield.after_step()

    async def _pass_over(self, unread: list[tuple[_Queued, BadRequest]]) -> None:
        """Count and publish what was no page of its subject's key."""
        self._metrics.refused.inc(len(unread))
        loop_yield = LoopYield()
        for each, error in unread:
            await loop_yield.after_step()
            self.bus.undecodable.skip(each.subject, each.data, error, sequence=each.sequence)
            try:
                key = subjects.key_of(_path_of(each.subject))
            except BadRequest:
                # No key has this subject, so there is nobody to tell.
                continue
            await self._reject(key, each.sequence, error)

    async def _reject(self, key: Key, sequence: int, error: TickwireError, page: CandlePage | None = None) -> None:
        said = RejectedPage(
            exchange=key.exchange,
            symbol=key.symbol,
            timeframe=key.timeframe,
            sequence=sequence,
            reason=error.message[:500],
            since=page.since if page else None,
            until=page.until if page else None,
        )
        await self._say(subjects.rejected(key), said)

    async def _say(self, subject: str, message: Struct) -> None:
        try:
            await self.bus.publish(subject, message)
        except nats.errors.Error as error:
            # Whoever waits for it asks for the coverage in the end.
            log.debug("could not announce", subject=subject, error=repr(error))

    def _notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


async def first_of(seconds: float | None, *awaitables: Awaitable[object]) -> None:
    """Wait for the first of these, or so many seconds."""
    waiters = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()


def _commit(store: Store, batch: list[_Queued]) -> tuple[set[Key], CommitResult, list[tuple[_Queued, BadRequest]]]:
    """Commit a batch of messages; the keys that it touched, what came of it, and what was no page."""
    pages: list[tuple[int, CandlePage]] = []
    unread: list[tuple[_Queued, BadRequest]] = []
    for each in batch:
        try:
            pages.append((each.sequence, _page_of(each)))
        except BadRequest as error:
            unread.append((each, error))
    return {page.key for _, page in pages}, store.commit(pages, batch[-1].sequence), unread


def _page_of(queued: _Queued) -> CandlePage:
    """The page. Raises BadRequest where it is none, or of another key than its subject's."""
    page = messages.decode(queued.data, CandlePage)
    if subjects.key_path(page.key) != _path_of(queued.subject):
        raise BadRequest(f"a page of {page.key} on the subject of another key", "see docs/asyncapi.json")
    return page


def _path_of(subject: str) -> str:
    """The last three tokens."""
    return subject.split(".", 2)[2]
