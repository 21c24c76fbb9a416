"""Compares rows of a key with those that the archive rebuilds from its trades.

| subject | here | what |
|---|---|---|
| `archive.days` | requested | which days of a feed are certified as complete |
| `archive.bars` | requested | candles rebuilt from the trades of these days |
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from tickwire.bus.connection import Bus
from tickwire.cache import audit_windows, rebuilt_rows
from tickwire.cache.metrics import CacheMetrics
from tickwire.cache.partition import Partition
from tickwire.cache.rebuilt_rows import Compared, Rebuilt
from tickwire.errors import BadRequest, Fenced, NoSuchService, NotArchived
from tickwire.model import messages
from tickwire.model.messages import (
    ArchivedBars,
    ArchivedBarsRequest,
    ArchivedDays,
    Certificate,
    Comparison,
    DaysRequest,
    KeyRequest,
    Row,
)
from tickwire.model.ranges import Range, clip, common, merge
from tickwire.model.subjects import Key
from tickwire.model.timeframes import Grid
from tickwire.model.times import LATEST_MS
from tickwire.observe import logs
from tickwire.venues.registry import profile_of
from tickwire.venues.units import kind_by_symbol

log = logs.get(__name__)

T = TypeVar("T")

ANSWER_S = 60.0
"""Time limit for a chunk of the archive's reply: an object store may be slow."""
ROWS = 100_000
"""Of a timeframe with more than half as many candles a day, less than a day is compared at once."""
LISTED = 100
"""Differences that a chunk of `cache.compare` lists; all are counted."""
LOGGED = 10
"""Differences of one comparison that are logged."""


def made_of_trades(key: Key) -> bool | None:
    """Whether the candles of a key are those of the exchange's public trades; None if that is not known."""
    kind = kind_by_symbol(key.symbol)
    return None if kind is None else profile_of(key.exchange).candles.of_trades.get(kind)


def windows(key: Key, grid: Grid, wanted: list[Range]) -> list[Range]:
    """The parts of `wanted` that are compared one by one."""
    return rebuilt_rows.windows(grid, wanted, audit_windows.length_ms(key.timeframe, ROWS))


async def certified_days(bus: Bus, exchange: str, symbol: str, span: Range) -> list[Certificate]:
    """The days of a feed with a time in `span` that are certified as complete.

    Raises NotArchived, NoSuchService, RequestTimeout, StorageError, BrokerUnavailable.
    """
    request = DaysRequest(exchange=exchange, symbol=symbol, since=span.since, until=span.until)
    decode = partial(messages.decode, kind=ArchivedDays)
    found: list[Certificate] = []
    async with aclosing(bus.request_chunks("archive.days", request, decode, timeout_s=ANSWER_S)) as chunks:
        async for chunk in chunks:
            found += [each for each in chunk.days if each.condition == "complete"]
    return found


def days_of(found: Iterable[Certificate]) -> list[Range]:
    """The days of certificates, ascending and apart. Raises BadRequest."""
    return merge([day_of(each.date) for each in found])


def day_of(date: str) -> Range:
    """The times of a day, `2026-03-27`. Raises BadRequest."""
    try:
        begin = int(datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError as error:
        raise BadRequest(f"{date[:20]!r} is no day", "write it as 2026-03-27") from error
    return Range(begin, begin + audit_windows.DAY_MS)


async def compare(partition: Partition, key: Key, grid: Grid, window: Range, as_of: int = 0) -> Compared:
    """Compare a window of a key, note the result in its meta file, and name what differs.

    `as_of` as in `rebuilt_rows.compare`. Raises Fenced, NotCached, CacheFileError, and as `certified_days` does.
    """
    rebuilt = await _while_owned(partition, _rebuilt(partition.bus, key, grid, window))
    await partition.flush([key])
    store = await partition.ready()
    found = await partition.run(lambda: rebuilt_rows.compare(key, store, rebuilt, as_of))
    _report(partition.metrics, key, found)
    return found


async def forget(partition: Partition, key: Key, day: Range) -> None:
    """Forget that a day of a key was compared. Raises Fenced, NotCached, CacheFileError, StorageError."""
    store = await partition.ready()
    await partition.run(lambda: store.mark(key, lambda facts: rebuilt_rows.reopened(key, facts, day)))


async def _while_owned(partition: Partition, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, given up with the partition: the archive may take minutes. Raises Fenced then."""
    working = asyncio.ensure_future(work)
    try:
        while not working.done():
            changed = asyncio.ensure_future(partition.changed.wait())
            if not partition.owned:
                raise Fenced(f"partition {partition.number} is not held any more")
            try:
                await asyncio.wait({working, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
        return working.result()
    finally:
        if not working.done():
            working.cancel()
            await asyncio.wait({working})


async def _rebuilt(bus: Bus, key: Key, grid: Grid, window: Range) -> Rebuilt:
    request = ArchivedBarsRequest(**key._asdict(), since=window.since, until=window.until, opens_at=grid.opens_at)
    decode = partial(messages.decode, kind=ArchivedBars)
    rows: list[Row] = []
    found = Rebuilt(rows, [])
    async with aclosing(bus.request_chunks("archive.bars", request, decode, timeout_s=ANSWER_S)) as chunks:
        async for chunk in chunks:
            rows += chunk.rows
            found = Rebuilt(rows, clip(chunk.complete, window), chunk.volume_unit, chunk.inverse)
    return found


def _report(metrics: CacheMetrics, key: Key, found: Compared) -> None:
    made = made_of_trades(key)
    metrics.compared.inc(found.rows)
    metrics.differing.labels("yes" if made else "unknown").inc(len(found.differences))
    if not found.differences:
        return
    if not made:
        log.info(
            "candles differ from archived trades; whether they are made of these alone is not known",
            **key._asdict(),
            fields=len(found.differences),
            first=found.differences[0].timestamp,
        )
        return
    unaudited = {
        each.timestamp
        for each in found.differences
        if any(part.since <= each.timestamp < part.until for part in found.unaudited)
    }
    for each in found.differences[:LOGGED]:
        said = "an audit is to decide" if each.timestamp in unaudited else "it is the exchange's own, and stays"
        log.warning(
            f"a candle differs from the archived trades; {said}",
            **key._asdict(),
            timestamp=each.timestamp,
            field=each.field,
            cached=each.cached,
            rebuilt=each.rebuilt,
        )
    if len(found.differences) > LOGGED:
        log.warning(
            "more candles differ from the archived trades", **key._asdict(), more=len(found.differences) - LOGGED
        )


async def answer(partition: Partition, request: KeyRequest) -> AsyncIterator[Comparison]:
    """The chunks of the reply to `cache.compare`. Raises as `compare` does, and BadRequest."""
    key = request.key
    span = Range(request.since or 0, LATEST_MS if request.until is None else request.until)
    if span.since > span.until:
        raise BadRequest(f"since {span.since} is after until {span.until}", "swap them")
    store = await partition.ready()
    await partition.flush([key])
    coverage = await partition.run(lambda: store.coverage(key))
    grid = await partition.run(lambda: store.ensure(key).facts.grid(key))
    verified = clip(coverage.verified, span)
    made = made_of_trades(key)
    wanted, remarks = await _wanted(partition, key, grid, verified) if made is not False else ([], [_other_trades(key)])
    taped = common(verified, coverage.provenance.tape)
    if taped:
        remarks.append(f"built from the tape and not audited yet: {sum(grid.count(*each) for each in taped):,} candles")
    number = 0
    for window in windows(key, grid, common(wanted, rebuilt_rows.untaped(verified, coverage.provenance))):
        found = await compare(partition, key, grid, window)
        yield Comparison(
            **key._asdict(),
            compared=found.ranges,
            rows=found.rows,
            difference_count=len(found.differences),
            differences=found.differences[:LISTED],
            volumes=found.volumes,
            made_of_trades=made,
            chunk=number,
            more=True,
        )
        number += 1
    yield Comparison(**key._asdict(), made_of_trades=made, remarks=remarks, chunk=number)


def _other_trades(key: Key) -> str:
    return f"not comparable: {key.exchange} does not make its candles of its public trades alone"


async def _wanted(partition: Partition, key: Key, grid: Grid, verified: list[Range]) -> tuple[list[Range], list[str]]:
    """The ranges that the archive can rebuild, and remarks why there are none."""
    if not verified:
        return [], ["nothing of that range is cached and settled"]
    span = Range(verified[0].since, verified[-1].until)
    try:
        listed = certified_days(partition.bus, key.exchange, key.symbol, span)
        days = days_of(await _while_owned(partition, listed))
    except NoSuchService:
        return [], ["not compared with archived trades: no archive runs"]
    except NotArchived as error:
        return [], [f"not compared with archived trades: {error.message}"]
    found = rebuilt_rows.whole_candles(grid, days)
    return found, [] if found else ["not compared with archived trades: no day of it is certified as complete"]
