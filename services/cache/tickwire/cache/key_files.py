"""Opens, checks, appends to, splices and rebuilds the two files of one key. The caller holds the partition's lock."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tickwire.cache import csv_bytes, open_check, repair, splice_plan
from tickwire.cache.cache_folder import CacheFolder
from tickwire.cache.candle_rows import HEADER
from tickwire.cache.csv_bytes import START
from tickwire.cache.future_guard import WallClock
from tickwire.cache.key_facts import KeyFacts
from tickwire.cache.key_snapshot import KeySnapshot, refusing_malformed_lines
from tickwire.cache.key_state import KeyState, meta_of
from tickwire.cache.volume_units import VolumeUnits
from tickwire.model.messages import Repair, Row, VolumeUnit
from tickwire.model.ranges import Range
from tickwire.model.ranges import merge as merged
from tickwire.model.subjects import Key
from tickwire.observe import logs

log = logs.get(__name__)


class KeyFiles:
    """The files of one key. Methods raise OSError and CacheFileError; call `forget` after either."""

    def __init__(self, folder: CacheFolder, partition: int, key: Key, clock: WallClock) -> None:
        self.folder = folder
        self.clock = clock
        self.partition = partition
        self.key = key
        self.state: KeyState | None = None
        self._cut: tuple[int, int] | None = None
        """(inode, size) to truncate to, after an append failed half-way and could not be undone at once."""

    def forget(self) -> None:
        """Have the next use read the files again."""
        self.state = None

    def load(self) -> KeyState | None:
        """The state, read and checked on first use or after another program changed the file.

        Cuts off the remains of an interrupted append. None if the key has no files.
        """
        with self.folder.opened(self.folder.data(self.key), os.O_RDWR) as fd:
            if fd is not None and self.state is not None:
                if self.folder.disk.stat(fd) == (self.state.inode, self.state.size):
                    return self.state
                log.warning(
                    "another program changed a data file", **self.key._asdict(), path=self.folder.data(self.key)
                )
            if fd is not None:
                self._settle(fd)
            self.state = open_check.checked(self.folder, self.key, fd, self.clock)
        if self.state is not None and self.state.stale:
            self.write_meta()
            self.folder.sync()
        return self.state

    def snapshot(self) -> KeySnapshot | None:
        """The current rows; None if the file no longer matches `state`."""
        state, disk = self.state, self.folder.disk
        assert state is not None
        try:
            fd = disk.open(self.folder.data(self.key), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            if disk.stat(fd) == (state.inode, state.size):
                return KeySnapshot(self.folder, self.key, fd, state.size, self.clock.latest())
        except OSError:
            disk.close(fd)
            raise
        disk.close(fd)
        return None

    def holds(self, rows: Sequence[Row], lines: bytes) -> bool:
        """Whether the file has exactly these ascending rows already."""
        state = self.state
        if state is None or state.last is None or not rows:
            return not rows
        with self._open() as fd:
            view = self.folder.disk.view(fd, state.size)
            with refusing_malformed_lines(self.folder, self.key, view):
                start = csv_bytes.bisect(view, rows[0][0], START, state.size)
                end = csv_bytes.bisect(view, rows[-1][0] + 1, start, state.size)
            there = view[start:end]
        return there == lines or set(csv_bytes.split_lines(lines)) <= set(csv_bytes.split_lines(there))

    def dates(self, part: Range) -> list[int]:
        """When the rows of the file open that lie in `part`."""
        state = self.state
        if state is None or not state.rows:
            return []
        with self._open() as fd:
            view = self.folder.disk.view(fd, state.size)
            with refusing_malformed_lines(self.folder, self.key, view):
                start = csv_bytes.bisect(view, part.since, START, state.size)
                end = csv_bytes.bisect(view, part.until, start, state.size)
                return [int(line.split(b",", 1)[0]) for line in csv_bytes.split_lines(view[start:end])]

    def append(
        self, lines: bytes, first: int | None, last: int | None, known: Sequence[Range], unit: VolumeUnit | None
    ) -> None:
        """Append lines behind the last row, make them durable, and add `known` to the verified ranges.

        `unit` is that of their volumes. Without lines nothing is written, except that a key without files gets an empty
        data file.
        """
        state = self.state
        count = lines.count(b"\n")
        if state is None:
            inode, size = self._create([HEADER, lines])
            volumes = VolumeUnits(unit).after_writing(unit, known, [])
            self.state = KeyState(
                inode, size, count, first, last, tuple(merged(known)), volumes, KeyFacts(), stale=True
            )
            return
        if lines:
            disk = self.folder.disk
            with self._open(os.O_RDWR) as fd:
                self._cut = (state.inode, state.size)
                try:
                    disk.write(fd, lines, state.size)
                    disk.fdatasync(fd)
                except OSError:
                    # Truncate at once, so that a retry writes these bytes again: after a failed sync the page cache
                    # marks them clean. If the truncation fails, too, `_cut` makes the next access truncate.
                    disk.truncate(fd, state.size)
                    self._cut = None
                    raise
                self._cut = None
        self.state = KeyState(
            state.inode,
            state.size + len(lines),
            state.rows + count,
            first if state.first is None else state.first,
            state.last if last is None else last,
            tuple(merged([*state.verified, *known])),
            state.volumes.after_writing(unit, known, state.verified),
            state.facts,
            stale=True,
        )

    def splice(self, lines: dict[int, bytes], known: Sequence[Range], unit: VolumeUnit | None) -> None:
        """Insert rows by rewriting the file once; `known` becomes verified, with volumes in `unit`.

        An empty line removes the row of its date. If the file has all of the rows already, nothing is written.
        """
        state = self.state
        assert state is not None
        disk = self.folder.disk
        with self._open() as fd:
            view = disk.view(fd, state.size)
            with refusing_malformed_lines(self.folder, self.key, view):
                plan = splice_plan.plan(view, state.size, sorted(lines.items()))
            inode, size = state.inode, state.size
            if plan.removed:
                # A file with fewer rows than its meta file states would be refused after a crash.
                uncounted = meta_of(self.key, replace(state, rows=0, size=START))
                self.folder.replace(self.partition, self.folder.meta(self.key), uncounted)
                self.folder.sync()
            if plan.added or plan.changed or plan.removed:
                inode, size = self._create([HEADER, *plan.pieces], fd)
        dates = [date for date in (state.first, state.last) if date is not None and lines.get(date) != b""]
        dates += [date for date, line in lines.items() if line]
        if plan.removed:
            dates += self._ends(size)
        self.state = KeyState(
            inode,
            size,
            state.rows + plan.added - plan.removed,
            min(dates, default=None),
            max(dates, default=None),
            tuple(merged([*state.verified, *known])),
            state.volumes.after_writing(unit, known, state.verified),
            state.facts,
            stale=True,
        )

    def prepare(self, facts: KeyFacts, unit: VolumeUnit | None) -> None:
        """Write the facts that rows cannot express into the meta file, before the rows are written."""
        if self.state is None:
            self.append(b"", None, None, [], unit)
        assert self.state is not None
        if self.state.facts != facts:
            self.state = replace(self.state, facts=facts)
            self.write_meta()
            self.folder.sync()

    def agree(self, facts: KeyFacts) -> None:
        """Set the facts that hold once the rows are written; the meta file follows later."""
        assert self.state is not None
        if self.state.facts != facts:
            self.state = replace(self.state, facts=facts, stale=True)

    def write_meta(self) -> None:
        """Replace the meta file by the state; durable once the folder is synced."""
        state = self.state
        assert state is not None
        self.folder.replace(self.partition, self.folder.meta(self.key), meta_of(self.key, state))
        self.state = replace(state, stale=False)

    def rebuild(self) -> Repair:
        """Move damaged files aside, and keep the well-formed rows in a new data file."""
        self.forget()
        self.state, done = repair.rebuilt(self.folder, self.partition, self.key, self.clock)
        return done

    # -- private -------------------------------------------------------------------------------------------------

    @contextmanager
    def _open(self, flags: int = os.O_RDONLY) -> Iterator[int]:
        """Open the data file. Raises CacheFileError if another program removed it."""
        path = self.folder.data(self.key)
        with self.folder.opened(path, flags) as fd:
            if fd is None:
                raise self.folder.refused(self.key, path, "another program removed the file")
            yield fd

    def _ends(self, size: int) -> list[int]:
        """When the first and the last row of the data file open, if it has rows."""
        if size == START:
            return []
        with self._open() as fd:
            view = self.folder.disk.view(fd, size)
            return [csv_bytes.date_at(view, START), csv_bytes.date_at(view, csv_bytes.last_line(view, size))]

    def _settle(self, fd: int) -> None:
        """Truncate what an append left that could not be undone at once, and make all bytes durable."""
        disk = self.folder.disk
        if self._cut is not None and self._cut[0] == disk.stat(fd)[0]:
            disk.truncate(fd, self._cut[1])
        # A killed process may have left bytes that are visible and not yet durable.
        disk.fdatasync(fd)
        self._cut = None

    def _create(self, pieces: Sequence[splice_plan.Piece], source: int | None = None) -> tuple[int, int]:
        """Replace the data file by one made of pieces, durably; returns its inode and size."""
        disk, path = self.folder.disk, self.folder.data(self.key)
        with self.folder.fresh(self.partition, Path(path).name) as (fd, temporary):
            offset = 0
            for piece in pieces:
                if isinstance(piece, bytes):
                    disk.write(fd, piece, offset)
                    offset += len(piece)
                else:
                    assert source is not None
                    disk.copy(source, *piece, fd, offset)
                    offset += piece[1] - piece[0]
            disk.fsync(fd)
            inode, size = disk.stat(fd)
            disk.rename(temporary, path)
        # Before the meta file that refers to it: nothing else orders two renames.
        self.folder.sync()
        return inode, size
