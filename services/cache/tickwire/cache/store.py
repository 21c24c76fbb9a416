"""Writes the candle files of one partition; the only code that does.

Per key `<exchange>_<token>_<timeframe>.csv`, `.meta.json` and `.columns` (`column_index`); per partition
`.partition-<p>.lock` and `.json`. Whether the folder belongs to this broker is checked before (`folder_owner`).
All methods are for one thread at a time, except `read`, `read_lines` and `snapshot`, which may run beside any other. A
snapshot does not wait for the writer once it was taken.

Exact after any crash, because:
- Nothing is announced before it is durable, and nothing durable depends on bytes that are not synced.
- A data file is created and spliced under a temporary name, so bytes can only be torn behind `Meta.bytes`.
- A page without holes need not wait for its meta file: its rows prove its range, and are found behind `Meta.bytes`.
- The checkpoint is written last; pages that are read again because of it change nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tickwire.cache import append_plan, repair, verify, volume_units
from tickwire.cache.append_plan import AppendPlan, CheckedPage, CommitResult, Rejection
from tickwire.cache.cache_folder import CacheFolder
from tickwire.cache.candle_rows import Columns, checked, joined
from tickwire.cache.disk import Disk, as_storage_error
from tickwire.cache.fence import Fence
from tickwire.cache.future_guard import WallClock, refuse_future
from tickwire.cache.key_facts import KeyFacts
from tickwire.cache.key_files import KeyFiles
from tickwire.cache.key_isolation import isolated
from tickwire.cache.key_snapshot import KeySnapshot
from tickwire.cache.key_state import KeyState, coverage_of
from tickwire.cache.partition_checkpoint import PartitionCheckpoint
from tickwire.cache.pending_splice import PendingSplice
from tickwire.errors import BadRequest, CacheFileError, NotCached, StorageError, TickwireError
from tickwire.model import subjects
from tickwire.model.messages import CandlePage, Coverage, Problem, Repair, Stored, Verification, VolumeUnit
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

PENDING_ROWS = 250_000
"""Rows that wait for a splice, over all keys of a partition, before the fullest key is spliced (about 50 MB)."""
LOCK_TIMEOUT_S = 10.0
"""Longest wait of a commit for the partition's lock, which is held for the length of one commit only."""
_ATTEMPTS = 3
"""How often a file that another program changed is opened again before it is refused."""


class Store:
    """The files of one partition, under one claim. Made by `Store.open`."""

    def __init__(self, folder: CacheFolder, partition: int, partitions: int, claim: Fence, stream: str) -> None:
        self.folder = folder
        self.partition = partition
        self.partitions = partitions
        self._files_of: dict[Key, KeyFiles] = {}
        self._pending: dict[Key, PendingSplice] = {}
        # The checkpoint is the file written last: evidence of the time if the clock was set back since.
        self.clock = WallClock(folder.disk.modified_ms(folder.checkpoint(partition)))
        self._checkpoints = PartitionCheckpoint(folder, partition, partitions, claim, stream)
        self._applied = 0
        self._changed: set[Key] = set()
        # Held while files change and while a snapshot is taken, so that size and file of a snapshot belong together.
        self._mutex = threading.RLock()

    @classmethod
    def open(
        cls, directory: Path, partition: int, *, partitions: int, claim: Fence, stream: str, disk: Disk | None = None
    ) -> Store:
        """Take over the partition: from now on every earlier claim is refused.

        `stream` identifies the stream of the pages' sequences; if it differs from the checkpoint's, `position` starts
        at 0. Raises Fenced, StorageError, ConfigError (the folder was made for
        another number of partitions), CacheFileError (the checkpoint is unreadable, or the folder another broker's).
        """
        folder = CacheFolder(disk or Disk(), str(directory))
        self = cls(folder, partition, partitions, claim, stream)
        with as_storage_error(f"use the cache folder {directory}"):
            folder.disk.make_dir(str(directory))
            self._checkpoints.refuse_other_partitioning()
            with folder.disk.lock(folder.lock(partition), LOCK_TIMEOUT_S):
                self._applied = self._checkpoints.taken_over()
                folder.sweep(partition)
        return self

    @property
    def position(self) -> int:
        """All pages up to this sequence are durable; pages that wait for a splice hold it back."""
        return min([min(pending.pages) - 1 for pending in self._pending.values()], default=self._applied)

    @property
    def waiting(self) -> list[Key]:
        """The keys that have pages waiting for a splice."""
        return list(self._pending)

    def commit(self, batch: Sequence[tuple[int, CandlePage]], up_to: int = 0) -> CommitResult:
        """Make a batch of (stream sequence, page) durable, in this order, with one sync a file.

        `up_to` moves the position even if the batch ends before it (with messages that were no pages).
        Pages that touch older rows wait for `flush`, and are not in the result yet. Raises Fenced, StorageError;
        the store is consistent then, nothing was announced, and the same batch can be committed again.
        """
        accepted, rejected = self._checked(batch)
        units = {
            key: volume_units.most_informative(volume_units.unit_of(each.page) for each in pages)
            for key, pages in accepted.items()
        }
        # Pages that wait in another unit are spliced before the file changes to this one.
        stored, others = self.flush(
            key for key in units if key in self._pending and self._pending[key].unit != units[key]
        )
        rejected += others
        with self._writing("store candles", accepted):
            unproven: list[Key] = []
            for key, pages in accepted.items():
                try:
                    with isolated(self.folder, key):
                        plan = self._append(key, pages, units[key])
                except CacheFileError as error:
                    self._file(key).forget()
                    rejected += [Rejection(each.seq, each.page, error) for each in pages]
                    continue
                rejected += plan.rejected
                stored += [self._stored(page) for page in plan.appended]
                if not plan.proven:
                    unproven.append(key)
            self._write_metas(unproven)
            self._applied = max([self._applied, up_to, *(seq for seq, _ in batch)])
        while sum(len(pending.lines) for pending in self._pending.values()) > PENDING_ROWS:
            spliced = self.flush([max(self._pending, key=lambda key: len(self._pending[key].lines))])
            stored += spliced.stored
            rejected += spliced.rejected
        return CommitResult(stored, rejected)

    def flush(self, keys: Iterable[Key] | None = None) -> CommitResult:
        """Splice the pages that wait, of `keys` or of all. Raises Fenced, StorageError, and can then be repeated."""
        wanted = [key for key in (self.waiting if keys is None else keys) if key in self._pending]
        if not wanted:
            return CommitResult([], [])
        stored: list[Stored] = []
        rejected: list[Rejection] = []
        with self._writing("splice candles", wanted):
            done: list[Key] = []
            for key in wanted:
                pending = self._pending[key]
                file = self._file(key)
                try:
                    with isolated(self.folder, key):
                        pending.splice_into(file)
                except CacheFileError as error:
                    file.forget()
                    rejected += [Rejection(seq, page, error) for seq, page in pending.pages.items()]
                    continue
                done.append(key)
                stored += [self._stored(page) for page in pending.pages.values()]
            self._write_metas(done)
        for key in wanted:
            del self._pending[key]
        return CommitResult(stored, rejected)

    def checkpoint(self) -> int:
        """Write the state that is only in memory (stale meta files, then the position), and return the position.

        The stream's messages up to there are no longer needed. Raises Fenced, StorageError.
        """
        position = self.position
        self._write_stale("write the checkpoint", list(self._files_of))
        if position != self._checkpoints.written:
            with self._writing("write the checkpoint", ()):
                self._checkpoints.write(position)
        return position

    def read(self, key: Key, since: int | None, until: int | None, limit: int | None = None) -> Columns:
        """The rows that open in `[since, until)`, the first `limit` of them. Raises like `read_lines`."""
        with self.snapshot(key) as found:
            return joined([table.unpacked() for table in found.tables(since, until, limit)])

    def read_lines(self, key: Key, since: int | None, until: int | None, limit: int | None = None) -> bytes:
        """The same as lines of the file, nothing parsed. Raises like `ensure`."""
        with self.snapshot(key) as snapshot:
            return snapshot.lines(since, until, limit)

    def snapshot(self, key: Key) -> KeySnapshot:
        """The rows that are durable now; later writes do not change them. The caller closes it.

        Raises like `ensure`, and CacheFileError when another program keeps changing the file.
        """
        with self._mutex, as_storage_error(f"read {self.folder.data(key)}"):
            for _ in range(_ATTEMPTS):
                self.ensure(key)
                if (found := self._file(key).snapshot()) is not None:
                    return found
                # The file was replaced or removed: by a new owner, which the fence detects, or by another program.
                self._file(key).forget()
        raise self.folder.refused(key, self.folder.data(key), "another program keeps changing it")

    def ensure(self, key: Key) -> KeyState:
        """Check a key's files on first use, and cut off rows that a crash left torn.

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
        """The coverage of a key, in constant time after its first use. Raises like `ensure`."""
        state = self.ensure(key)
        beyond, last = 0, state.last
        if last is not None and last >= self.clock.latest():
            with self.snapshot(key) as snapshot:
                beyond, last = snapshot.plausible_end()
        return coverage_of(key, state, state.rows - beyond, last)

    def keys(self) -> list[Key]:
        """The keys of this partition that have files, sorted. Raises StorageError."""
        with as_storage_error(f"list {self.folder.directory}"):
            found = self.folder.keys()
        return sorted(key for key in found if subjects.partition_of(key, self.partitions) == self.partition)

    def verify(self, key: Key, *, of_volumes: bool = True) -> Verification:
        """Read the whole file: order, duplicates, malformed lines, rows against the verified ranges, units of volumes.

        Raises NotCached, StorageError, Fenced.
        """
        try:
            with self._mutex:
                self._write_stale(f"verify {key}", [key] if key in self._files_of else [])
                self._files_of.pop(key, None)
                state = self.ensure(key)
                snapshot = self.snapshot(key)
            with snapshot:
                problems = volume_units.problems(key, state.volumes) if of_volumes else []
                return verify.verification(key, snapshot.view(), state.verified, [], problems, state.facts)
        except CacheFileError as error:
            refused = [Problem(line=error.line, message=error.message)]
        with as_storage_error(f"read {self.folder.data(key)}"), self.folder.opened(self.folder.data(key)) as fd:
            view = b"" if fd is None else self.folder.disk.view(fd, self.folder.disk.stat(fd)[1])
            return verify.verification(key, view, (), refused)

    def mark(self, key: Key, changed: Callable[[KeyFacts], KeyFacts]) -> None:
        """Change what is known of the rows of a key. Raises like `ensure`."""
        self.ensure(key)
        with self._writing(f"mark {key}", [key]):
            file = self._file(key)
            if (state := file.load()) is not None:
                file.prepare(changed(state.facts), state.volumes.unit)

    def changes(self) -> dict[Key, KeyState | None]:
        """The keys that were written since the last call, and their states; None if that is not in memory."""
        with self._mutex:
            found, self._changed = self._changed, set()
            return {key: file.state if (file := self._files_of.get(key)) else None for key in found}

    def repair(self, key: Key) -> Repair:
        """Move a damaged file aside and keep its well-formed rows in a new one; a sound file is not changed.

        `moved_to` is empty when there was nothing to repair. Raises NotCached, StorageError, Fenced.
        """
        # An unknown unit of volumes cannot be repaired here.
        found = self.verify(key, of_volumes=False)
        if not found.problem_count:
            return repair.sound(key, found.rows)
        with self._writing(f"repair {key}", [key]):
            return self._file(key).rebuild()

    # -- private -------------------------------------------------------------------------------------------------

    def _checked(self, batch: Sequence[tuple[int, CandlePage]]) -> tuple[dict[Key, list[CheckedPage]], list[Rejection]]:
        accepted: dict[Key, list[CheckedPage]] = {}
        rejected: list[Rejection] = []
        for seq, page in batch:
            try:
                rows = checked(page)
                refuse_future(page, self.clock.now())
                self._refuse_foreign(page.key)
            except TickwireError as error:
                rejected.append(Rejection(seq, page, error))
            else:
                accepted.setdefault(page.key, []).append(CheckedPage(seq, page, rows))
        return accepted, rejected

    def _append(self, key: Key, pages: Sequence[CheckedPage], unit: VolumeUnit | None) -> AppendPlan:
        """Append the rows behind the last one, keep older ones for a splice. `unit` is the best of the pages'."""
        file = self._file(key)
        state = file.load()
        plan = AppendPlan(file, state, pages, unit, self._pending.get(key))
        if plan.pending is not None:
            self._pending[key] = plan.pending
        if plan.appended or state is None:
            facts = plan.facts.before(plan.appended)
            if facts != (state.facts if state else KeyFacts()):
                file.prepare(facts, plan.unit)
            first, last = (plan.rows[0][0], plan.rows[-1][0]) if plan.rows else (None, None)
            known = [Range(page.since, page.until) for page in plan.appended]
            file.append(b"".join(plan.lines), first, last, known, plan.unit)
            file.agree(plan.facts.after(plan.appended, file.dates))
        return plan

    def _stored(self, page: CandlePage) -> Stored:
        state = self._file(page.key).state
        assert state is not None
        return append_plan.stored(page, state.rows)

    def _file(self, key: Key) -> KeyFiles:
        if (file := self._files_of.get(key)) is None:
            self._refuse_foreign(key)
            file = self._files_of[key] = KeyFiles(self.folder, self.partition, key, self.clock)
        return file

    def _refuse_foreign(self, key: Key) -> None:
        if subjects.partition_of(key, self.partitions) != self.partition:
            raise BadRequest(f"{key} is not in partition {self.partition} of {self.partitions}")

    @contextmanager
    def _writing(self, what: str, keys: Iterable[Key]) -> Iterator[None]:
        """Hold the partition's lock, unless a later claim exists; forget the state of `keys` if the body fails."""
        disk = self.folder.disk
        try:
            with self._mutex, as_storage_error(what), disk.lock(self.folder.lock(self.partition), LOCK_TIMEOUT_S):
                self._checkpoints.refuse_others()
                self._changed.update(keys)
                yield
        except (StorageError, CacheFileError):
            for key in keys:
                if file := self._files_of.get(key):
                    file.forget()
            raise

    def _write_stale(self, what: str, keys: Iterable[Key]) -> None:
        """Write the meta files that are behind."""
        if stale := [key for key in keys if (state := self._files_of[key].state) is not None and state.stale]:
            with self._writing(what, stale):
                self._write_metas(stale)

    def _write_metas(self, keys: Iterable[Key]) -> None:
        written = False
        for key in keys:
            self._file(key).write_meta()
            written = True
        if written:
            self.folder.sync()
