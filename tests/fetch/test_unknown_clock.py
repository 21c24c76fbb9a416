"""Exchanges without an endpoint for their time: the clock is that of the Date header, or unknown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from support.faketime import wall_clock
from support.pipeline import CONFIG, OKX_CONFIG, pipeline
from support.processes import SimulatorProcess, running_simulator
from support.web import served
from tickwire.model.messages import Coverage, KeyRequest
from tickwire.model.subjects import Key

pytestmark = [pytest.mark.actors, pytest.mark.usefixtures("declared")]

SYMBOL = "BTC/USDT"
MINUTE = 60_000
TIMELESS = {
    "binance": CONFIG.replace("enableRateLimit = false", "enableRateLimit = false\nhas = {{ fetchTime = false }}"),
    "okx": OKX_CONFIG.replace("enableRateLimit = false", "enableRateLimit = false\nhas = {{ fetchTime = false }}"),
}


@asynccontextmanager
async def dated(simulator: SimulatorProcess, date: str | None) -> AsyncIterator[SimulatorProcess]:
    """The same exchange, whose answers have this Date header; their own without."""

    async def answer(request: web.Request) -> web.StreamResponse:
        async with http.get(f"{simulator.url}{request.raw_path}") as found:
            body = await found.read()
            headers = {"Date": date if date is not None else found.headers["Date"]}
            return web.Response(body=body, status=found.status, content_type="application/json", headers=headers)

    async with aiohttp.ClientSession() as http, served(answer) as url:
        yield SimulatorProcess(url, simulator.process, simulator.http)


@pytest.mark.needs("faketime")
@pytest.mark.parametrize("venue", ["binance", "okx"])
@pytest.mark.parametrize("date", [None, "no date"], ids=["by its header", "unknown"])
async def test_no_open_candle_is_stored_where_the_exchange_is_not_asked_for_its_time(
    broker: str, tmp_path: Path, venue: str, date: str | None
) -> None:
    key, wall = Key(venue, SYMBOL, "1m"), wall_clock(tmp_path)
    # By our own clock, the open candle was closed an hour ago.
    wall.step(3600)
    async with running_simulator("--live-rate", "20") as simulator, dated(simulator, date) as behind:
        async with pipeline(broker, behind, tmp_path, (), TIMELESS[venue]) as line:
            for service in ("cache", "fetcher"):
                # Stepped before they start: the file need not be read with each question for the time.
                await line.start(service, 0, **wall.variables | {"FAKETIME_NO_CACHE": "0"})
                await line.ready(service)
            now = (await simulator.clock())["now"]
            since = now // MINUTE * MINUTE - 600 * MINUTE
            job = await line.fetch(key, since)
            now = (await simulator.clock())["now"]
            assert (job.state, job.complete, job.missing) == ("done", True, [])
            # Of ten hours, all but a few minutes: the newest may be asked for before they have settled.
            assert now // MINUTE * MINUTE - 2 * MINUTE <= job.until <= now
            request = KeyRequest(exchange=venue, symbol=SYMBOL, timeframe="1m")
            known = await line.bus.request("cache.coverage", request, Coverage, timeout_s=30)
            assert known.verified[0].since == since
            assert all(until <= now for _, until in known.verified)
            rows = line.rows(key)
        assert await simulator.log("/time") == []
        truth = await simulator.truth("candles", symbol=SYMBOL, timeframe="1m", since=since, until=rows[-1][0] + 1)
        assert rows == [(int(row[0]), *map(float, row[1:6])) for row in truth]
