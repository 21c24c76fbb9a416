"""`tickwire demo`: the whole system on a simulated exchange, in its own folder, in one go."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tickwire import settings as configuration
from tickwire.bus import embedded
from tickwire.bus.connection import Bus, connect
from tickwire.bus.kept_broker import kept_broker
from tickwire.cli import arguments
from tickwire.cli.candles import inventory as candles_list
from tickwire.cli.demo import live as demo_live
from tickwire.cli.output import render
from tickwire.cli.processes.up import check_writable, ready, service_programs
from tickwire.client import columns, fetch_jobs, progress
from tickwire.model.messages import Coverage, Job, Row
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.process import optional_packages, private_files, runfile, supervisor
from tickwire.process.lifecycle import Exit, until_stopped
from tickwire.settings import NatsSettings

EXCHANGES = "binance,binanceus"
SYMBOLS = "BTC/USDT,ETH/USDT,SOL/USDT"
DAY_MS = 86_400_000
DAYS = {"1m": 8, "5m": 30, "1h": 365}
"""How far back each timeframe goes, in whole days before today."""
LONG = ("BTC/USDT", "1m")
LONG_DAYS = 32
"""46,080 minutes."""
CHARTED = Key("binance", "BTC/USDT", "1h")
START_TIMEOUT_S = 60.0

SIMULATED = """\
# Made by `tickwire demo`, anew each time.
symbols = [
    "BTC/USDT", "ETH/USDT", "SOL/USDT",
    {{ symbol = {symbol}, price = 500, tick = "0.1", lot = "0.001", amount = 3, history_rate = {rate} }},
]
"""
"""A market that is a function of time alone, so that every run of the demo goes on where the one before ended."""

CONFIG = """\
# Made by `tickwire demo`, anew each time.
data_dir = {data_dir}

[exchange.binance]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false, options = {{ fetchMarkets = {{ types = ["spot"] }} }} }}

[exchange.binanceus]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false }}
"""


async def demo(stop: asyncio.Event, config: Path | None) -> int:
    """Start everything, backfill, show what is there, verify it, stop everything."""
    began = time.monotonic()
    folder = configuration.load(config).data_dir / "demo"
    logs.configure(configuration.LogSettings(level="error"))
    optional_packages.require(("cache", "cli", "fetcher", "simulator", "streamer"), server=embedded.has_server())
    os.umask(private_files.UMASK)
    check_writable(folder)
    code = [int(Exit.INTERRUPTED)]
    async with AsyncExitStack() as stack:
        publish = stack.enter_context(runfile.held(folder))
        for old in folder.glob("*.log"):
            old.unlink()
        token = embedded.token_of(folder / "nats")
        kept = kept_broker(folder / "nats", None, render.say, token=token)
        url = await stack.enter_async_context(kept)
        publish(url, None)
        render.say(f"demo in {folder}: starting a broker, a simulated exchange, a fetcher, a streamer and a cache")
        listening: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        down = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            gateway = f"http://127.0.0.1:{_free_port()}"
            group.create_task(supervisor.keep(_programs(folder, url, gateway, listening), down, render.say))
            group.create_task(until_stopped(down, runfile.removed(folder)))
            try:
                await until_stopped(stop, _play(folder, url, gateway, listening, began, code))
            finally:
                down.set()
    return code[0]


def _programs(folder: Path, url: str, gateway: str, listening: asyncio.Future[bytes]) -> list[supervisor.Program]:
    """The simulated exchange, and the services with its address in their configuration."""
    config, market = folder / "tickwire.toml", folder / "simulator.toml"
    config.write_text(CONFIG.format(data_dir=json.dumps(str(folder)), gateway=gateway))
    market.write_text(SIMULATED.format(symbol=json.dumps(demo_live.SYMBOL), rate=demo_live.TRADES_A_MINUTE))
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TICKWIRE_")}
    simulator = supervisor.Program(
        name="simulator",
        argv=[sys.executable, "-m", "tickwire.simulator", "--config", market, "--port", gateway.rpartition(":")[2]],
        env=plain,
        log=folder / "simulator.log",
        first_line=listening,
    )
    services = service_programs(
        {"cache": 1, "fetcher": 1, "streamer": 1}, config, {**plain, "TICKWIRE_NATS_URL": url}, folder
    )
    return [simulator, *services]


def _free_port() -> int:
    """A port for the simulator to listen on, the same when it has to be started again."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def _play(
    folder: Path, url: str, gateway: str, listening: asyncio.Future[bytes], began: float, code: list[int]
) -> None:
    async with connect(NatsSettings(url=url), name="tickwire-demo") as bus:
        async with asyncio.timeout(START_TIMEOUT_S):
            await listening
            await ready(bus, "cache")
            await ready(bus, "fetcher")
        render.say(f"ready after {time.monotonic() - began:.1f} s")
        results, seconds = await _backfill(bus)
        print(told(results, seconds), flush=True)
        found, _ = await candles_list.inventory(bus)
        wanted = {job.key for job in results}
        found = [each for each in found if each.key in wanted]
        print()
        render.out().print(render.coverage_table(found, "Cached"))
        print()
        print(await _chart(bus, found), flush=True)
        checks = [await candles_list.verified(bus, each.key) for each in found]
        bad = [each for each in checks if each.problem_count]
        if bad:
            candles_list.print_verifications(bad)
        else:
            rows = sum(each.rows for each in checks)
            print(
                f"verified: {render.plural(len(checks), 'file')}, {render.plural(rows, 'candle')}, no problem\n",
                flush=True,
            )
        async with asyncio.timeout(START_TIMEOUT_S):
            await ready(bus, "streamer")
        await demo_live.prepared(bus)
        whole = await demo_live.live(bus, gateway)
    complete = all(job.complete for job in results) and len(results) == len(_keys())
    code[0] = Exit.FAILED if bad or not whole or any(job.state == "failed" for job in results) else Exit.OK
    if code[0] == Exit.OK and not complete:
        code[0] = Exit.INCOMPLETE
    print(f"total time: {time.monotonic() - began:.1f} s")
    print(f"the files are in {folder / 'cache'}; run it again, and only what is missing is fetched")


def _keys() -> list[Key]:
    return arguments.keys(EXCHANGES, SYMBOLS, ",".join(DAYS))


def _days(key: Key) -> int:
    return LONG_DAYS if (key.symbol, key.timeframe) == LONG else DAYS[key.timeframe]


async def _backfill(bus: Bus) -> tuple[list[Job], float]:
    """Order all keys at once and show how they get on; the results, and how long it took (s)."""
    today = now_ms() // DAY_MS * DAY_MS
    ids = {key: fetch_jobs.new_id() for key in _keys()}
    began = time.monotonic()
    async with fetch_jobs.followed(bus, ids.values()) as following:
        with progress.shown(list(ids)) as show:
            async with asyncio.TaskGroup() as group:
                orders = [
                    group.create_task(
                        fetch_jobs.order(bus, key, job_id, today - _days(key) * DAY_MS, None, refresh=False)
                    )
                    for key, job_id in ids.items()
                ]
            for order in orders:
                if (error := order.result().error) is not None:
                    raise error
            await following.until_ended(ids.values(), show, asyncio.Event())
    results = [following.ended[job_id] for job_id in ids.values()]
    for job in results:
        if not job.complete:
            render.say(f"{job.key}: {render.job_state(job)}")
    return results, time.monotonic() - began


def told(results: Sequence[Job], seconds: float) -> str:
    """What a backfill did, in one line; the second time, what was there already."""
    fetched = sum(job.rows_fetched for job in results)
    cached = sum(job.rows_from_cache for job in results)
    started = [job for job in results if job.rows_from_cache]
    if not started:
        return (
            f"fetched {render.plural(fetched, 'candle')} of {render.plural(len(results), 'key')} "
            f"in {seconds:.1f} s: {fetched / max(seconds, 0.001):,.0f} rows/s, stored durably"
        )
    idle = sum(job.complete and not job.rows_fetched for job in results)
    touched = sum(bool(job.rows_fetched) for job in results)
    done = f"{idle} of {len(results)} keys complete in the cache ({render.plural(cached, 'candle')} known)"
    if not fetched:
        return f"{done}; nothing to fetch, checked in {seconds:.1f} s"
    return (
        f"{done}; fetched only {render.plural(fetched, 'candle')} of {render.plural(touched, 'key')} "
        f"that were missing, in {seconds:.1f} s"
    )


async def _chart(bus: Bus, found: Sequence[Coverage]) -> str:
    from tickwire.cli.output import chart

    charted = next((each for each in found if each.key == CHARTED), None)
    if charted is None or charted.last is None:
        return f"no chart: nothing is cached of {CHARTED}"
    width = min(120, shutil.get_terminal_size().columns)
    rows: list[Row] = []
    async for chunk in columns.chunks(bus, CHARTED, charted.last - width * 3_600_000, None, None):
        rows += columns.rows_of(chunk)
    return chart.candles(f"{CHARTED} (simulated)", rows, width)
