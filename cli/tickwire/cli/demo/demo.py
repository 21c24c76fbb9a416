"""`tickwire demo`: the whole system on a simulated exchange, in a folder of its own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tickwire import settings as configuration
from tickwire.bus import embedded
from tickwire.bus.connection import connect
from tickwire.bus.kept_broker import kept_broker
from tickwire.cli.demo import archived, backfill, live
from tickwire.cli.demo.scene import SYMBOL
from tickwire.cli.output import render
from tickwire.cli.processes.programs import check_writable, service_programs
from tickwire.cli.processes.readiness import ready
from tickwire.errors import NoSuchService
from tickwire.observe import logs
from tickwire.process import optional_packages, private_files, runfile, supervisor
from tickwire.process.lifecycle import Exit, until_stopped
from tickwire.settings import NatsSettings
from tickwire.task_group import TaskGroup

SERVICES = ("cache", "fetcher", "streamer", "archive")
TRADES_A_MINUTE = 1200
START_TIMEOUT_S = 60.0

SIMULATED = """\
# Written by `tickwire demo`, overwritten each time.
symbols = [
    "BTC/USDT", "ETH/USDT", "SOL/USDT",
    {{ symbol = {symbol}, price = 500, tick = "0.1", lot = "0.001", amount = 3, history_rate = {rate} }},
]
"""
"""A market that is a function of time only, so that each run continues the history of the one before."""

CONFIG = """\
# Written by `tickwire demo`, overwritten each time.
data_dir = {data_dir}

[archive]
root = {archive}
part_minutes = 0.05

[exchange.binance]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false, options = {{ fetchMarkets = {{ types = ["spot"] }} }} }}

[exchange.binanceus]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false }}
"""


@dataclass
class _Demo:
    """One run: its folder, the URLs of broker and exchange, and the exit code so far."""

    folder: Path
    broker_url: str
    gateway: str
    began: float
    simulator_listens: asyncio.Future[bytes]
    code: int = Exit.INTERRUPTED

    @property
    def archive(self) -> Path:
        """The root of the archive."""
        return self.folder / "archive"


async def demo(stop: asyncio.Event, config: Path | None) -> int:
    """Start everything, fetch, show, verify, and stop everything."""
    began = time.monotonic()
    folder = configuration.load(config).data_dir / "demo"
    logs.configure(configuration.LogSettings(level="error"))
    optional_packages.require((*SERVICES, "cli", "simulator"), server=embedded.has_server())
    os.umask(private_files.UMASK)
    check_writable(folder)
    async with AsyncExitStack() as stack:
        publish_urls = stack.enter_context(runfile.held(folder))
        for old in folder.glob("*.log"):
            old.unlink()
        token = embedded.token_of(folder / "nats")
        url = await stack.enter_async_context(kept_broker(folder / "nats", None, render.remark, token=token))
        publish_urls(url, None)
        render.remark(f"demo in {folder}: starting a broker, a simulated exchange, {', '.join(SERVICES)}")
        gateway = f"http://127.0.0.1:{_free_port()}"
        run = _Demo(folder, url, gateway, began, asyncio.get_running_loop().create_future())
        down = asyncio.Event()
        async with TaskGroup() as group:
            group.create_task(supervisor.keep(_programs(run), down, render.remark))
            group.create_task(until_stopped(down, runfile.removed(folder)))
            try:
                await until_stopped(stop, _play(run))
            finally:
                down.set()
    return run.code


def _programs(run: _Demo) -> list[supervisor.Program]:
    """Write the configuration; return the simulated exchange and the services that use it."""
    config, market = run.folder / "tickwire.toml", run.folder / "simulator.toml"
    data_dir, archive = (json.dumps(str(each)) for each in (run.folder, run.archive))
    config.write_text(CONFIG.format(data_dir=data_dir, archive=archive, gateway=run.gateway))
    market.write_text(SIMULATED.format(symbol=json.dumps(SYMBOL), rate=TRADES_A_MINUTE))
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TICKWIRE_")}
    port = run.gateway.rpartition(":")[2]
    simulator = supervisor.Program(
        name="simulator",
        argv=[sys.executable, "-m", "tickwire.simulator", "--config", market, "--port", port],
        env=plain,
        log=run.folder / "simulator.log",
        first_line=run.simulator_listens,
    )
    counts = dict.fromkeys(SERVICES, 1)
    services = service_programs(counts, config, {**plain, "TICKWIRE_NATS_URL": run.broker_url}, log_dir=run.folder)
    return [simulator, *services]


def _free_port() -> int:
    """Return a port for the simulator, which keeps it when it is restarted."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def started(folder: Path, program: str, start: Awaitable[object]) -> None:
    """Wait for `start`, which ends when a program is ready. Raises NoSuchService after START_TIMEOUT_S."""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            await start
    except TimeoutError as error:
        message = f"the {program} is not ready after {START_TIMEOUT_S:g} s"
        raise NoSuchService(message, f"see the logs in {folder}") from error


async def _play(run: _Demo) -> None:
    """Play both parts of the demo; set the exit code."""
    async with connect(NatsSettings(url=run.broker_url), name="tickwire-demo") as bus:
        await started(run.folder, "simulator", run.simulator_listens)
        for service in ("cache", "fetcher"):
            await started(run.folder, service, ready(bus, service))
        render.remark(f"ready after {time.monotonic() - run.began:.1f} s")
        results = await backfill.backfill(bus)
        found = await backfill.show_cache(bus, {job.key for job in results})
        sound = await backfill.verify(bus, found)
        await started(run.folder, "streamer", ready(bus, "streamer"))
        await live.fetch_history(bus)
        right, trades = await live.live(bus, run.gateway)
        sound = await archived.archived(bus, run.archive, trades) and right and sound
    complete = all(job.complete for job in results) and len(results) == len(backfill.demo_keys())
    run.code = Exit.FAILED if not sound or any(job.state == "failed" for job in results) else Exit.OK
    if run.code == Exit.OK and not complete:
        run.code = Exit.INCOMPLETE
    print(f"total time: {time.monotonic() - run.began:.1f} s")
    print(f"the candles are in {run.folder / 'cache'}; run it again, and only what is missing is fetched")
