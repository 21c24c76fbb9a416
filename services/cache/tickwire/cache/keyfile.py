"""The two files of one key: opened, checked, appended to, spliced, rebuilt. The caller holds the partition's lock."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tickwire import logs
from tickwire.cache import csvfile, merge, meta
from tickwire.cache.csvfile import START, MalformedLine
from tickwire.cache.disk import Buffer
from tickwire.cache.files import Files
from tickwire.cache.meta import Meta
from tickwire.cache.present import Present, believed, is_beyond
from tickwire.cache.reading import Reading, refused_line
from tickwire.cache.rows import HEADER
from tickwire.cache.terms import Terms
from tickwire.cache.volumes import Volumes
from tickwire.cache.volumes import read as read_volumes
from tickwire.messages import Repair, Row, VolumeUnit
from tickwire.ranges import Range, remove, subtract
from tickwire.ranges import merge as merged
from tickwire.subjects import Key

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class State:
    """What is durable of a key.

    Every row lies in a verified range. `stale`: the meta file says less, and the rows that were appended behind
    its `bytes` prove the rest.
    """

    inode: int
    size: int
    rows: int
    first: int | None
    last: int | None
    verified: tuple[Range, ...]
    volumes: Volumes
    terms: Terms
    stale: bool = False


class KeyFile:
    """The files of one key. Methods raise OSError and CacheFileError; after either, `forget` before going on."""

    def __init__(self, files: Files, partition: int, key: Key, present: Present) -> None:
        self.files = files
        self.present = present
        self.partition = partition
        self.key = key
        self.state: State | None = None
        self._cut: tuple[int, int] | None = None
        """(inode, size) to cut back to, after an append failed half-way and could not be undone at once."""

    def forget(self) -> None:
        """Read everything anew from the disk next time."""
        self.state = None

    def load(self) -> State | None:
        """The state, read and checked on first use or when the file was changed by somebody else.

        Cuts off what an interrupted append left. None where the key has no files.
        """
        with self.files.opened(self.files.data(self.key), os.O_RDWR) as fd:
            if fd is not None and self.state is not None:
                if self.files.disk.stat(fd) == (self.state.inode, self.state.size):
                    return self.state
                log.warning("file changed by another program", **self.key._asdict(), path=self.files.data(self.key))
            self.state = self._checked(fd)
        if self.state is not None and self.state.stale:
            self.write_meta()
            self.files.sync()
        return self.state

    def reading(self) -> Reading | None:
        """The rows as they stand now, or None where the file is no longer what `state` says."""
        state, disk = self.state, self.files.disk
        assert state is not None
        try:
            fd = disk.open(self.files.data(self.key), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            if disk.stat(fd) == (state.inode, state.size):
                return Reading(self.files, self.key, fd, state.size, self.present.latest())
        except OSError:
            disk.close(fd)
            raise
        disk.close(fd)
        return None

    def holds(self, rows: Sequence[Row], lines: bytes) -> bool:
        """Whether the file already has exactly these ascending rows."""
        state = self.state
        if state is None or state.last is None or not rows:
            return not rows
        with self._open() as fd:
            view = self.files.disk.view(fd, state.size)
            with self._naming_lines(view):
                start = csvfile.bisect(view, rows[0][0], START, state.size)
                end = csvfile.bisect(view, rows[-1][0] + 1, start, state.size)
            there = view[start:end]
        return there == lines or set(csvfile.split_lines(lines)) <= set(csvfile.split_lines(there))

    def append(
        self, lines: bytes, first: int | None, last: int | None, known: Sequence[Range], unit: VolumeUnit | None
    ) -> None:
        """Add lines behind the last row, and `known` to what is verified, and make the lines durable.

        `unit` is that of their volumes.
        Without lines nothing is written, except that a key without files gets an empty data file.
        """
        state = self.state
        count = lines.count(b"\n")
        if state is None:
            inode, size = self._create([HEADER, lines])
            volumes = Volumes(unit).taking(unit, known, [])
            self.state = State(inode, size, count, first, last, tuple(merged(known)), volumes, Terms(), stale=True)
            return
        if lines:
            disk = self.files.disk
            with self._open(os.O_RDWR) as fd:
                self._cut = (state.inode, state.size)
                try:
                    disk.write(fd, lines, state.size)
                    disk.fdatasync(fd)
                except OSError:
                    # Cut it at once, so that a retry writes these bytes again: after a failed sync the page cache
                    # calls them clean. Where not even that works, `_cut` has it done before anything else.
                    disk.truncate(fd, state.size)
                    self._cut = None
                    raise
                self._cut = None
        self.state = State(
            state.inode,
            state.size + len(lines),
            state.rows + count,
            first if state.first is None else state.first,
            state.last if last is None else last,
            tuple(merged([*state.verified, *known])),
            state.volumes.taking(unit, known, state.verified),
            state.terms,
            stale=True,
        )

    def splice(self, lines: dict[int, bytes], known: Sequence[Range], unit: VolumeUnit | None) -> None:
        """Put rows where they belong by writing the file once anew; `known` becomes verified, its volumes in `unit`.

        Where the file has all of them already, nothing is written.
        """
        state = self.state
        assert state is not None
        disk = self.files.disk
        with self._open() as fd:
            view = disk.view(fd, state.size)
            with self._naming_lines(view):
                plan = merge.plan(view, state.size, sorted(lines.items()))
            inode, size = state.inode, state.size
            if plan.added or plan.changed:
                inode, size = self._create([HEADER, *plan.pieces], fd)
        dates = [date for date in (state.first, state.last) if date is not None] + list(lines)
        self.state = State(
            inode,
            size,
            state.rows + plan.added,
            min(dates, default=None),
            max(dates, default=None),
            tuple(merged([*state.verified, *known])),
            state.volumes.taking(unit, known, state.verified),
            state.terms,
            stale=True,
        )

    def prepare(self, terms: Terms, unit: VolumeUnit | None) -> None:
        """Have the meta file say what the rows to come cannot say themselves, before they are there."""
        if self.state is None:
            self.append(b"", None, None, [], unit)
        assert self.state is not None
        if self.state.terms != terms:
            self.state = replace(self.state, terms=terms)
            self.write_meta()
            self.files.sync()

    def agree(self, terms: Terms) -> None:
        """The rows are there, and this holds from now on."""
        assert self.state is not None
        if self.state.terms != terms:
            self.state = replace(self.state, terms=terms, stale=True)

    def write_meta(self) -> None:
        """Replace the meta file by the state; durable once the folder is synced."""
        state = self.state
        assert state is not None
        self._put_meta(state)
        self.state = replace(state, stale=False)

    def rebuild(self) -> Repair:
        """Move damaged files aside, and keep the well-formed rows in a fresh data file.

        The meta file gives up the ranges around lost lines before the data file is exchanged, so that a crash in
        between leaves too little verified and never too much.
        """
        disk, path, meta_path = self.files.disk, self.files.data(self.key), self.files.meta(self.key)
        self.forget()
        known, meta_aside = self._known_or_aside(meta_path)
        with self.files.opened(path) as fd:
            if fd is None:
                aside = meta_aside or self._move(meta_path)
                self.files.sync()
                return self._report(aside, 0, 0, known.verified if known else [])
            size = disk.stat(fd)[1]
            view = disk.view(fd, size)
            terms = _terms(known)
            kept, lost, dropped = csvfile.salvage(view, size, terms.grid(self.key), self.present.latest())
            body = b"".join(kept)
            found = csvfile.scan(body, 0, len(body), terms.grid(self.key), line=2)
            had = believed(known.verified, found.runs, self.present()) if known else []
            # Where rows vanished without a trace nothing says which, and only what is there proves itself.
            remaining = had if known and known.rows <= found.rows + dropped else []
            for gone in lost:
                remaining = remove(remaining, gone)
            verified = merged([*remaining, *found.runs])
            aside = self.files.aside(path)
            with self.files.fresh(self.partition, Path(path).name) as (new, temporary):
                disk.write(new, HEADER + body, 0)
                disk.fsync(new)
                inode = disk.stat(new)[0]
                volumes = self._volumes(known, verified)
                ends = (found.first, found.last)
                state = State(inode, START + len(body), found.rows, *ends, tuple(verified), volumes, terms)
                self._put_meta(state)
                self.files.sync()
                disk.link(path, aside)
                disk.rename(temporary, path)
            self.files.sync()
        self.state = state
        gone_ranges = [part for whole in had for part in subtract(whole, verified)]
        return self._report(aside, found.rows, dropped, gone_ranges)

    # -- inside --------------------------------------------------------------------------------------------------

    @contextmanager
    def _open(self, flags: int = os.O_RDONLY) -> Iterator[int]:
        """The data file. Raises CacheFileError where another program removed it."""
        path = self.files.data(self.key)
        with self.files.opened(path, flags) as fd:
            if fd is None:
                raise self.files.refused(self.key, path, "another program removed the file")
            yield fd

    def _checked(self, fd: int | None) -> State | None:
        path, meta_path = self.files.data(self.key), self.files.meta(self.key)
        disk = self.files.disk
        raw = self.files.read(meta_path)
        if fd is None:
            if raw is not None:
                raise self.files.refused(self.key, meta_path, "its data file is missing")
            return None
        inode, size = disk.stat(fd)
        if self._cut is not None and self._cut[0] == inode:
            disk.truncate(fd, self._cut[1])
            size = self._cut[1]
        # A process that was killed may have left bytes that are visible and not yet durable.
        disk.fdatasync(fd)
        self._cut = None
        view = disk.view(fd, size)
        if view[:START] != HEADER:
            raise self.files.refused(self.key, path, f"the first line is not {HEADER.decode().strip()}", 1)
        known: Meta | None = None
        if raw is not None:
            try:
                known = meta.decode(raw, self.key)
            except ValueError as error:
                raise self.files.refused(self.key, meta_path, str(error)) from error
        trusted = known is not None and known.inode == inode and START <= known.bytes <= size
        start, counted, before = START, 0, None
        if known is not None and trusted:
            start, counted = known.bytes, known.rows
            with self._naming_lines(view):
                before = csvfile.date_at(view, csvfile.last_line(view, start)) if start > START else None
        terms = _terms(known)
        found = csvfile.scan(view, start, size, terms.grid(self.key), after=before)
        end = size
        if found.flaws:
            flaw = found.flaws[0]
            if known is None or flaw.offset < known.bytes or not flaw.torn:
                raise self.files.refused(self.key, path, f"it {flaw.message}", flaw.line)
            end = flaw.offset
        rows = counted + found.rows
        if known is not None and rows < known.rows:
            raise self.files.refused(self.key, path, f"{known.rows - rows} of its {known.rows} rows are missing")
        if end < size:
            log.warning(
                "cut off what an interrupted write left",
                **self.key._asdict(),
                path=path,
                bytes=size - end,
                line=flaw.line,
            )
            disk.truncate(fd, end)
            disk.fdatasync(fd)
        verified = merged([*(known.verified if known else ()), *found.runs])
        with self._naming_lines(view):
            first = csvfile.date_at(view, START) if end > START else None
            last = csvfile.date_at(view, csvfile.last_line(view, end)) if end > START else None
        same = known is not None and trusted and known.bytes == end and known.rows == rows
        if is_beyond(verified, present := self.present()):
            runs = csvfile.scan(view, START, end, terms.grid(self.key)).runs
            verified, beyond, same = believed(verified, runs, present), verified[-1].until, False
            log.warning(
                "ranges were verified that have not happened; what their rows do not prove is fetched again",
                **self.key._asdict(),
                path=path,
                until=beyond,
                present=present,
            )
        volumes = self._volumes(known, verified)
        if rows and volumes.unit is None:
            log.warning("nothing says what the volumes of an earlier version count", **self.key._asdict(), path=path)
        return State(inode, end, rows, first, last, tuple(verified), volumes, terms, stale=not same)

    def _volumes(self, known: Meta | None, verified: Sequence[Range]) -> Volumes:
        if known is None:
            return read_volumes(self.key, None, (), verified)
        return read_volumes(self.key, known.volume_unit, known.other_volumes, verified)

    def _create(self, pieces: Sequence[merge.Piece], source: int | None = None) -> tuple[int, int]:
        """Write the data file anew from pieces and put it in place, durably. Its inode and size."""
        disk, path = self.files.disk, self.files.data(self.key)
        with self.files.fresh(self.partition, Path(path).name) as (fd, temporary):
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
        # Before the meta file that speaks of it: nothing else orders two renames.
        self.files.sync()
        return inode, size

    def _put_meta(self, state: State) -> None:
        contents = meta.encode(
            Meta(
                exchange=self.key.exchange,
                symbol=self.key.symbol,
                timeframe=self.key.timeframe,
                verified=list(state.verified),
                rows=state.rows,
                bytes=state.size,
                inode=state.inode,
                volume_unit=state.volumes.unit,
                other_volumes=list(state.volumes.unproven),
                unsettled=list(state.terms.unsettled),
                opens_at=state.terms.opens_at,
            )
        )
        self.files.replace(self.partition, self.files.meta(self.key), contents)

    def _known_or_aside(self, meta_path: str) -> tuple[Meta | None, str]:
        raw = self.files.read(meta_path)
        if raw is None:
            return None, ""
        try:
            return meta.decode(raw, self.key), ""
        except ValueError:
            return None, self._move(meta_path)

    def _move(self, path: str) -> str:
        aside = self.files.aside(path)
        self.files.disk.rename(path, aside)
        return aside

    def _report(self, moved_to: str, rows: int, dropped: int, unverified: Sequence[Range]) -> Repair:
        return Repair(
            exchange=self.key.exchange,
            symbol=self.key.symbol,
            timeframe=self.key.timeframe,
            moved_to=moved_to,
            rows_kept=rows,
            lines_dropped=dropped,
            unverified=list(unverified),
        )

    @contextmanager
    def _naming_lines(self, view: Buffer) -> Iterator[None]:
        try:
            yield
        except MalformedLine as error:
            raise refused_line(self.files, self.key, view, error) from error


def _terms(known: Meta | None) -> Terms:
    return Terms() if known is None else Terms(known.opens_at, tuple(known.unsettled))
