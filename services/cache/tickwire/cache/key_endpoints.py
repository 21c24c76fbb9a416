"""What the owner of a partition answers to requests about keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from tickwire.bus.service import Call
from tickwire.cache import archive_comparison, provenance, replies
from tickwire.cache.key_snapshot import KeySnapshot
from tickwire.cache.partition import Partition
from tickwire.cache.quiet_ranges import quiet_ranges
from tickwire.cache.store import Store
from tickwire.errors import BadRequest, CacheFileError, NotCached, StorageError
from tickwire.model import timeframes
from tickwire.model.messages import CacheList, CandlesRequest, Coverage, KeyRequest, ListRequest, Repair, Verification
from tickwire.model.ranges import Range, clip
from tickwire.model.subjects import Key

VERIFIED_RANGES = 20_000
"""Most verified ranges in one reply, about 600 KB of JSON; the broker's limit for a message is 1 MiB."""


async def _get(partition: Partition, request: CandlesRequest, call: Call) -> None:
    if request.since is not None and request.until is not None and request.since > request.until:
        raise BadRequest(f"since {request.since} is after until {request.until}", "swap them")
    key = request.key
    store = await _flushed(partition, [key])
    # Taken in the partition's thread, so not during a splice; read in another thread, so that no splice waits.
    with await partition.run(lambda: store.snapshot(key)) as snapshot:
        bounds = request.since, request.until, request.limit
        if request.format == "columns":
            tables = snapshot.tables(*bounds, last=request.last)
            chunks = replies.as_columns(key, tables, compact=request.compact)
        else:
            chunks = replies.as_rows(key, snapshot.checked_pieces(*bounds, last=request.last))
        # One at a time: a range of years is neither held in memory nor converted at once.
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            await call.reply(chunk)
    partition.keep_columns(key, snapshot.parsed, snapshot.wrong_record)


async def _coverage(partition: Partition, request: KeyRequest, _call: Call) -> Coverage:
    key = request.key
    store = await _flushed(partition, [key])
    if partition.trouble is not None:
        # A client that asks for the coverage is about to fetch what is missing, which could not be stored.
        raise partition.trouble
    part = request.quiet or request.since is not None or request.until is not None
    try:
        # The snapshot last: a failure after it would leave it open.
        coverage, snapshot = await partition.run(lambda: (store.coverage(key), store.snapshot(key) if part else None))
    except NotCached:
        return Coverage(exchange=key.exchange, symbol=key.symbol, timeframe=key.timeframe)
    if snapshot is not None:
        coverage = await asyncio.to_thread(_within, snapshot, coverage, request)
        partition.keep_columns(key, snapshot.parsed, snapshot.wrong_record)
    if len(coverage.verified) > VERIFIED_RANGES:
        raise replies.too_many_ranges(coverage)
    return coverage


def _within(snapshot: KeySnapshot, whole: Coverage, request: KeyRequest) -> Coverage:
    """The coverage of a part of a key: `rows`, `holes`, `verified`, `quiet` of that part alone. Closes the snapshot."""
    ends = [whole.verified[-1].until] if whole.verified else []
    ends += [whole.last + 1] if whole.last is not None else []
    since = 0 if request.since is None else request.since
    until = max([since, *ends]) if request.until is None else request.until
    verified = clip(whole.verified, Range(since, until))
    rows, quiet = whole.rows, whole.quiet
    with snapshot:
        if whole.first is not None and whole.last is not None and (since > whole.first or until <= whole.last):
            rows = sum(piece.count(b"\n") for piece in snapshot.pieces(since, until))
        if request.quiet:
            length = timeframes.duration_ms(whole.timeframe)
            tables = (each.unpacked() for each in snapshot.tables(since - length + 1, until))
            quiet = quiet_ranges(tables, length, Range(since, until), verified)
    grid = timeframes.grid(whole.timeframe, whole.opens_at)
    holes = max(0, sum(grid.count(*each) for each in verified) - rows)
    origins = provenance.clipped(whole.provenance, Range(since, until))
    return msgspec.structs.replace(whole, verified=verified, rows=rows, holes=holes, quiet=quiet, provenance=origins)


async def _compare(partition: Partition, request: KeyRequest, call: Call) -> None:
    async for chunk in archive_comparison.answer(partition, request):
        await call.reply(chunk)


async def _verify(partition: Partition, request: KeyRequest, _call: Call) -> Verification:
    store = await _flushed(partition, [request.key])
    return await partition.run(lambda: store.verify(request.key))


async def _repair(partition: Partition, request: KeyRequest, _call: Call) -> Repair:
    store = await _flushed(partition, [request.key])
    return await partition.run(lambda: store.repair(request.key))


def listing(store: Store, exchange: str | None = None) -> tuple[list[Coverage], list[str]]:
    """The coverage of every key of a store, and one line for each file that is refused."""
    covered: list[Coverage] = []
    damaged: list[str] = []
    cached = store.keys()
    for key in cached:
        if exchange is None or key.exchange == exchange:
            try:
                covered.append(store.coverage(key))
            except NotCached:
                continue
            except (CacheFileError, StorageError) as error:
                damaged.append(str(error))
    return covered, damaged


async def listed(partition: Partition, request: ListRequest) -> CacheList:
    """The listing of one partition."""
    store = await _flushed(partition, None)
    keys, damaged = await partition.run(lambda: listing(store, request.exchange))
    return CacheList(keys=keys, damaged=damaged)


async def reply_list(keys: list[Coverage], damaged: list[str], call: Call) -> None:
    """Reply with a listing, in chunks."""
    chunks = replies.as_list(keys, damaged)
    # Thousands of keys with thousands of ranges each take seconds.
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        await call.reply(chunk)


async def _flushed(partition: Partition, keys: Sequence[Key] | None) -> Store:
    """The partition's store, after splicing the pages that wait for these keys (default: all), if the disk allows."""
    store = await partition.ready()
    with suppress(StorageError):
        await partition.flush(store.waiting if keys is None else keys)
    return store


Handler = Callable[[Partition, Any, Call], Awaitable[Struct | None]]
BY_NAME: dict[str, tuple[type[Any], Handler]] = {
    "get": (CandlesRequest, _get),
    "coverage": (KeyRequest, _coverage),
    "compare": (KeyRequest, _compare),
    "verify": (KeyRequest, _verify),
    "repair": (KeyRequest, _repair),
}
"""The endpoints about one key, by name: type of the request, handler of the owner."""
