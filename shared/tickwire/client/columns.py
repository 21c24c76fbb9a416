"""Candles from the cache in columns: requested as MessagePack, a chunk at a time."""

from __future__ import annotations

import sys
from array import array
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import msgspec

from tickwire.bus.connection import Bus
from tickwire.model.messages import CandleColumns, CandlesRequest, Row
from tickwire.model.subjects import Key

_decode = msgspec.msgpack.Decoder(CandleColumns).decode


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
    """Chunks of the reply to a request for columns; waits for an absent cache."""
    found = bus.service_wait.items(lambda: bus.request_chunks("cache.get", request, _decode))
    async with aclosing(found) as parts:
        async for part in parts:
            yield part
