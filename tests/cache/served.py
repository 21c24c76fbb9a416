"""Cache instances within the test, the pages published to them, and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import nats.errors
from nats.aio.msg import Msg

from cache.cache_process import run, settings
from tickwire.bus.connection import Bus
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, Candles, CandlesRequest, Coverage, KeyRequest, Row, Stored
from tickwire.model.subjects import Key

KEY = Key("binance", "BTC/USDT", "1m")
MINUTE = 60_000


@asynccontextmanager
async def running(broker: str, folder: Path, instance: str = "one", lease_s: float = 2.0) -> AsyncIterator[None]:
    """A cache instance in this process, on a connection of its own."""
    stop = asyncio.Event()
    async with asyncio.timeout(200), asyncio.TaskGroup() as group:
        group.create_task(run(settings(broker, folder, lease_s), instance, stop))
        try:
            yield
        finally:
            stop.set()


def row_at(minute: int) -> Row:
    return (minute * MINUTE, 1.5, 2.0 + minute, 0.5, 1e-7, 1234.0)


def page(minutes: Iterable[int], key: Key = KEY) -> CandlePage:
    """A page with the rows of these minutes."""
    rows = [row_at(minute) for minute in minutes]
    return CandlePage(**key._asdict(), since=rows[0][0], until=rows[-1][0] + MINUTE, rows=rows)


def ask(key: Key = KEY) -> KeyRequest:
    return KeyRequest(**key._asdict())


def candles(**limits: object) -> CandlesRequest:
    return msgspec.convert(
        {"exchange": KEY.exchange, "symbol": KEY.symbol, "timeframe": KEY.timeframe, **limits}, CandlesRequest
    )


async def answering(bus: Bus) -> None:
    """Wait until an instance answers at all."""
    async with asyncio.timeout(100):
        while True:
            try:
                await bus.client.request("$SRV.PING.cache", b"", timeout=0.2)
            except nats.errors.Error:
                await asyncio.sleep(0.02)
            else:
                return


async def coverage(bus: Bus, key: Key = KEY) -> Coverage:
    return await bus.request("cache.coverage", ask(key), Coverage, timeout_s=15)


async def store(bus: Bus, *pages: CandlePage) -> list[Stored]:
    """Publish pages and wait until all are announced."""
    announced: list[Stored] = []
    arrived = asyncio.Event()

    async def take(message: Msg) -> None:
        announced.append(messages.decode(message.data, Stored))
        if len(announced) >= len(pages):
            arrived.set()

    subscription = await bus.subscribe("md.stored.>", take)
    await bus.client.flush()
    for number, each in enumerate(pages):
        await bus.append(
            subjects.ohlcv(each.key), messages.encode(each), message_id=f"{each.key} {each.since} {number}"
        )
    async with asyncio.timeout(100):
        await arrived.wait()
    await subscription.unsubscribe()
    return announced


async def rows_of(bus: Bus, request: CandlesRequest) -> list[Row]:
    rows: list[Row] = []
    async for chunk in bus.request_chunks("cache.get", request, partial(messages.decode, kind=Candles), timeout_s=15):
        rows += chunk.rows
    return rows
