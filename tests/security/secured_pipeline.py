"""Pipelines on a broker that knows its users: each service is started as its own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from support.brokers import Server, as_user, serving, variables_of
from support.pipeline import CONFIG, Pipeline
from support.ports import free_port
from support.processes import SimulatorProcess, environment
from tickwire.bus import streams
from tickwire.bus.connection import connect
from tickwire.settings import ArchiveSettings, SinkSettings, TapeSettings

_declared: list[Path] = []
"""The first such server's data as the operator left it: those of later tests begin with a copy, which costs less."""

FEED = {"kind": "trade", "exchange": "binance", "symbol": "BTC/USDT"}


@asynccontextmanager
async def declared(
    folder: Path, config: str = "secure.conf", tape: TapeSettings | None = None
) -> AsyncIterator[Server]:
    """A server with a file of deploy/nats, and its streams made by the operator."""
    usual = config == "secure.conf" and tape is None
    if usual and _declared:
        shutil.copytree(_declared[0], folder / "jetstream")
    else:
        async with serving(folder, config) as running, connect(as_user(running.url, "operator"), name="setup") as bus:
            await streams.declare(bus.jetstream, 8, 2.0, tape or TapeSettings())
            await streams.declare_sink(bus.jetstream, SinkSettings())
            await streams.declare_archive(bus.jetstream, ArchiveSettings(kinds=["trade", "candle", "ticker"]))
    if usual and not _declared:
        _declared.append(shutil.copytree(folder / "jetstream", folder.parent / "declared"))
    async with serving(folder, config) as running:
        yield running


@asynccontextmanager
async def secured(
    server: Server, simulator: SimulatorProcess, folder: Path, services: tuple[str, ...] = ()
) -> AsyncIterator[Pipeline]:
    """A pipeline seen by a program, with one of each of `services`; start others as their own users."""
    file = folder / "tickwire.toml"
    file.write_text(CONFIG.format(gateway=simulator.url))
    env = environment(folder, TICKWIRE_CONFIG=str(file))
    async with connect(as_user(server.url, "desk"), name="desk") as bus:
        line = Pipeline(bus, simulator, folder, env)
        try:
            for service in services:
                await line.start(service, 0, **variables_of(server.url, service))
            for service in services:
                await line.started(service)
            yield line
        finally:
            await line.close()


def one_line(err: str) -> str:
    """The one line that a command says; its log is another matter."""
    (line,) = [each for each in err.splitlines() if each.startswith("tickwire: ")]
    return line


async def page_works(line: Pipeline, broker: str) -> None:
    """Everything that the page asks for as its own user is answered, a button's request too."""
    port = free_port()
    await line.start("web", 0, **variables_of(broker, "web"), TICKWIRE_WEB_PORT=str(port))
    await line.started("web")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http, http.ws_connect("/live") as socket:
        fetch = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h", "since": 0, "until": 1}
        for action, body in (("start", FEED), ("fetch", fetch), ("stop", FEED)):
            async with http.post(f"/do/{action}", json=body) as answer:
                assert answer.status == 200, await answer.text()
        market = "exchange=binance&symbol=BTC/USDT"
        names = ["overview", "coverage?days=2", "markets", f"market?{market}", f"chart?{market}&timeframe=1h"]
        await socket.send_json({"watch": names})
        found: dict[str, dict[str, Any]] = {}
        async with asyncio.timeout(100):
            while not (found.keys() == set(names) and found["overview"]["leases"] and found["coverage?days=2"]["rows"]):
                said = await socket.receive_json()
                assert not said["error"]
                found[said["name"]] = said["data"]
        assert {"JOBS", "OHLCV", "TRADES"} <= {each["stream"] for each in found["overview"]["streams"]}
        # Candles that were fetched, and trades that were archived before their feed was stopped.
        assert {row["timeframe"] for row in found["coverage?days=2"]["rows"]} >= {"1h", None}
    assert await line.stop("web") == 0
