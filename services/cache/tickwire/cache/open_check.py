"""Checking the files of a key before they are used. The caller holds the partition's lock."""

from __future__ import annotations

from tickwire.cache import csv_bytes, meta_file
from tickwire.cache.atomic_files import Files
from tickwire.cache.candle_rows import HEADER
from tickwire.cache.csv_bytes import START
from tickwire.cache.future_guard import Present, believed, is_beyond
from tickwire.cache.key_reader import naming_lines
from tickwire.cache.key_state import State, terms_of, volumes_of
from tickwire.cache.meta_file import Meta
from tickwire.model.ranges import merge as merged
from tickwire.model.subjects import Key
from tickwire.observe import logs

log = logs.get(__name__)


def checked(files: Files, key: Key, fd: int | None, present: Present) -> State | None:
    """The state of the data file open at `fd`, None where the key has no files; torn bytes are cut off.

    Raises OSError and CacheFileError.
    """
    path, meta_path = files.data(key), files.meta(key)
    disk = files.disk
    raw = files.read(meta_path)
    if fd is None:
        if raw is not None:
            raise files.refused(key, meta_path, "its data file is missing")
        return None
    inode, size = disk.stat(fd)
    view = disk.view(fd, size)
    if view[:START] != HEADER:
        raise files.refused(key, path, f"the first line is not {HEADER.decode().strip()}", 1)
    known: Meta | None = None
    if raw is not None:
        try:
            known = meta_file.decode(raw, key)
        except ValueError as error:
            raise files.refused(key, meta_path, str(error)) from error
    trusted = known is not None and known.inode == inode and START <= known.bytes <= size
    start, counted, before = START, 0, None
    if known is not None and trusted:
        start, counted = known.bytes, known.rows
        with naming_lines(files, key, view):
            before = csv_bytes.date_at(view, csv_bytes.last_line(view, start)) if start > START else None
    terms = terms_of(known)
    found = csv_bytes.scan(view, start, size, terms.grid(key), after=before)
    end = size
    if found.flaws:
        flaw = found.flaws[0]
        if known is None or flaw.offset < known.bytes or not flaw.torn:
            raise files.refused(key, path, f"it {flaw.message}", flaw.line)
        end = flaw.offset
    rows = counted + found.rows
    if known is not None and rows < known.rows:
        raise files.refused(key, path, f"{known.rows - rows} of its {known.rows} rows are missing")
    if end < size:
        log.warning(
            "cut off what an interrupted write left",
            **key._asdict(),
            path=path,
            bytes=size - end,
            line=flaw.line,
        )
        disk.truncate(fd, end)
        disk.fdatasync(fd)
    verified = merged([*(known.verified if known else ()), *found.runs])
    with naming_lines(files, key, view):
        first = csv_bytes.date_at(view, START) if end > START else None
        last = csv_bytes.date_at(view, csv_bytes.last_line(view, end)) if end > START else None
    same = known is not None and trusted and known.bytes == end and known.rows == rows
    if is_beyond(verified, now := present()):
        runs = csv_bytes.scan(view, START, end, terms.grid(key)).runs
        verified, beyond, same = believed(verified, runs, now), verified[-1].until, False
        log.warning(
            "ranges were verified that have not happened; what their rows do not prove is fetched again",
            **key._asdict(),
            path=path,
            until=beyond,
            present=now,
        )
    volumes = volumes_of(key, known, verified)
    if rows and volumes.unit is None:
        log.warning("nothing says what the volumes of an earlier version count", **key._asdict(), path=path)
    return State(inode, end, rows, first, last, tuple(verified), volumes, terms, stale=not same)
