"""Archives one stream of the tape while this instance holds its lease: rounds into parts, ended days into one file.

| subject | direction | what |
|---|---|---|
| `tape.trade.<p>.<exchange>.<token>` (stream TRADES-<p>) | reads | Trades, from the checkpoint on |
| `tape.book_delta.<p>.<exchange>.<token>` (stream BOOK_DELTAS-<p>) | reads | BookDeltas, from the checkpoint on |
| `tape.ticker.<exchange>.<token>` (stream ARCHIVE_TICKERS) | reads | Ticker, from the checkpoint on |
| `ohlcv.held.<exchange>.<token>.<timeframe>` (stream ARCHIVE_CANDLES) | reads | CandlePage, from the checkpoint on |
| `$KV.ARCHIVE.<stream>` | reads, publishes | see checkpoint.py |
| `md.archived.<kind>.<exchange>.<token>` | publishes | Certificate of each day, see day_closing.py and removing.py |

A round is announced, written, and completed, one after the other. So at any moment a process may die, or be suspended
for as long as it likes: the messages of a round are in the same files whoever writes them, and no other round is begun.
"""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial

import nats.errors
from nats.js.api import StreamInfo

from tickwire.archive.added_pages import AddedPages
from tickwire.archive.checkpoint import Archived, Checkpoint, take_over
from tickwire.archive.day_closing import DayClosing
from tickwire.archive.metrics import ArchiveMetrics
from tickwire.archive.removing import Removing
from tickwire.archive.rounds import Round, TapeEntry
from tickwire.archive.storage import Storage
from tickwire.archive.stream_feeds import StreamFeeds
from tickwire.archive.tape_queue import TapeQueue, reading
from tickwire.archive_files.chained_rows import Part
from tickwire.archive_files.identity import identity_of
from tickwire.archive_files.kinds import round_rows
from tickwire.archive_files.parts import write_part
from tickwire.archive_files.root import Root
from tickwire.bus.connection import Bus
from tickwire.bus.leases import Lease
from tickwire.bus.requests import until_answered
from tickwire.errors import BrokerUnavailable, Fenced, StorageError
from tickwire.model.feeds.layout import archived_kind
from tickwire.observe import logs
from tickwire.observe.episodes import QUIET_S, Episode
from tickwire.process import lifecycle
from tickwire.settings import ArchiveSettings
from tickwire.tape.layout import layout_of

log = logs.get(__name__)


class StreamArchive:
    """The archive of one stream, on this instance."""

    def __init__(self, bus: Bus, root: Root, stream: str, settings: ArchiveSettings, metrics: ArchiveMetrics) -> None:
        self.stream = stream
        self.waiting = 0
        """Rows in memory that are in no file yet."""
        self._bus = bus
        self._root = root
        self._settings = settings
        self._metrics = metrics
        self._storage: Storage | None = None
        self.owning = asyncio.Event()
        """Set while this instance archives the stream."""
        self.released = asyncio.Event()
        """Set while it does not."""
        self.released.set()
        self._done = 0
        self._released = Episode(log, "the stream is released", quiet_s=QUIET_S, stream=stream)

    @property
    def trouble(self) -> StorageError | None:
        """Why nothing can be written at present; None otherwise."""
        return self._storage.trouble if self._storage else None

    async def pending(self) -> int:
        """How many messages of the stream are in no file yet, by the broker's count. Raises nats-py's errors."""
        state = (await self._bus.jetstream.stream_info(self.stream)).state
        return max(0, state.last_seq - max(self._done, state.first_seq - 1))

    async def own(self, lease: Lease) -> None:
        """Archive the stream until `lease.stop`; then finish the present round."""
        self._storage = storage = Storage(self.stream, self._metrics)
        try:
            await storage.retry(lease.stop, self._root.check)
            identity = await storage.retry(lease.stop, partial(identity_of, self._root))
            partitions = (await layout_of(self._bus)).partitions
            stream = StreamFeeds(self._root, self.stream, partitions)
            closing = DayClosing(self._bus, stream, storage, self._settings, self._metrics)
            removing = Removing(self._bus, stream, storage, self._settings, self._metrics)

            async def files(created: int) -> Archived:
                return await storage.retry(lease.stop, partial(stream.archived, created))

            checkpoint = await take_over(self._bus, self.stream, lease, files, identity)
            added = AddedPages(self._bus, stream, storage, closing, self._metrics)
            async with (
                reading(self._bus, self.stream, checkpoint.done) as queue,
                added.answered(checkpoint.confirm, self._settings.keep_days.get(stream.kind)),
            ):
                await self._archive(lease, checkpoint, queue, closing, removing)
        except (Fenced, StorageError, BrokerUnavailable) as error:
            # What was not written is read from the tape again.
            self._released.occurs(reason=str(error))
        except nats.errors.Error as error:
            self._released.occurs(reason=repr(error))
        finally:
            storage.close()
            self._storage, self.waiting = None, 0
            self.owning.clear()
            self.released.set()

    async def _info(self) -> StreamInfo:
        """The stream's settings and state. Waits for the broker."""
        read = partial(self._bus.jetstream.stream_info, self.stream)
        return await until_answered(read, f"stream {self.stream}")

    async def _archive(
        self, lease: Lease, checkpoint: Checkpoint, queue: TapeQueue, closing: DayClosing, removing: Removing
    ) -> None:
        self._done = checkpoint.done
        self.released.clear()
        self.owning.set()
        if (end := checkpoint.unfinished) is not None:
            log.info("a round that was begun is written again", stream=self.stream, after=checkpoint.done, until=end)
            await self._one_round(checkpoint, queue, lease, closing, end)
        found = False
        while not lease.stop.is_set():
            found = found or await closing.find_open(checkpoint.done)
            if await closing.close_due(checkpoint.confirm, lease.stop):
                removing.day_closed()
            await removing.remove_due(closing.days, checkpoint.confirm, lease.stop)
            await self._one_round(checkpoint, queue, lease, closing)

    async def _one_round(
        self, checkpoint: Checkpoint, queue: TapeQueue, lease: Lease, closing: DayClosing, end: int | None = None
    ) -> None:
        """Take the messages of a round, and write it. A round that was begun by another owner ends at `end`."""
        position = checkpoint.position
        rows = round_rows(archived_kind(self.stream), self._root, position.generation, position.done)
        round_ = Round(position, self._settings.part_rows, end, rows)
        info = await self._info()
        if end is None or info.state.first_seq <= end:
            # What waits is written between days that are to be closed; nothing more is waited for.
            await self._fill(
                round_,
                queue,
                lease,
                0.0 if closing.is_behind else longest_round_s(self._settings.part_minutes, info.config.max_age),
            )
        else:
            round_.skip_to_end()
        if round_.end is None or round_.is_full:
            await self._write(round_, checkpoint, lease, closing)

    async def _fill(self, round_: Round, queue: TapeQueue, lease: Lease, seconds: float) -> None:
        """Take messages until the round is complete, `seconds` have passed, or the lease is to be given up."""
        assert self._storage is not None
        # A round that was begun has no other end than its own.
        deadline = time.monotonic() + (seconds if round_.end is None else math.inf)
        while not lease.stop.is_set():
            queue.received.clear()
            if batch := queue.batch():
                left = await self._storage.run(partial(_taken, round_, batch))
                queue.put_back(left)
                self.waiting = round_.parts.rows
                if left:
                    return
                continue
            if round_.is_full or time.monotonic() >= deadline:
                return
            left_s = None if round_.end is not None else deadline - time.monotonic()
            await lifecycle.first_of(left_s, queue.received.wait(), lease.stop.wait())

    async def _write(self, round_: Round, checkpoint: Checkpoint, lease: Lease, closing: DayClosing) -> None:
        storage, again = self._storage, round_.end is not None
        assert storage is not None
        for each in round_.unreadable:
            self._bus.undecodable.skip(each.entry.subject, each.entry.data, each.error, sequence=each.entry.sequence)
        if round_.last == round_.done:
            return
        # Those of books begin with what the files before end with.
        parts = await storage.retry(lease.stop, lambda: list(round_.parts.parts(round_.last)))
        if parts and not again:
            await checkpoint.announce(round_.last)
        for part in parts:
            began = time.monotonic()
            await storage.retry(lease.stop, partial(_write_once if again else write_part, self._root, part))
            self._metrics.writes.observe(time.monotonic() - began)
            self._metrics.parts.inc()
            self._metrics.rows.inc(part.rows.num_rows)
        await checkpoint.complete(round_.position(checkpoint.position.generation))
        self._done, self.waiting = round_.last, 0
        for part in parts:
            closing.days.written(part.day)
        for feed, until in round_.until.items():
            closing.days.declared(feed, until)


def longest_round_s(part_minutes: float, max_age: float | None) -> float:
    """How long a round lasts at most, of a stream that keeps messages for `max_age` s (0 or None: without an end).

    A successor must find its messages on the tape, also if the round takes long to be written.
    """
    seconds = part_minutes * 60
    return min(seconds, max_age / 3) if max_age else seconds


def _taken(round_: Round, batch: list[TapeEntry]) -> list[TapeEntry]:
    """Take messages into a round; returns those that belong to a later one."""
    for number, entry in enumerate(batch):
        if not round_.take(entry):
            return batch[number:]
    return []


def _write_once(root: Root, part: Part) -> None:
    """Write a part unless it is there: then it is whole, and messages of it may have expired meanwhile."""
    if part.meta.covered[0].part not in root.names(part.day.folder):
        write_part(root, part)
