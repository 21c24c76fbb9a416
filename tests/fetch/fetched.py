"""Services in the test, jobs that they run, and what the cache and the exchange have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

from nats.aio.msg import Msg

from support.processes import SimulatorProcess
from tickwire.bus.connection import Bus, connect
from tickwire.errors import NoSuchService
from tickwire.model import messages, subjects
from tickwire.model.messages import Candles, CandlesRequest, FetchAccepted, FetchRequest, Job
from tickwire.observe.metrics import Metrics
from tickwire.settings import Settings

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_717_243_200_000  # 2024-06-01 12:00 UTC, half a minute before the simulated exchange's clock
SYMBOL = "ETH/USDT"
Serve = Callable[[Bus, Settings, str, asyncio.Event, Metrics], Any]


@asynccontextmanager
async def running(serve: Serve, settings: Settings, instance: str) -> AsyncIterator[None]:
    """One instance of a service on a connection of its own, stopped on the way out."""
    stop = asyncio.Event()
    async with connect(settings.nats, name=instance) as own, asyncio.TaskGroup() as group:
        group.create_task(serve(own, settings, instance, stop, Metrics()))
        try:
            yield
        finally:
            stop.set()


async def ask(bus: Bus, request: FetchRequest) -> FetchAccepted:
    """Ask as soon as a fetcher is up."""
    async with asyncio.timeout(100):
        while True:
            try:
                return await bus.request("fetcher.fetch", request, FetchAccepted)
            except NoSuchService:
                await asyncio.sleep(0.05)


async def fetch(bus: Bus, timeout_s: float = 100, **request: Any) -> Job:
    """Have a range fetched; the job's last message."""
    usual: dict[str, Any] = {"exchange": "binance", "symbol": SYMBOL, "timeframe": "1m", "since": NOW - DAY}
    wanted = FetchRequest(**usual | {"id": f"j{time.time_ns()}"} | request)
    ended: asyncio.Future[Job] = asyncio.get_running_loop().create_future()

    async def follow(message: Msg) -> None:
        job = messages.decode(message.data, Job)
        if job.ended and not ended.done():
            ended.set_result(job)

    assert wanted.id is not None
    subscription = await bus.subscribe(subjects.job(wanted.id), follow)
    await ask(bus, wanted)
    async with asyncio.timeout(timeout_s):
        job = await ended
    await subscription.unsubscribe()
    return job


async def cached(bus: Bus, timeframe: str = "1m", symbol: str = SYMBOL) -> list[list[float]]:
    rows: list[list[float]] = []
    request = CandlesRequest(exchange="binance", symbol=symbol, timeframe=timeframe)
    async for chunk in bus.request_chunks("cache.get", request, lambda data: messages.decode(data, Candles)):
        rows += [list(row) for row in chunk.rows]
    return rows


async def truth(exchange: SimulatorProcess, since: int, until: int, timeframe: str = "1m") -> list[list[float]]:
    """The exact candles that open in `[since, until)`."""
    rows = await exchange.truth("candles", symbol=SYMBOL, timeframe=timeframe, since=since, until=until)
    return [[float(value) for value in row[:6]] for row in rows]


async def klines(exchange: SimulatorProcess) -> list[int]:
    """Where the requests for candles so far began."""
    queries = [parse_qs(entry["query"]) for entry in await exchange.log("klines")]
    return [int(query["startTime"][0]) if "startTime" in query else 0 for query in queries]
