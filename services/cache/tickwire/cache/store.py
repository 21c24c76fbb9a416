"""One partition of the cache on disk: the only code that writes candle files.

Per key `<exchange>_<token>_<timeframe>.csv` and `.meta.json`; per partition `.partition-<p>.lock` and `.json`. Whether
the folder is this broker's is decided before (`folder`).
One thread at a time, except `read`, `read_lines` and `reading`, which may run beside everything else; a `reading` that
was taken does not wait for the writer any more.

What makes it exact after any crash:
- Nothing is announced before it is durable, and nothing durable depends on bytes that are not synced.
- A data file is made and spliced under a temporary name, so bytes can only be torn behind `Meta.bytes`.
- A page without holes need not wait for its meta file: its rows prove its range, and are found behind `Meta.bytes`.
- The checkpoint is written last; what is read again because of it changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from tickwire.cache import verify, volume_units
from tickwire.cache.atomic_files import Files
from tickwire.cache.candle_rows import Columns, checked, columns, format_rows, proves
from tickwire.cache.checkpoints import Checkpoints
from tickwire.cache.disk import Disk, explained
from tickwire.cache.fence import Fence
from tickwire.cache.future_guard import Present, refuse_beyond
from tickwire.cache.key_files import KeyFile
from tickwire.cache.key_isolation import alone
from tickwire.cache.key_reader import Reading
from tickwire.cache.key_state import State, coverage_of
from tickwire.cache.key_terms import Terms, grid_of
from tickwire.cache.key_terms import refused as refused_grid
from tickwire.cache.pending_pages import Pending
from tickwire.errors import BadRequest, CacheFileError, NotCached, StorageError, TickwireError
from tickwire.model import subjects
from tickwire.model.messages import CandlePage, Coverage, Problem, Repair, Row, Stored, Verification, VolumeUnit
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

PENDING_ROWS = 250_000
"""Rows collected for splicing, over all keys of a partition, before the fullest key is spliced (about 50 MB)."""

LOCK_TIMEOUT_S = 10.0
"""How long a commit waits for the partition's lock, which is only ever held for the length of one commit."""


_LOOKS = 3
"""How often a file that another program changed is looked into before it is refused."""


class Rejected(NamedTuple):
    """A page that cannot be stored, and why."""

    seq: int
    page: CandlePage
    error: TickwireError


class Commit(NamedTuple):
    """The outcome of a commit: what is durable now, and what was refused for good."""

    stored: list[Stored]
    rejected: list[Rejected]


class Store:
    """The files of one partition, under one claim on it. Made by `Store.open`."""

    def __init__(self, files: Files, partition: int, partitions: int, claim: Fence, stream: str) -> None:
        self.files = files
        self.partition = partition
        self.partitions = partitions
        self._files_of: dict[Key, KeyFile] = {}
        self._pending: dict[Key, Pending] = {}
        # The checkpoint was written last of all; where the clock was set back since, it is the better witness.
        self.present = Present(files.disk.modified_ms(files.checkpoint(partition)))
        self._checkpoints = Checkpoints(files, partition, partitions, claim, stream)
        self._applied = 0
        # Held while files change and while a reading is taken, so that a reading has the size of the file it has.
        self._mutex = threading.RLock()

    @classmethod
    def open(
        cls, directory: Path, partition: int, *, partitions: int, claim: Fence, stream: str, disk: Disk | None = None
    ) -> Store:
        """Take the partition over: from here on every earlier claim is refused.

        `stream` identifies the stream whose sequence numbers the pages carry; with another one than the
        checkpoint's, `position` starts at 0. Raises Fenced, StorageError, ConfigError (the folder was made for
        another number of partitions), CacheFileError (the checkpoint is unreadable, or the folder another broker's).
        """
        files = Files(disk or Disk(), str(directory))
        self = cls(files, partition, partitions, claim, stream)
        with explained(f"use the cache folder {directory}"):
            files.disk.make_dir(str(directory))
            self._checkpoints.refuse_other_partitioning()
            with files.disk.lock(files.lock(partition), LOCK_TIMEOUT_S):
                self._applied = self._checkpoints.taken_over()
                files.sweep(partition)
        return self

    @property
    def position(self) -> int:
        """Everything up to this sequence number is applied; pages that wait for a splice hold it back."""
        waiting = [min(pending.pages) for pending in self._pending.values()]
        return min(waiting) - 1 if waiting else self._applied

    @property
    def waiting(self) -> list[Key]:
        """The keys that have pages waiting for a splice."""
        return list(self._pending)

    def commit(self, batch: Sequence[tuple[int, CandlePage]], up_to: int = 0) -> Commit:
        """Make a batch of (stream sequence, page) durable, in this order, with one sync a file.

        `up_to` moves the position even where the batch ends before it (messages that were no pages).
        Pages that touch older rows wait for `flush`, and are not in the outcome yet. Raises Fenced, StorageError;
        the store is consistent then, nothing was announced, and the same batch can be committed again.
        """
        rejected: list[Rejected] = []
        accepted: dict[Key, list[tuple[int, CandlePage, list[Row]]]] = {}
        for seq, page in batch:
            try:
                rows = checked(page)
                refuse_beyond(page, self.present())
                self._refuse_foreign(page.key)
            except TickwireError as error:
                rejected.append(Rejected(seq, page, error))
            else:
                accepted.setdefault(page.key, []).append((seq, page, rows))
        units = {
            key: volume_units.best(volume_units.unit_of(page) for _, page, _ in pages)
            for key, pages in accepted.items()
        }
        # What waits in another unit is spliced in before the file is in this one.
        stored, others = self.flush(
            key for key in units if key in self._pending and self._pending[key].unit != units[key]
        )
        rejected += others
        with self._writing("store candles", accepted):
            unproven: list[Key] = []
            for key, pages in accepted.items():
                try:
                    with alone(self.files, key):
                        durable, refused = self._append(key, pages, units[key])
                except CacheFileError as error:
                    self._file(key).forget()
                    rejected += [Rejected(seq, page, error) for seq, page, _ in pages]
                    continue
                rejected += refused
                stored += [self._stored(page) for page, _ in durable]
                if not all(proved for _, proved in durable):
                    unproven.append(key)
            self._write_metas(unproven)
            self._applied = max([self._applied, up_to, *(seq for seq, _ in batch)])
        while sum(len(pending.lines) for pending in self._pending.values()) > PENDING_ROWS:
            spliced = self.flush([max(self._pending, key=lambda key: len(self._pending[key].lines))])
            stored += spliced.stored
            rejected += spliced.rejected
        return Commit(stored, rejected)

    def flush(self, keys: Iterable[Key] | None = None) -> Commit:
        """Splice what waits, of `keys` or of all. Raises Fenced, StorageError, and can be repeated then."""
        wanted = [key for key in (self.waiting if keys is None else keys) if key in self._pending]
        if not wanted:
            return Commit([], [])
        stored: list[Stored] = []
        rejected: list[Rejected] = []
        with self._writing("splice candles", wanted):
            done: list[Key] = []
            for key in wanted:
                pending = self._pending[key]
                file = self._file(key)
                try:
                    with alone(self.files, key):
                        _spliced(file, pending)
                except CacheFileError as error:
                    file.forget()
                    rejected += [Rejected(seq, page, error) for seq, page in pending.pages.items()]
                    continue
                done.append(key)
                stored += [self._stored(page) for page in pending.pages.values()]
            self._write_metas(done)
        for key in wanted:
            del self._pending[key]
        return Commit(stored, rejected)

    def checkpoint(self) -> int:
        """Write what is only in memory (stale meta files, then the position), and return the position.

        The stream's messages up to there are not needed any more. Raises Fenced, StorageError.
        """
        position = self.position
        stale = [key for key, file in list(self._files_of.items()) if file.state is not None and file.state.stale]
        if stale or position != self._checkpoints.written:
            with self._writing("write the checkpoint", stale):
                self._write_metas(stale)
                self._checkpoints.write(position)
        return position

    def read(self, key: Key, since: int | None, until: int | None, limit: int | None = None) -> Columns:
        """The rows that open in `[since, until)`, the first `limit` of them. Raises like `read_lines`."""
        return columns(self.read_lines(key, since, until, limit))

    def read_lines(self, key: Key, since: int | None, until: int | None, limit: int | None = None) -> bytes:
        """The same as lines of the file, nothing parsed. Raises like `ensure`."""
        with self.reading(key) as reading:
            return reading.lines(since, until, limit)

    def reading(self, key: Key) -> Reading:
        """The rows as they are durable now; what is written later does not change them. To be closed.

        Raises like `ensure`, and CacheFileError when another program goes on changing the file.
        """
        with self._mutex, explained(f"read {self.files.data(key)}"):
            for _ in range(_LOOKS):
                self.ensure(key)
                if (found := self._file(key).reading()) is not None:
                    return found
                # Somebody else replaced or removed it: a former owner is told so by the fence, others are looked into.
                self._file(key).forget()
        raise self.files.refused(key, self.files.data(key), "another program keeps changing it")

    def ensure(self, key: Key) -> State:
        """Check a key's files on first use, and cut off what a crash left torn.

        Raises NotCached, CacheFileError, StorageError, Fenced.
        """
        with self._mutex:
            file = self._file(key)
            if (state := file.state) is None:
                with self._writing(f"open {key}", [key]):
                    state = file.load()
            if state is None:
                del self._files_of[key]
                raise NotCached(f"{key} is not cached", f"tickwire candles fetch {' '.join(key)} --since ...")
            return state

    def coverage(self, key: Key) -> Coverage:
        """What is durable of a key, in constant time once it was used. Raises like `ensure`."""
        state = self.ensure(key)
        rows, last = state.rows, state.last
        if last is not None and last >= self.present.latest():
            with self.reading(key) as reading:
                beyond, last = reading.believed()
            rows -= beyond
        return coverage_of(key, state, rows, last)

    def keys(self) -> list[Key]:
        """The keys of this partition that have files, sorted. Raises StorageError."""
        with explained(f"list {self.files.directory}"):
            found = self.files.keys()
        return sorted(key for key in found if subjects.partition_of(key, self.partitions) == self.partition)

    def listing(self, exchange: str | None = None) -> tuple[list[Coverage], list[str]]:
        """The coverage of every key of this partition, and one line for each file that is refused."""
        covered: list[Coverage] = []
        damaged: list[str] = []
        for key in self.keys():
            if exchange is None or key.exchange == exchange:
                try:
                    covered.append(self.coverage(key))
                except NotCached:
                    continue
                except (CacheFileError, StorageError) as error:
                    damaged.append(str(error))
        return covered, damaged

    def verify(self, key: Key) -> Verification:
        """Read the whole file: order, duplicates, malformed lines, rows against the verified ranges, units of volumes.

        Raises NotCached, StorageError, Fenced.
        """
        return self._verified(key, of_volumes=True)

    def _verified(self, key: Key, *, of_volumes: bool) -> Verification:
        try:
            with self._mutex:
                if file := self._files_of.get(key):
                    file.forget()
                state = self.ensure(key)
                reading = self.reading(key)
            with reading:
                problems = volume_units.problems(key, state.volumes) if of_volumes else []
                return verify.verification(key, reading.view(), state.verified, [], problems, state.terms.opens_at)
        except CacheFileError as error:
            refused = [Problem(line=error.line, message=error.message)]
        with explained(f"read {self.files.data(key)}"), self.files.opened(self.files.data(key)) as fd:
            view = b"" if fd is None else self.files.disk.view(fd, self.files.disk.stat(fd)[1])
            return verify.verification(key, view, (), refused)

    def repair(self, key: Key) -> Repair:
        """Move a damaged file aside and keep its well-formed rows in a fresh one; a sound one stays as it is.

        `moved_to` is empty when there was nothing to repair. Raises NotCached, StorageError, Fenced.
        """
        # What its volumes count is nothing that could be repaired here.
        found = self._verified(key, of_volumes=False)
        if not found.problem_count:
            return Repair(
                exchange=key.exchange,
                symbol=key.symbol,
                timeframe=key.timeframe,
                moved_to="",
                rows_kept=found.rows,
                lines_dropped=0,
            )
        with self._writing(f"repair {key}", [key]):
            return self._file(key).rebuild()

    # -- inside --------------------------------------------------------------------------------------------------

    def _append(
        self, key: Key, pages: list[tuple[int, CandlePage, list[Row]]], unit: VolumeUnit | None
    ) -> tuple[list[tuple[CandlePage, bool]], list[Rejected]]:
        """Append what is newer than the last row, keep for a splice what is not.

        `unit` is the best of the pages'; those in another one, or in one that says less than the file's, are refused.
        Returns the pages that are durable with the rows, and whether the rows alone prove each page's range; and those
        refused.
        """
        file = self._file(key)
        state = file.load()
        last = state.last if state else None
        before = state.volumes.unit if state else unit
        unit = volume_units.best([unit, before])
        fresh: list[bytes] = []
        fresh_rows: list[Row] = []
        done: list[tuple[CandlePage, bool]] = []
        refused: list[Rejected] = []
        terms = state.terms if state else Terms()
        if state is None or not state.rows:
            # Its candles open where the first ones do.
            terms = msgspec.structs.replace(terms, opens_at=pages[0][1].opens_at)
        grid = terms.grid(key)
        for seq, page, rows in pages:
            if grid_of(page) != grid:
                refused.append(Rejected(seq, page, refused_grid(page, grid)))
                continue
            if volume_units.unit_of(page) != unit:
                refused.append(Rejected(seq, page, volume_units.refused(page, unit)))
                continue
            pending = self._pending.get(key)
            newest = last if pending is None else max(pending.last, pending.last if last is None else last)
            older = [row for row in rows if newest is not None and row[0] <= newest]
            newer = rows[len(older) :]
            if older and (pending or fresh or not file.holds(older, format_rows(older))):
                self._pending.setdefault(key, Pending(unit=unit)).add(seq, page, rows)
                continue
            fresh.append(format_rows(newer))
            fresh_rows += newer
            last = newer[-1][0] if newer else last
            done.append((page, state is not None and unit == before and proves(rows, page)))
        first = fresh_rows[0][0] if fresh_rows else None
        if done or state is None:
            settling = [page for page, _ in done]
            if terms.before(settling) != (state.terms if state else Terms()):
                file.prepare(terms.before(settling), unit)
            known = [Range(page.since, page.until) for page in settling]
            file.append(b"".join(fresh), first, fresh_rows[-1][0] if fresh_rows else None, known, unit)
            file.agree(terms.after(settling))
        return done, refused

    def _stored(self, page: CandlePage) -> Stored:
        state = self._file(page.key).state
        assert state is not None
        return Stored(
            exchange=page.exchange,
            symbol=page.symbol,
            timeframe=page.timeframe,
            since=page.since,
            until=page.until,
            rows=len(page.rows),
            total_rows=state.rows,
        )

    def _file(self, key: Key) -> KeyFile:
        if (file := self._files_of.get(key)) is None:
            self._refuse_foreign(key)
            file = self._files_of[key] = KeyFile(self.files, self.partition, key, self.present)
        return file

    def _refuse_foreign(self, key: Key) -> None:
        if subjects.partition_of(key, self.partitions) != self.partition:
            raise BadRequest(f"{key} is not in partition {self.partition} of {self.partitions}")

    @contextmanager
    def _writing(self, what: str, keys: Iterable[Key]) -> Iterator[None]:
        """Hold the partition's lock, as long as nobody later has taken it; forget `keys` where the body fails."""
        disk = self.files.disk
        try:
            with self._mutex, explained(what), disk.lock(self.files.lock(self.partition), LOCK_TIMEOUT_S):
                self._checkpoints.refuse_others()
                yield
        except (StorageError, CacheFileError):
            for key in keys:
                if file := self._files_of.get(key):
                    file.forget()
            raise

    def _write_metas(self, keys: Iterable[Key]) -> None:
        written = False
        for key in keys:
            self._file(key).write_meta()
            written = True
        if written:
            self.files.sync()


def _spliced(file: KeyFile, pending: Pending) -> None:
    """Splice in what waits for a key. Raises CacheFileError, OSError."""
    state, pages = file.load(), list(pending.pages.values())
    terms = state.terms if state else Terms()
    file.prepare(terms.before(pages), pending.unit)
    file.splice(pending.lines, [Range(page.since, page.until) for page in pages], pending.unit)
    file.agree(terms.after(pages))
