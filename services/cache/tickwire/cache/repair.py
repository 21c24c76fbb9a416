"""Rebuilds a damaged data file from its well-formed rows. The caller holds the partition's lock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tickwire.cache import meta_file, provenance
from tickwire.cache.cache_folder import CacheFolder
from tickwire.cache.candle_rows import HEADER
from tickwire.cache.csv_bytes import START, ScanResult, scan
from tickwire.cache.disk import Buffer
from tickwire.cache.foreign_csv import AmbiguousFile
from tickwire.cache.future_guard import WallClock, without_future
from tickwire.cache.key_state import KeyState, facts_of, meta_of, volumes_of
from tickwire.cache.meta_file import Meta
from tickwire.cache.salvage import SalvageResult, salvage
from tickwire.errors import CacheFileError
from tickwire.model.messages import Repair
from tickwire.model.ranges import Range, remove, subtract
from tickwire.model.ranges import merge as merged
from tickwire.model.subjects import Key
from tickwire.model.timeframes import Grid


def rebuilt(folder: CacheFolder, partition: int, key: Key, clock: WallClock) -> tuple[KeyState | None, Repair]:
    """Move damaged files aside, and keep the rows that can be read exactly in a new data file.

    The ranges around lost lines are removed from the meta file before the data file is replaced, so a crash in between
    leaves too little verified, never too much. Returns the state, None if no data file is left, and the report. Raises
    OSError; CacheFileError, with the data file unchanged, if the file can be read in more than one way.
    """
    disk, path, meta_path = folder.disk, folder.data(key), folder.meta(key)
    known, meta_aside = _known_or_aside(folder, key, meta_path)
    with folder.opened(path) as fd:
        if fd is None:
            aside = meta_aside or _move(folder, meta_path)
            folder.sync()
            return None, _report(key, aside, 0, SalvageResult(), known.verified if known else [])
        size = disk.stat(fd)[1]
        view = disk.view(fd, size)
        facts = facts_of(known)
        aside = folder.aside(path)
        with folder.fresh(partition, Path(path).name) as (new, temporary):
            kept, found = _salvaged(folder, key, view, new, facts.grid(key), clock.latest())
            had = without_future(known.verified, found.runs, clock.now()) if known else []
            # If rows vanished without a trace it is unknown which: only the ranges that rows prove remain.
            remaining = had if known and known.rows <= found.rows + kept.dropped else []
            for gone in kept.lost:
                remaining = remove(remaining, gone)
            verified = merged([*remaining, *found.runs])
            disk.fsync(new)
            inode, written = disk.stat(new)
            volumes = volumes_of(key, known, verified)
            ends = (found.first, found.last)
            # Rows that no range of the file before knew, or that are near what was lost, may be from anywhere.
            facts = msgspec.structs.replace(facts, provenance=provenance.within(facts.provenance, remaining))
            state = KeyState(inode, written, found.rows, *ends, tuple(verified), volumes, facts)
            folder.replace(partition, meta_path, meta_of(key, state))
            folder.sync()
            disk.link(path, aside)
            disk.rename(temporary, path)
        folder.sync()
    gone_ranges = [part for whole in had for part in subtract(whole, verified)]
    return state, _report(key, aside, found.rows, kept, gone_ranges)


def sound(key: Key, rows: int) -> Repair:
    """The report of a key whose files need no repair."""
    return _report(key, "", rows, SalvageResult(), [])


def _salvaged(
    folder: CacheFolder, key: Key, view: Buffer, fd: int, grid: Grid, latest: int
) -> tuple[SalvageResult, ScanResult]:
    """Write the rows that can be kept to `fd`; returns the result, and a scan of the new file."""
    disk, size = folder.disk, START
    disk.write(fd, HEADER, 0)

    def keep(lines: bytes) -> None:
        nonlocal size
        disk.write(fd, lines, size)
        size += len(lines)

    try:
        kept = salvage(view, len(view), grid, keep, latest)
    except AmbiguousFile as error:
        raise CacheFileError(
            f"{folder.data(key)}, line {error.line}: {error.message}",
            "save it with decimal points and times in milliseconds, or remove it and fetch its candles again",
            path=folder.data(key),
            line=error.line,
        ) from error
    return kept, scan(disk.view(fd, size), START, size, grid)


def _known_or_aside(folder: CacheFolder, key: Key, meta_path: str) -> tuple[Meta | None, str]:
    raw = folder.read(meta_path)
    if raw is None:
        return None, ""
    try:
        return meta_file.decode(raw, key), ""
    except ValueError:
        return None, _move(folder, meta_path)


def _move(folder: CacheFolder, path: str) -> str:
    aside = folder.aside(path)
    folder.disk.rename(path, aside)
    return aside


def _report(key: Key, moved_to: str, rows: int, kept: SalvageResult, unverified: Sequence[Range]) -> Repair:
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
