"""The first part of `tickwire demo`: fetches candles, lists them, draws a chart and verifies the files."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.candles import inventory
from tickwire.cli.output import consoles, render, tables
from tickwire.client import columns, fetch_jobs, progress
from tickwire.client.inventory import inventory as cached_keys
from tickwire.model.messages import Coverage, Job, Row
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.task_group import TaskGroup

EXCHANGES = "binance,binanceus"
SYMBOLS = "BTC/USDT,ETH/USDT,SOL/USDT"
DAY_MS = 86_400_000
DAYS = {"1m": 8, "5m": 30, "1h": 365}
"""Days before today that are fetched of each timeframe."""
LONG = ("BTC/USDT", "1m")
LONG_DAYS = 32
"""46,080 minutes."""
CHARTED = Key("binance", "BTC/USDT", "1h")


def demo_keys() -> list[Key]:
    """Return the keys that the demo fetches."""
    return arguments.keys(EXCHANGES, SYMBOLS, ",".join(DAYS))


async def backfill(bus: Bus) -> list[Job]:
    """Fetch all keys at once and show the progress; print a summary, return the results. Raises refusals."""
    today = now_ms() // DAY_MS * DAY_MS
    ids = {key: fetch_jobs.new_id() for key in demo_keys()}
    began = time.monotonic()
    async with fetch_jobs.followed(bus, ids.values()) as following:
        with progress.shown(list(ids)) as show:
            async with TaskGroup() as group:
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
            render.remark(f"{job.key}: {tables.job_result(job)}")
    print(summary(results, time.monotonic() - began), flush=True)
    return results


def _days(key: Key) -> int:
    return LONG_DAYS if (key.symbol, key.timeframe) == LONG else DAYS[key.timeframe]


def summary(results: Sequence[Job], seconds: float) -> str:
    """Return one line about a backfill; in a second run, what was cached already."""
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


async def show_cache(bus: Bus, keys: set[Key]) -> list[Coverage]:
    """Print a table of the cached keys and a chart; return what is cached of them."""
    everything, _ = await cached_keys(bus)
    found = [each for each in everything if each.key in keys]
    print()
    consoles.out().print(tables.coverage_table(found, "Cached"))
    print()
    print(await _chart(bus, found), flush=True)
    return found


async def verify(bus: Bus, found: Sequence[Coverage]) -> bool:
    """Check the file of each key and print the result; return whether there is no problem."""
    checks = [await inventory.verify_key(bus, each.key) for each in found]
    bad = [each for each in checks if each.problem_count]
    if bad:
        inventory.print_verifications(bad)
        return False
    rows = render.plural(sum(each.rows for each in checks), "candle")
    print(f"verified: {render.plural(len(checks), 'file')}, {rows}, no problem\n", flush=True)
    return True


async def _chart(bus: Bus, found: Sequence[Coverage]) -> str:
    from tickwire.cli.output import chart

    charted = next((each for each in found if each.key == CHARTED), None)
    if charted is None or charted.last is None:
        return f"no chart: nothing is cached of {CHARTED}"
    width = min(120, shutil.get_terminal_size().columns)
    rows: list[Row] = []
    async for chunk in columns.chunks(bus, CHARTED, charted.last - width * 3_600_000, None, None):
        rows += columns.rows_of(chunk)
    return chart.candles(f"{CHARTED} (simulated)", rows, width, timeframe=CHARTED.timeframe)
