"""Candles are requested in pages, so that a slow reader of many keeps its connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cache.served import KEY, MINUTE, answering, candles, page, running, store
from tickwire.bus.connection import Bus, connect
from tickwire.client import columns
from tickwire.client.columns import PAGE_ROWS, rows_of
from tickwire.errors import RequestTimeout
from tickwire.model import subjects
from tickwire.model.messages import CandleColumns
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

ROWS = 2_350_000
"""113 MB as columns: more than the 64 MiB that a broker keeps for a reader. The last page is not full."""
decode = partial(msgspec.msgpack.decode, type=CandleColumns)


class SlowReader:
    """A connection whose socket is read only when the test says so."""

    def __init__(self, bus: Bus, others: Bus) -> None:
        self.bus = bus
        self._took = 0
        self._others = others
        self._socket: Any = bus.client._transport._io_writer.transport  # type: ignore[union-attr]

    async def took(self) -> int:
        """How long the cache took for all requests that it has answered to their end, ns: each adds to it."""
        reply = await self._others.client.request("$SRV.STATS.cache", b"", timeout=60)
        found = json.loads(reply.data)["endpoints"]
        of_get = next(each for each in found if each["subject"] == "cache.get")
        return int(of_get["processing_time"])

    async def read(self, chunks: AsyncGenerator[CandleColumns, None], page_rows: int) -> int:
        """Read chunks, but after the first of each page nothing until the cache has sent all of it; the rows."""
        rows = 0
        async for chunk in chunks:
            if rows % page_rows == 0 and chunk.count:
                async with asyncio.timeout(100):
                    while (took := await self.took()) == self._took:
                        # Again: what reads the socket may have paused it, too, and have resumed it.
                        self._socket.pause_reading()
                        await asyncio.sleep(0.01)
                self._took = took
                self._socket.resume_reading()
            rows += chunk.count
        return rows


@pytest.mark.timeout(300)
async def test_a_slow_reader_of_more_than_the_broker_keeps_has_its_connection(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    folder = tmp_path / "candles"
    folder.mkdir()
    with (folder / f"{subjects.file_stem(KEY)}.csv").open("w") as file:
        file.write("dates,opens,highs,lows,closes,volumes\n")
        file.writelines(f"{n * MINUTE},1.25,{n % 977 + 0.5},0.125,0.5,3.5\n" for n in range(ROWS))
    async with running(broker, folder, lease_s=10.0):
        await answering(bus)
        async with connect(NatsSettings(url=broker), name="slow") as asks:
            slow = SlowReader(asks, bus)
            found = columns.chunks(asks, KEY, None, None, None)
            assert await slow.read(found, PAGE_ROWS) == ROWS
            assert asks.disconnects == 0
            # As one reply, which any program may still request.
            at_once = asks.request_chunks("cache.get", candles(format="columns"), decode, timeout_s=60)
            with pytest.raises(RequestTimeout, match="connection was lost"):
                await slow.read(at_once, ROWS)


async def test_pages_have_the_rows_of_one_reply(
    bus: Bus, broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.client.columns.PAGE_ROWS", 7)
    minutes = [*range(100, 130), *range(140, 151), 200]
    async with running(broker, tmp_path):
        await answering(bus)
        await store(bus, page(minutes))
        for selected in (
            {},
            *(
                {"limit": limit, "last": last}
                for limit in (0, 1, 6, 7, 8, 14, 41, 42, 43, 99)
                for last in (True, False)
            ),
            {"since": 103 * MINUTE, "until": 150 * MINUTE},
            {"since": 103 * MINUTE, "until": 110 * MINUTE},
            {"since": 103 * MINUTE, "until": 150 * MINUTE, "limit": 20, "last": True},
            {"since": 125 * MINUTE, "limit": 20, "last": True},
            {"since": 201 * MINUTE},
        ):
            for compact in (True, False):
                request = candles(format="columns", compact=compact, **selected)
                paged = [part async for part in columns.requested(bus, request)]
                plain = candles(format="columns", **selected)
                once = [part async for part in bus.request_chunks("cache.get", plain, decode)]
                assert sum(part.count for part in paged) == sum(part.count for part in once), selected
                assert paged, selected
                if not compact:
                    assert [row for part in paged for row in rows_of(part)] == [r for p in once for r in rows_of(p)]
