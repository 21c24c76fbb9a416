"""Checks the files of a key before they are used. The caller holds the partition's lock."""

from __future__ import annotations

from dataclasses import dataclass

from tickwire.cache import csv_bytes, meta_file
from tickwire.cache.cache_folder import CacheFolder
from tickwire.cache.candle_rows import HEADER
from tickwire.cache.csv_bytes import START, ScanResult
from tickwire.cache.disk import Buffer
from tickwire.cache.future_guard import WallClock, reaches_future, without_future
from tickwire.cache.key_snapshot import refusing_malformed_lines
from tickwire.cache.key_state import KeyState, facts_of, volumes_of
from tickwire.cache.meta_file import Meta
from tickwire.model.ranges import Range
from tickwire.model.ranges import merge as merged
from tickwire.model.subjects import Key
from tickwire.observe import logs

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class _Opened:
    """The files of a key as they are found. `trusted`: `meta` is about this very data file."""

    folder: CacheFolder
    key: Key
    fd: int
    inode: int
    view: Buffer
    meta: Meta | None
    trusted: bool

    @property
    def path(self) -> str:
        return self.folder.data(self.key)


def checked(folder: CacheFolder, key: Key, fd: int | None, clock: WallClock) -> KeyState | None:
    """The state of the data file open at `fd`, None where the key has no files; torn bytes are cut off.

    Raises OSError and CacheFileError.
    """
    raw = folder.read(folder.meta(key))
    if fd is None:
        if raw is not None:
            raise folder.refused(key, folder.meta(key), "its data file is missing")
        return None
    opened = _opened(folder, key, fd, raw)
    meta, view = opened.meta, opened.view
    rows, end, runs = _sound_rows(opened)
    with refusing_malformed_lines(folder, key, view):
        first = csv_bytes.date_at(view, START) if end > START else None
        last = csv_bytes.date_at(view, csv_bytes.last_line(view, end)) if end > START else None
    stale = meta is None or not opened.trusted or meta.bytes != end or meta.rows != rows
    verified = merged([*(meta.verified if meta else ()), *runs])
    if reaches_future(verified, now := clock.now()):
        verified, stale = _plausible(opened, end, verified, now), True
    volumes = volumes_of(key, meta, verified)
    if rows and volumes.unit is None:
        log.warning("an earlier version did not state the unit of volumes", **key._asdict(), path=opened.path)
    return KeyState(opened.inode, end, rows, first, last, tuple(verified), volumes, facts_of(meta), stale=stale)


def _opened(folder: CacheFolder, key: Key, fd: int, raw: bytes | None) -> _Opened:
    inode, size = folder.disk.stat(fd)
    view = folder.disk.view(fd, size)
    if view[:START] != HEADER:
        raise folder.refused(key, folder.data(key), f"the first line is not {HEADER.decode().strip()}", 1)
    if raw is None:
        return _Opened(folder, key, fd, inode, view, None, trusted=False)
    try:
        meta = meta_file.decode(raw, key)
    except ValueError as error:
        raise folder.refused(key, folder.meta(key), str(error)) from error
    return _Opened(folder, key, fd, inode, view, meta, trusted=meta.inode == inode and START <= meta.bytes <= size)


def _sound_rows(opened: _Opened) -> tuple[int, int, list[Range]]:
    """How many rows the file has, where they end, and the runs of those that are read: behind a trusted meta file."""
    folder, key, view, meta = opened.folder, opened.key, opened.view, opened.meta
    start, counted, before = START, 0, None
    if meta is not None and opened.trusted:
        start, counted = meta.bytes, meta.rows
        with refusing_malformed_lines(folder, key, view):
            before = csv_bytes.date_at(view, csv_bytes.last_line(view, start)) if start > START else None
    found = csv_bytes.scan(view, start, len(view), facts_of(meta).grid(key), after=before)
    end = _before_torn(opened, found)
    rows = counted + found.rows
    if meta is not None and rows < meta.rows:
        raise folder.refused(key, opened.path, f"{meta.rows - rows} of its {meta.rows} rows are missing")
    if end < len(view):
        log.warning(
            "cut off the remains of an interrupted write",
            **key._asdict(),
            path=opened.path,
            bytes=len(view) - end,
            line=found.flaws[0].line,
        )
        folder.disk.truncate(opened.fd, end)
        folder.disk.fdatasync(opened.fd)
    return rows, end, found.runs


def _before_torn(opened: _Opened, found: ScanResult) -> int:
    """The end of the sound rows. Raises CacheFileError for a flaw that no interrupted write can have left."""
    if not found.flaws:
        return len(opened.view)
    flaw = found.flaws[0]
    if opened.meta is None or flaw.offset < opened.meta.bytes or not flaw.torn:
        raise opened.folder.refused(opened.key, opened.path, f"it {flaw.message}", flaw.line)
    return flaw.offset


def _plausible(opened: _Opened, end: int, verified: list[Range], now: int) -> list[Range]:
    runs = csv_bytes.scan(opened.view, START, end, facts_of(opened.meta).grid(opened.key)).runs
    log.warning(
        "ranges in the future were verified; the parts that their rows do not prove are fetched again",
        **opened.key._asdict(),
        path=opened.path,
        until=verified[-1].until,
        present=now,
    )
    return without_future(verified, runs, now)
