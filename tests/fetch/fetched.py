"""Jobs, and what the cache and the exchange have."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs

from support.hearing import hearing
from support.processes import SimulatorProcess
from tickwire.bus.connection import Bus
from tickwire.model import messages, subjects
from tickwire.model.messages import Candles, CandlesRequest, FetchAccepted, FetchRequest, Job

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_717_243_200_000  # 2024-06-01 12:00 UTC, half a minute before the simulated exchange's clock
SYMBOL = "ETH/USDT"


async def ask(bus: Bus, request: FetchRequest) -> FetchAccepted:
    """Order a job."""
    return await bus.request("fetcher.fetch", request, FetchAccepted)


async def fetch(bus: Bus, timeout_s: float = 100, **request: Any) -> Job:
    """Have a range fetched; the job's last message."""
    usual: dict[str, Any] = {"exchange": "binance", "symbol": SYMBOL, "timeframe": "1m", "since": NOW - DAY}
    wanted = FetchRequest(**usual | {"id": f"j{time.time_ns()}"} | request)
    assert wanted.id is not None
    async with hearing(bus, subjects.job(wanted.id), Job) as heard:
        await ask(bus, wanted)
        return await heard.first(lambda job: job.ended, timeout_s=timeout_s)


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
