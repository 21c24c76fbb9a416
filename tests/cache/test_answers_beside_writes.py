"""Requests to a cache that splices or repairs: each answer is whole, in both formats, from any instance."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cache.splices import FIRST, KEY, MINUTE, NEWEST, as_lines, backwards, page
from support.pipeline import CONFIG, Pipeline, pipeline
from support.processes import SimulatorProcess
from tickwire.bus.connection import CHUNK_BYTES, Bus
from tickwire.cache import replies
from tickwire.client.columns import rows_of
from tickwire.errors import CacheFileError
from tickwire.model import messages, subjects
from tickwire.model.messages import (
    CacheList,
    CandleColumns,
    CandlePage,
    Candles,
    CandlesRequest,
    Coverage,
    KeyRequest,
    Repair,
    Row,
)
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("declared")]


async def asked(bus: Bus, key: Key, form: str) -> list[Row]:
    request = CandlesRequest(**key._asdict(), format=form)  # type: ignore[arg-type]
    found: list[Row] = []
    if form == "columns":
        decode = msgspec.msgpack.Decoder(CandleColumns).decode
        async for chunk in bus.request_chunks("cache.get", request, decode):
            found += rows_of(chunk)
    else:
        async for candles in bus.request_chunks("cache.get", request, lambda data: messages.decode(data, Candles)):
            found += candles.rows
    return found


async def publish(line: Pipeline, one: CandlePage) -> None:
    await line.bus.append(subjects.ohlcv(one.key), messages.encode(one), message_id=f"{one.key}-{one.since}")


async def until_stored(line: Pipeline, since: int, key: Key = KEY) -> None:
    async with asyncio.timeout(60):
        while not any(stored.since == since and stored.symbol == key.symbol for stored in line.stored):
            await asyncio.sleep(0.005)


async def test_answers_beside_splices_are_whole_in_both_formats_from_any_instance(
    broker: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    splices = list(backwards(40))
    contents = [rows for _, rows in splices]
    async with pipeline(broker, simulator, tmp_path, ["cache"], lease_ttl_s=5.0) as line:
        await line.start("cache", 1)
        await line.started("cache", 1)
        await line.observe_stored()
        await publish(line, splices[0][0])
        await until_stored(line, splices[0][0].since)
        done, answers = 0, 0
        over = asyncio.Event()

        async def keep_asking(form: str) -> None:
            nonlocal answers
            while not over.is_set():
                before = done
                found = await asked(line.bus, KEY, form)
                assert found in contents[before : done + 2], f"{len(found)} rows that were never in the file"
                answers += 1

        async def keep_counting() -> None:
            """The rows of a part of it, and what is missing there: nothing ever."""
            while not over.is_set():
                whole = KeyRequest(**KEY._asdict(), since=0, until=NEWEST * MINUTE)
                counted = await line.bus.request("cache.coverage", whole, Coverage, timeout_s=15)
                assert counted.holes == 0
                assert counted.rows == sum(until - since for since, until in counted.verified) // MINUTE

        async with asyncio.TaskGroup() as group:
            for form in ("rows", "columns", "rows", "columns"):
                group.create_task(keep_asking(form))
            group.create_task(keep_counting())
            for number, (one, _) in enumerate(splices[1:], start=1):
                await publish(line, one)
                await until_stored(line, one.since)
                done = number
            over.set()
        assert answers > len(splices)
        assert line.rows(KEY) == contents[-1]
        assert all(each.process.returncode is None for each in line.running.values())


async def test_a_range_of_millions_of_rows_holds_nothing_up_and_costs_no_lease(
    broker: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    key, ttl_s, rows = Key("binance", "BTC/USDT", "1s"), 2.0, 2_000_000
    config = CONFIG + "[log]\nstalls = true\n"
    async with pipeline(broker, simulator, tmp_path, (), config, lease_ttl_s=ttl_s) as line:
        line.cache_dir.mkdir()
        # As a file that was copied from elsewhere: its rows prove themselves.
        since = FIRST * MINUTE
        with (line.cache_dir / f"{subjects.file_stem(key)}.csv").open("w") as file:
            file.write("dates,opens,highs,lows,closes,volumes\n")
            file.writelines(f"{since + n * 1000},1.25,{n % 977 + 0.5},0.125,{n / 7!r},3.5\n" for n in range(rows))
        await line.start("cache")
        await line.started("cache")
        whole = KeyRequest(exchange=key.exchange, symbol=key.symbol, timeframe="1s", since=since + 1000, until=2**42)
        counted = await line.bus.request("cache.coverage", whole, Coverage, timeout_s=250)
        assert (counted.rows, counted.holes) == (rows - 1, 0)
        # The broker ends the connection of a reader that is 64 MiB behind: these are 55 MiB.
        asked = 1_200_000
        request = CandlesRequest(
            exchange=key.exchange, symbol=key.symbol, timeframe="1s", format="columns", limit=asked
        )
        seen = 0
        decode = msgspec.msgpack.Decoder(CandleColumns).decode
        chunks = [chunk async for chunk in line.bus.request_chunks("cache.get", request, decode, timeout_s=250)]
        for chunk in chunks:
            dates = np.frombuffer(chunk.dates, "<i8")
            closes = np.frombuffer(chunk.closes, "<f8")
            assert dates.tolist() == list(range(since + seen * 1000, since + (seen + len(dates)) * 1000, 1000))
            assert closes.tolist() == [n / 7 for n in range(seen, seen + len(dates))]
            seen += len(dates)
        assert seen == asked
        assert len(chunks) > 100
        log = [json.loads(each) for each in (tmp_path / "cache-0.log").read_text().splitlines() if each[0] == "{"]
        assert not [each for each in log if each["event"] == "lease lost"]
        stalls = [each["longest_stall_ms"] for each in log if each["event"] == "stalls"]
        assert stalls
        assert max(stalls) < ttl_s / 3 * 1000


async def test_answers_beside_a_repair_are_whole_or_name_the_damage(
    broker: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    rows = page(range(FIRST, FIRST + 2000), 0).rows
    damaged = 1000
    repaired = [row for number, row in enumerate(rows) if number != damaged]
    async with pipeline(broker, simulator, tmp_path, ["cache"], lease_ttl_s=5.0) as line:
        await line.observe_stored()
        await publish(line, page(range(FIRST, FIRST + 2000), 0))
        await until_stored(line, FIRST * MINUTE)
        file = line.cache_dir / f"{subjects.file_stem(KEY)}.csv"
        over = asyncio.Event()
        refusals: set[str] = set()
        answers = 0

        async def keep_asking(form: str) -> None:
            nonlocal answers
            while not over.is_set():
                try:
                    found = await asked(line.bus, KEY, form)
                except CacheFileError as error:
                    refusals.add(error.message.rpartition(": ")[2])
                else:
                    assert found in (rows, repaired)
                    answers += 1

        async with asyncio.TaskGroup() as group:
            for form in ("rows", "columns"):
                group.create_task(keep_asking(form))
            for _ in range(5):
                lines = as_lines(rows).split(b"\n")
                lines[damaged] = b"?" * len(lines[damaged])
                damage = file.with_suffix(".tmp")
                damage.write_bytes(b"dates,opens,highs,lows,closes,volumes\n" + b"\n".join(lines))
                damage.rename(file)
                ask = KeyRequest(**KEY._asdict())
                report = await line.bus.request("cache.repair", ask, Repair, timeout_s=30)
                assert (report.rows_kept, report.lines_dropped) == (len(rows) - 1, 1)
            over.set()
        assert answers
        assert refusals <= {"it is not a row of six numbers"}
        assert line.rows(KEY) == repaired
        assert all(each.process.returncode is None for each in line.running.values())


def test_a_key_with_too_many_ranges_for_a_message_is_named_and_others_are_listed() -> None:
    ranges = [Range(2 * n * MINUTE, (2 * n + 1) * MINUTE) for n in range(60_000)]
    scattered = Coverage(exchange="binance", symbol="A/B", timeframe="1m", rows=60_000, verified=ranges)
    sound = [Coverage(exchange="binance", symbol=f"C{n}/D", timeframe="1m") for n in range(5000)]
    chunks = list(replies.as_list([scattered, *sound], ["a note"]))
    assert max(map(len, chunks)) <= CHUNK_BYTES
    parts = [messages.decode(chunk, CacheList) for chunk in chunks]
    assert [key.symbol for part in parts for key in part.keys] == [key.symbol for key in sound]
    notes = [note for part in parts for note in part.damaged]
    assert notes[0] == "a note"
    assert "A/B 1m has 60,000 separate verified ranges" in notes[1]
