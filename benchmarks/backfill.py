"""Backfill through the whole pipeline against the bare ccxt paging loop, in one run: `python benchmarks/backfill.py`.

Both ask the same simulator, without throttle. The loop is what a script would do: `await fetch_ohlcv`, advance,
repeat, and throw the rows away. The pipeline validates them, sends them over the broker, and makes them durable in
files. Rounds alternate; medians and ratios are what to quote. Also printed: the longest event-loop stalls of each
service meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import nats.errors
from nats.aio.msg import Msg
from rich.console import Console
from rich.table import Table

from streamed.harness import configure
from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.exchange import opening
from tickwire.model import messages, subjects
from tickwire.model.messages import FetchAccepted, FetchRequest, Job
from tickwire.model.subjects import Key
from tickwire.process import children
from tickwire.settings import ExchangeSettings, NatsSettings

MINUTE = 60_000
OPTIONS = {"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}}


async def bare_loop(gateway: str, key: Key, since: int, until: int) -> float:
    """Return the seconds that the plain ccxt loop takes for `[since, until)`."""
    async with opening.open_exchange(key.exchange, ExchangeSettings(ccxt=OPTIONS, gateway=gateway), {}) as exchange:
        await exchange.load_markets()
        began, cursor, rows = time.perf_counter(), since, 0
        while cursor < until:
            page = await exchange.fetch_ohlcv(key.symbol, key.timeframe, cursor, 1000)
            rows += len(page)
            cursor = page[-1][0] + MINUTE
        return time.perf_counter() - began


async def through_pipeline(bus: Bus, key: Key, since: int, until: int) -> float:
    """Return the seconds from the request to the job's durable result."""
    ended: asyncio.Queue[Job] = asyncio.Queue()

    async def take(message: Msg) -> None:
        job = messages.decode(message.data, Job)
        if job.ended:
            ended.put_nowait(job)

    name = secrets.token_hex(8)
    subscription = await bus.subscribe(subjects.job(name), take)
    request = FetchRequest(
        exchange=key.exchange, symbol=key.symbol, timeframe=key.timeframe, since=since, until=until, id=name
    )
    began = time.perf_counter()
    await bus.request("fetcher.fetch", request, FetchAccepted)
    job = await ended.get()
    took = time.perf_counter() - began
    assert job.complete, job
    await subscription.unsubscribe()
    return took


async def ready(bus: Bus, service: str) -> None:
    """Wait until the service answers."""
    while True:
        try:
            await bus.client.request(f"$SRV.PING.{service}", b"", timeout=1)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            await asyncio.sleep(0.05)
        else:
            return


async def main(rows: int, rounds: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tickwire-bench-"))
    async with (
        children.child([sys.executable, "-m", "tickwire.simulator", "--port", "0"], stdout=children.PIPE) as simulator,
        embedded.embedded(folder / "nats") as url,
        connect(NatsSettings(url=url), name="benchmark") as bus,
    ):
        assert simulator.stdout is not None
        gateway = json.loads(await simulator.stdout.readline())["url"]
        await streams.declare(bus.jetstream, 8, 2.0)
        env = configure(folder, gateway, url, binance="enableRateLimit = false")
        until = int(time.time() * 1000) // MINUTE * MINUTE - 60 * MINUTE
        since = until - rows * MINUTE
        loops, lines = [], []
        with (folder / "log").open("wb") as log:
            services = [
                children.child(
                    [sys.executable, "-m", "tickwire.cli.main", "service", name], env=env, stderr=log.fileno()
                )
                for name in ("cache", "fetcher")
            ]
            async with services[0], services[1]:
                await ready(bus, "cache")
                await ready(bus, "fetcher")
                # One of each unmeasured: imports, markets, the simulator's own candles.
                warm = Key("binance", "BTC/USDT", "1m")
                await bare_loop(gateway, warm, since, until)
                await through_pipeline(bus, warm, since, since + 1000 * MINUTE)
                started = datetime.now(UTC).isoformat()
                for symbol in ("ETH/USDT", "SOL/USDT", "XRP/USDT", "BNB/USDT", "DOGE/USDT")[:rounds]:
                    key = Key("binance", symbol, "1m")
                    await bare_loop(gateway, key, since, until)
                    loops.append(await bare_loop(gateway, key, since, until))
                    lines.append(await through_pipeline(bus, key, since, until))
        report(rows, loops, lines, stalls_since(started, (folder / "log").read_text()))


def stalls_since(started: str, log: str) -> dict[str, list[float]]:
    """Return the longest event-loop stall of each second (ms) by service, from the services' JSON logs."""
    found: dict[str, list[float]] = {}
    for line in log.splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        if "longest_stall_ms" in entry and entry["timestamp"] > started:
            found.setdefault(entry["service"], []).append(entry["longest_stall_ms"])
    return found


def report(rows: int, loops: list[float], lines: list[float], stalls: dict[str, list[float]]) -> None:
    """Print medians, ratios and stalls."""
    loop, line = statistics.median(loops), statistics.median(lines)
    table = Table(
        "", "median s", "rows/s", "of the bare loop", title=f"{rows:,} one-minute candles, {len(loops)} rounds"
    )
    table.add_row("bare ccxt loop", f"{loop:.2f}", f"{rows / loop:,.0f}", "1.00")
    table.add_row("fetch, send, make durable", f"{line:.2f}", f"{rows / line:,.0f}", f"{loop / line:.2f}")
    Console().print(table)
    for service, each in sorted(stalls.items()):
        print(f"{service}: longest event-loop stall {max(each)} ms, median second {statistics.median(each)} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=45_000)
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 6))
    options = parser.parse_args()
    asyncio.run(main(options.rows, options.rounds))
