"""Backfill through the whole pipeline against the bare ccxt paging loop, in one run: `python benchmarks/backfill.py`.

Both ask the same simulator, without throttle. The loop is what a script would do: `await fetch_ohlcv`, advance,
repeat, and throw the rows away. The pipeline validates them, sends them over the broker, and makes them durable in
files. Rounds alternate; medians and ratios are what to quote. Also printed: the longest event-loop stalls of the
fetcher meanwhile. `--latency-ms` delays each page; `--before .../.venv/bin/python` measures the fetcher of another
checkout in the same run.
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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
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
BASES = ("ETH", "SOL", "XRP", "BNB", "DOGE", "ADA", "DOT", "LTC", "TRX", "LINK", "UNI")
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


async def main(rows: int, rounds: int, latency_ms: int, before: str | None) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tickwire-bench-"))
    versions = {"before": before, "now": sys.executable} if before else {"now": sys.executable}
    keys = [Key("binance", f"{base}/USDT", "1m") for base in BASES[: 1 + rounds * len(versions)]]
    listed = [part for key in keys for part in ("--symbol", key.symbol)]
    async with (
        children.child(
            [sys.executable, "-m", "tickwire.simulator", "--port", "0", *listed], stdout=children.PIPE
        ) as simulator,
        embedded.embedded(folder / "nats") as url,
        connect(NatsSettings(url=url), name="benchmark") as bus,
    ):
        assert simulator.stdout is not None
        gateway = json.loads(await simulator.stdout.readline())["url"]
        await streams.declare(bus.jetstream, 8, 2.0)
        env = configure(folder, gateway, url, binance="enableRateLimit = false")
        await delay(gateway, latency_ms)
        until = int(time.time() * 1000) // MINUTE * MINUTE - 60 * MINUTE
        since = until - rows * MINUTE
        took: dict[str, list[float]] = {name: [] for name in ("loop", *versions)}
        stalls: dict[str, list[float]] = {}
        async with service("cache", sys.executable, env, folder / "cache.log"):
            await ready(bus, "cache")
            # Unmeasured: imports, markets, the simulator's own candles.
            await bare_loop(gateway, keys[0], since, until)
            left = iter(keys[1:])
            for number in range(rounds):
                for name, python in versions.items():
                    key = next(left)
                    await bare_loop(gateway, key, since, until)
                    took["loop"].append(await bare_loop(gateway, key, since, until))
                    log = folder / f"{name}-{number}.log"
                    async with service("fetcher", python, env, log):
                        await ready(bus, "fetcher")
                        first = since - 5000 * MINUTE
                        await through_pipeline(bus, key, first, first + 5000 * MINUTE)
                        started = datetime.now(UTC).isoformat()
                        took[name].append(await through_pipeline(bus, key, since, until))
                        # The stalls of the last second are reported at its end.
                        await asyncio.sleep(1.2)
                    stalls.setdefault(f"fetcher, {name}", []).extend(stalls_since(started, log.read_text()))
        report(rows, took, stalls)


@asynccontextmanager
async def service(name: str, python: str, env: dict[str, str], log: Path) -> AsyncIterator[None]:
    """Run a service of the version that is installed for this interpreter, with its log in a file."""
    with log.open("wb") as written:
        argv = [python, "-m", "tickwire.cli.main", "service", name]
        async with children.child(argv, env=env, stderr=written.fileno()):
            yield


async def delay(gateway: str, latency_ms: int) -> None:
    """Have the exchange answer each request for candles later by this time."""
    if latency_ms:
        fault = {"kind": "delay", "match": "klines", "seconds": latency_ms / 1000}
        async with aiohttp.ClientSession() as http, http.post(f"{gateway}/_sim/faults", json=fault) as answer:
            answer.raise_for_status()


def stalls_since(started: str, log: str) -> list[float]:
    """Return the longest event-loop stall of each second (ms) from the JSON log of a service."""
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [e["longest_stall_ms"] for e in entries if "longest_stall_ms" in e and e["timestamp"] > started]


def report(rows: int, took: dict[str, list[float]], stalls: dict[str, list[float]]) -> None:
    """Print medians, ratios and stalls."""
    loop = statistics.median(took["loop"])
    table = Table("", "median s", "rows/s", "of the bare loop", title=f"{rows:,} one-minute candles")
    for name, each in took.items():
        median = statistics.median(each)
        label = "bare ccxt loop" if name == "loop" else f"fetch, send, make durable: {name}"
        table.add_row(label, f"{median:.2f}", f"{rows / median:,.0f}", f"{loop / median:.2f}")
    Console().print(table)
    for name, each in stalls.items():
        print(f"{name}: longest event-loop stall {max(each)} ms, median second {statistics.median(each)} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=45_000)
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 6))
    parser.add_argument("--latency-ms", type=int, default=0, help="the exchange's latency for each page")
    parser.add_argument("--before", help="the interpreter of another checkout, whose fetcher is measured as well")
    options = parser.parse_args()
    asyncio.run(main(options.rows, options.rounds, options.latency_ms, options.before))
