"""Making a damaged data file anew from what is good in it. The caller holds the partition's lock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tickwire.cache import meta_file
from tickwire.cache.atomic_files import Files
from tickwire.cache.candle_rows import HEADER
from tickwire.cache.csv_bytes import START, Scan, scan
from tickwire.cache.disk import Buffer
from tickwire.cache.foreign_csv import Ambiguous
from tickwire.cache.future_guard import Present, believed
from tickwire.cache.key_state import State, meta_of, terms_of, volumes_of
from tickwire.cache.meta_file import Meta
from tickwire.cache.salvage import Salvaged, salvage
from tickwire.errors import CacheFileError
from tickwire.model.messages import Repair
from tickwire.model.ranges import Range, remove, subtract
from tickwire.model.ranges import merge as merged
from tickwire.model.subjects import Key
from tickwire.model.timeframes import Grid


def rebuilt(files: Files, partition: int, key: Key, present: Present) -> tuple[State | None, Repair]:
    """Move damaged files aside, and keep the rows that can be read exactly in a fresh data file.

    The meta file gives up the ranges around lost lines before the data file is exchanged, so that a crash in
    between leaves too little verified and never too much. Returns the state, None where no data file is left, and what
    was done. Raises OSError; CacheFileError, with the data file as it was, where it can be read in more than one way.
    """
    disk, path, meta_path = files.disk, files.data(key), files.meta(key)
    known, meta_aside = _known_or_aside(files, key, meta_path)
    with files.opened(path) as fd:
        if fd is None:
            aside = meta_aside or _move(files, meta_path)
            files.sync()
            return None, _report(key, aside, 0, Salvaged(), known.verified if known else [])
        size = disk.stat(fd)[1]
        view = disk.view(fd, size)
        terms = terms_of(known)
        aside = files.aside(path)
        with files.fresh(partition, Path(path).name) as (new, temporary):
            kept, found = _salvaged(files, key, view, new, terms.grid(key), present.latest())
            had = believed(known.verified, found.runs, present()) if known else []
            # Where rows vanished without a trace nothing says which, and only what is there proves itself.
            remaining = had if known and known.rows <= found.rows + kept.dropped else []
            for gone in kept.lost:
                remaining = remove(remaining, gone)
            verified = merged([*remaining, *found.runs])
            disk.fsync(new)
            inode, written = disk.stat(new)
            volumes = volumes_of(key, known, verified)
            ends = (found.first, found.last)
            state = State(inode, written, found.rows, *ends, tuple(verified), volumes, terms)
            files.replace(partition, meta_path, meta_of(key, state))
            files.sync()
            disk.link(path, aside)
            disk.rename(temporary, path)
        files.sync()
    gone_ranges = [part for whole in had for part in subtract(whole, verified)]
    return state, _report(key, aside, found.rows, kept, gone_ranges)


def _salvaged(files: Files, key: Key, view: Buffer, fd: int, grid: Grid, latest: int) -> tuple[Salvaged, Scan]:
    """Write the rows that can be kept to `fd`; what was kept, and what is there now."""
    disk, size = files.disk, START
    disk.write(fd, HEADER, 0)

    def keep(lines: bytes) -> None:
        nonlocal size
        disk.write(fd, lines, size)
        size += len(lines)

    try:
        kept = salvage(view, len(view), grid, keep, latest)
    except Ambiguous as error:
        raise CacheFileError(
            f"{files.data(key)}, line {error.line}: {error.message}",
            "save it with decimal points and times in milliseconds, or remove it and fetch its candles again",
            path=files.data(key),
            line=error.line,
        ) from error
    return kept, scan(disk.view(fd, size), START, size, grid, line=2)


def _known_or_aside(files: Files, key: Key, meta_path: str) -> tuple[Meta | None, str]:
    raw = files.read(meta_path)
    if raw is None:
        return None, ""
    try:
        return meta_file.decode(raw, key), ""
    except ValueError:
        return None, _move(files, meta_path)


def _move(files: Files, path: str) -> str:
    aside = files.aside(path)
    files.disk.rename(path, aside)
    return aside


def _report(key: Key, moved_to: str, rows: int, kept: Salvaged, unverified: Sequence[Range]) -> Repair:
    return Repair(
        exchange=key.exchange,
        symbol=key.symbol,
        timeframe=key.timeframe,
        moved_to=moved_to,
        rows_kept=rows,
        lines_dropped=kept.dropped,
        problems=kept.problems,
        unverified=list(unverified),
    )
