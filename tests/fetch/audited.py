"""What tests of audits do: candles built from the tape, jobs that are run to their end, what the cache says then."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from support.hearing import hearing
from support.processes import SimulatorProcess
from tickwire.bus.connection import Bus
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, Coverage, FetchAccepted, FetchRequest, Job, KeyRequest, Row, Stored
from tickwire.model.subjects import Key


async def ran(bus: Bus, key: Key, since: int, until: int, **changes: Any) -> Job:
    """Have a job run; its last message."""
    request = FetchRequest(**key._asdict(), since=since, until=until, id=f"j{time.time_ns()}", **changes)
    assert request.id is not None
    async with hearing(bus, subjects.job(request.id), Job) as heard:
        await bus.request("fetcher.fetch", request, FetchAccepted)
        return await heard.first(lambda job: job.ended, timeout_s=100)


async def built(bus: Bus, key: Key, rows: list[Row], since: int, until: int) -> None:
    """Have candles cached as the streamer does that built them from the tape."""
    page = CandlePage(
        **key._asdict(), since=since, until=until, rows=rows, source="live", volume_unit="base", origin="tape"
    )
    async with hearing(bus, subjects.stored(key), Stored) as heard:
        await bus.append(subjects.ohlcv(key), messages.encode(page), message_id=f"t{time.time_ns()}")
        await heard.first(lambda stored: (stored.since, stored.until) == (since, until), timeout_s=100)


async def coverage(bus: Bus, key: Key) -> Coverage:
    return await bus.request("cache.coverage", KeyRequest(**key._asdict()), Coverage)


async def truth(simulator: SimulatorProcess, key: Key, since: int, until: int) -> list[Row]:
    rows = await simulator.truth(
        "candles", exchange=key.exchange, symbol=key.symbol, timeframe=key.timeframe, since=since, until=until
    )
    return [(int(at), float(o), float(h), float(lo), float(c), float(v)) for at, o, h, lo, c, v, *_ in rows]


def lines(rows: list[Row]) -> str:
    """By Python's own formatting."""
    return "".join(f"{row[0]}," + ",".join(map(repr, row[1:])) + "\n" for row in rows)


def planted(path: Path, row: Row) -> float:
    """Change the last digit of a row's close in the file, in place; the wrong close."""
    text = path.read_text()
    line = lines([row])
    assert text.count(line) == 1
    *head, close, volume = line.split(",")
    wrong = close[:-1] + str((int(close[-1]) + 1) % 9 + 1 if close[-1] != "8" else 1)
    assert wrong != close
    at = text.index(line)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(",".join([*head, wrong, volume]).encode())
    return float(wrong)
