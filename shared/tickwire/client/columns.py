"""Candles from the cache in columns: requested as MessagePack, a page of so many rows at a time.

The broker keeps what a reader has not taken yet, and ends the connection of one that is 64 MiB behind. So the next page
is requested when the one before was taken: no more than that is on its way (docs/decisions/0034).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import msgspec

from tickwire.bus.connection import Bus
from tickwire.model.feeds import Candle
from tickwire.model.messages import CandleColumns, CandlesRequest, Row, VolumeUnit
from tickwire.model.subjects import Key

PAGE_ROWS = 200_000
"""Rows of one reply: 9.6 MB, if the cache cannot pack them; several replies may come over one connection."""
_decode = msgspec.msgpack.Decoder(CandleColumns).decode


def candle_of(key: Key, row: Row, volume_unit: VolumeUnit | None = None) -> Candle:
    """The closed candle of a cached row, whose trades were not counted."""
    timestamp, open_, high, low, close, volume = row
    return Candle(
        exchange=key.exchange,
        symbol=key.symbol,
        timeframe=key.timeframe,
        timestamp=timestamp,
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        trades=0,
        closed=True,
        complete=True,
        volume_unit=volume_unit,
    )


def rows_of(columns: CandleColumns) -> Iterator[Row]:
    """The rows of a chunk that is not compact."""
    dates = array("q")
    dates.frombytes(columns.dates)
    floats = [array("d") for _ in range(5)]
    for values, data in zip(
        floats, (columns.opens, columns.highs, columns.lows, columns.closes, columns.volumes), strict=True
    ):
        values.frombytes(data)
    if sys.byteorder == "big":
        dates.byteswap()
        for each in floats:
            each.byteswap()
    return zip(dates, *floats, strict=True)


def chunks(
    bus: Bus, key: Key, since: int | None, until: int | None, limit: int | None, *, last: bool = False
) -> AsyncGenerator[CandleColumns, None]:
    """Chunks of a key's candles, of the first `limit` or with `last` the newest; waits for an absent cache."""
    request = CandlesRequest(**key._asdict(), since=since, until=until, limit=limit, last=last, format="columns")
    return requested(bus, request)


async def requested(bus: Bus, request: CandlesRequest) -> AsyncGenerator[CandleColumns, None]:
    """Chunks of what a request for columns selects, at least one; waits for an absent cache.

    Each page is of the file as it is then. Raises as `Bus.request_chunks` does.
    """
    left = sys.maxsize if request.limit is None else request.limit
    if request.last and left > PAGE_ROWS:
        request = msgspec.structs.replace(request, since=await _begin_of_last(bus, request, left), last=False)
    is_first = True
    while True:
        limit = min(left, PAGE_ROWS)
        rows, newest = 0, None
        async with aclosing(_reply(bus, msgspec.structs.replace(request, limit=limit))) as parts:
            async for part in parts:
                if part.count:
                    rows, newest = rows + part.count, _last_date(part)
                if part.count or is_first:
                    yield part
                is_first = False
        left -= rows
        if rows < limit or not left or newest is None:
            return
        request = msgspec.structs.replace(request, since=newest + 1)


async def _begin_of_last(bus: Bus, request: CandlesRequest, rows: int) -> int | None:
    """When the newest `rows` rows that a request selects begin; its own `since` if it selects no more."""
    until = request.until
    while rows:
        limit, count, first = min(rows, PAGE_ROWS), 0, None
        page = msgspec.structs.replace(request, until=until, limit=limit, compact=True)
        async with aclosing(_reply(bus, page)) as parts:
            async for part in parts:
                count += part.count
                first = _first_date(part) if first is None and part.count else first
        if count < limit or first is None:
            return request.since
        until, rows = first, rows - limit
    return until


def _reply(bus: Bus, request: CandlesRequest) -> AsyncGenerator[CandleColumns, None]:
    return bus.service_wait.items(lambda: bus.request_chunks("cache.get", request, _decode))


def _first_date(part: CandleColumns) -> int:
    return int.from_bytes(part.dates[:8], "little", signed=True)


def _last_date(part: CandleColumns) -> int:
    if part.step:
        return _first_date(part) + part.step * (part.count - 1)
    return int.from_bytes(part.dates[-8:], "little", signed=True)
