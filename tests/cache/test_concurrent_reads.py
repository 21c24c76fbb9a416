"""Reads beside a writer: each answer is the whole file as it was at some moment between question and answer."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cache.stored import opened
from support.pipeline import CONFIG, Pipeline, pipeline
from support.processes import SimulatorProcess
from tickwire.bus.connection import CHUNK_BYTES, Bus
from tickwire.cache import replies
from tickwire.client.columns import rows_of
from tickwire.errors import CacheFileError, Fenced
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

pytestmark = pytest.mark.faults

MINUTE = 60_000
KEY = Key("binance", "BTC/USDT", "1m")
FIRST = 1_700_000_040_000 // MINUTE
NEWEST = FIRST + 100_000
ROWS = 40
"""Rows that each page adds before those that are there."""


def row_at(minute: int, version: int) -> Row:
    # Lines of unlike length, so that an old size never ends a line of the new file by chance.
    return (minute * MINUTE, 1.5, 2.0 + version, 0.5, 10.0 ** (minute % 7) / 3, float(minute % 1000))


def page(minutes: range, version: int, key: Key = KEY) -> CandlePage:
    return CandlePage(
        **key._asdict(),
        since=minutes.start * MINUTE,
        until=minutes.stop * MINUTE,
        rows=[row_at(minute, version) for minute in minutes],
    )


def backwards(pages: int) -> Iterator[tuple[CandlePage, list[Row]]]:
    """Pages that each go before the last one and change its first ten rows, and all rows there are after each."""
    rows: dict[int, Row] = {}
    for version in range(pages):
        start = NEWEST - (version + 1) * ROWS
        one = page(range(start, start + ROWS + (10 if version else 0)), version)
        rows |= {row[0]: row for row in one.rows}
        yield one, [rows[date] for date in sorted(rows)]


def as_lines(rows: list[Row]) -> bytes:
    """By Python's own formatting."""
    return "".join(f"{row[0]}," + ",".join(map(repr, row[1:])) + "\n" for row in rows).encode()


def decoded_rows(key: Key, lines: bytes) -> list[Row]:
    found: list[Row] = []
    for chunk in replies.as_rows(key, [lines]):
        found += msgspec.json.decode(chunk, type=Candles).rows
    return found


def decoded_columns(key: Key, lines: bytes) -> list[Row]:
    found: list[Row] = []
    for chunk in replies.as_columns(key, [lines]):
        found += rows_of(msgspec.msgpack.decode(chunk, type=CandleColumns))
    return found


def test_1500_reads_beside_150_splices_are_neither_torn_nor_short(tmp_path: Path) -> None:
    splices = list(backwards(150))
    store = opened(tmp_path)
    store.commit([(1, splices[0][0])])
    done, reads = 0, 0
    over = threading.Event()

    def read(seed: int) -> int:
        draw = random.Random(seed)
        count = 0
        while not over.is_set() or count < 375:
            before = done
            lines = store.read_lines(KEY, None, None)
            after = min(done + 1, len(splices) - 1)
            expected = [splices[version][1] for version in range(before, after + 1)]
            assert lines in [as_lines(rows) for rows in expected]
            decode = draw.choice([decoded_rows, decoded_columns])
            assert decode(KEY, lines) in expected
            # A part of it, found by bisection.
            since = (NEWEST - draw.randrange(1, ROWS * (before + 2))) * MINUTE
            before = done
            part = store.read_lines(KEY, since, None, 50)
            after = min(done + 1, len(splices) - 1)
            wanted = [[row for row in splices[v][1] if row[0] >= since][:50] for v in range(before, after + 1)]
            assert part in [as_lines(rows) for rows in wanted]
            count += 2
        return count

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read, seed) for seed in range(4)]
        try:
            for number, (one, _) in enumerate(splices[1:], start=1):
                assert not store.commit([(number + 1, one)]).rejected
                assert store.flush().stored
                done = number
        finally:
            over.set()
        reads = sum(reader.result() for reader in readers)
    assert reads >= 1500
    assert as_lines(splices[-1][1]) == store.read_lines(KEY, None, None)


def test_a_former_owner_reads_nothing_once_another_has_replaced_the_file(tmp_path: Path) -> None:
    splices = list(backwards(6))
    former = opened(tmp_path)
    former.commit([(1, splices[0][0])])
    assert former.read_lines(KEY, None, None) == as_lines(splices[0][1])
    follower = opened(tmp_path, 2)
    # Several times: the file system may give a new file the inode of one that is gone.
    for number, (one, rows) in enumerate(splices[1:], start=2):
        follower.commit([(number, one)])
        follower.flush()
        with pytest.raises(Fenced):
            former.read_lines(KEY, None, None)
        assert follower.read_lines(KEY, None, None) == as_lines(rows)


def test_a_reading_taken_before_a_splice_stays_whole_after_it(tmp_path: Path) -> None:
    splices = list(backwards(2))
    store = opened(tmp_path)
    store.commit([(1, splices[0][0])])
    with store.snapshot(KEY) as reading:
        store.commit([(2, splices[1][0])])
        store.flush()
        assert reading.lines(None, None) == as_lines(splices[0][1])
    assert store.read_lines(KEY, None, None) == as_lines(splices[1][1])


@pytest.mark.parametrize("wrong", ["not,a,row,of,six,numbers", "1,2,3", "1,2,3,4,5,6,7", "0,1.0,1.0,1.0,1.0,1.0"])
@pytest.mark.parametrize("convert", [replies.as_rows, replies.as_columns])
def test_a_wrong_line_in_the_middle_is_refused_by_its_number(tmp_path: Path, wrong: str, convert: object) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(range(FIRST, FIRST + 100), 0))])
    file = tmp_path / f"{subjects.file_stem(KEY)}.csv"
    lines = file.read_bytes().split(b"\n")
    lines[50] = wrong.encode().ljust(len(lines[50]), b"0") if wrong[0] != "0" else wrong.encode()
    shorter = sum(map(len, lines)) + len(lines) - 1 - file.stat().st_size
    lines[51] += b"0" * -shorter
    # In place, as an editor may: neither the file's inode nor its size tell.
    with file.open("r+b") as handle:
        handle.write(b"\n".join(lines)[: file.stat().st_size])
    with store.snapshot(KEY) as reading, pytest.raises(CacheFileError, match="line 51"):
        list(reading.messages(None, None, None, convert))  # type: ignore[arg-type]


def test_a_file_that_another_program_removed_is_refused_for_its_key_alone(tmp_path: Path) -> None:
    other = Key("binance", "ETH/USDT", "1m")
    store = opened(tmp_path)
    store.commit([(1, page(range(FIRST, FIRST + 10), 0)), (2, page(range(FIRST, FIRST + 10), 0, other))])
    store.checkpoint()
    (tmp_path / f"{subjects.file_stem(KEY)}.csv").unlink()
    with pytest.raises(CacheFileError, match="missing"):
        store.read_lines(KEY, None, None)
    outcome = store.commit(
        [(3, page(range(FIRST + 10, FIRST + 20), 0)), (4, page(range(FIRST + 10, FIRST + 20), 0, other))]
    )
    assert [stored.symbol for stored in outcome.stored] == [other.symbol]
    assert [rejected.page.symbol for rejected in outcome.rejected] == [KEY.symbol]


def test_a_file_that_another_program_cut_short_is_refused_where_it_was_read_short(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(range(FIRST, FIRST + 10), 0))])
    store.checkpoint()
    file = tmp_path / f"{subjects.file_stem(KEY)}.csv"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CacheFileError, match="line 6: it is cut off"):
        store.read_lines(KEY, None, None)
    assert store.verify(KEY).problem_count > 0


# -- over the bus, with real processes ---------------------------------------------------------------------------


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
        assert all(process.returncode is None for process, _ in line.running.values())


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
        request = CandlesRequest(exchange=key.exchange, symbol=key.symbol, timeframe="1s", format="columns")
        seen, chunks = 0, 0
        decode = msgspec.msgpack.Decoder(CandleColumns).decode
        async for chunk in line.bus.request_chunks("cache.get", request, decode, timeout_s=250):
            dates = np.frombuffer(chunk.dates, "<i8")
            closes = np.frombuffer(chunk.closes, "<f8")
            assert dates.tolist() == list(range(since + seen * 1000, since + (seen + len(dates)) * 1000, 1000))
            assert closes.tolist() == [n / 7 for n in range(seen, seen + len(dates))]
            seen += len(dates)
            chunks += 1
        assert seen == rows
        assert chunks > 100
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
        assert all(process.returncode is None for process, _ in line.running.values())


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
