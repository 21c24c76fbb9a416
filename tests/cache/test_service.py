"""The cache against a real broker: pages in, files and announcements out, requests answered by any instance."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace

from cache.cache_process import run, settings
from cache.served import KEY, MINUTE, answering, ask, candles, coverage, page, row_at, rows_of, running, store
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.errors import BadRequest, CacheFileError, NotCached, StorageError, UnsupportedTimeframe
from tickwire.model import messages, subjects
from tickwire.model.messages import (
    CacheList,
    CandleColumns,
    CandlePage,
    Candles,
    CandlesRequest,
    Coverage,
    KeyRequest,
    ListRequest,
    Repair,
    Row,
    Verification,
)
from tickwire.model.subjects import Key

pytestmark = pytest.mark.actors


async def test_pages_become_files_announcements_and_answers(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with running(broker, tmp_path / "cache"):
        [stored] = await store(bus, page(range(5)))
        assert (stored.since, stored.until, stored.rows, stored.total_rows) == (0, 5 * MINUTE, 5, 5)
        assert (tmp_path / "cache" / "binance_BTC-USDT_1m.csv").read_text().splitlines()[
            1
        ] == "0,1.5,2.0,0.5,1e-07,1234.0"
        known = await coverage(bus)
        assert (known.rows, known.first, known.last, known.verified) == (5, 0, 4 * MINUTE, [(0, 5 * MINUTE)])
        assert await rows_of(bus, candles(since=MINUTE, until=4 * MINUTE, limit=2)) == [row_at(1), row_at(2)]
        assert await rows_of(bus, candles(since=99 * MINUTE)) == []
        assert (await bus.request("cache.verify", ask(), Verification)).problem_count == 0
        assert (await bus.request("cache.repair", ask(), Repair)).moved_to == ""


async def test_of_a_key_never_fetched_nothing_is_known_and_nothing_can_be_read(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    async with running(broker, tmp_path):
        await answering(bus)
        assert await coverage(bus) == Coverage(exchange="binance", symbol="BTC/USDT", timeframe="1m")
        with pytest.raises(NotCached, match="is not cached; tickwire candles fetch binance BTC/USDT 1m"):
            await rows_of(bus, candles())
        for wrong in (candles(since=5, until=4), replace(candles(), limit=-1), candles(symbol="")):
            with pytest.raises(BadRequest):
                await rows_of(bus, wrong)


async def test_a_day_without_trades_is_quiet_whether_it_has_rows_of_volume_0_or_none(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    key, hour = Key("okx", "XYZ/USDT", "1h"), 60 * MINUTE
    traded, of_zero = {*range(24), *range(72, 96)}, {*range(24, 47)}
    rows = [(at * hour, 1.0, 1.0, 1.0, 1.0, 2.0 if at in traded else 0.0) for at in sorted(traded | of_zero)]
    async with running(broker, tmp_path):
        await store(bus, CandlePage(**key._asdict(), since=0, until=96 * hour, rows=rows))
        asked = replace(ask(key), since=0, until=96 * hour)
        assert (await bus.request("cache.coverage", asked, Coverage)).quiet == []
        found = await bus.request("cache.coverage", replace(asked, quiet=True), Coverage)
        assert (found.quiet, found.rows, found.holes) == ([(24 * hour, 72 * hour)], len(rows), 25)
        found = await bus.request("cache.coverage", replace(ask(key), since=30 * hour, quiet=True), Coverage)
        assert found.quiet == [(30 * hour, 72 * hour)]


@pytest.mark.parametrize("timeframe", ["1Y", "90", "0m", "", "m"])
async def test_what_is_no_timeframe_is_refused_by_every_endpoint(
    bus: Bus, broker: str, tmp_path: Path, timeframe: str
) -> None:
    key = Key("binance", "BTC/USDT", timeframe)._asdict()
    asked: list[tuple[str, Struct]] = [
        ("cache.get", CandlesRequest(**key)),
        ("cache.get", CandlesRequest(**key, format="columns")),
        ("cache.coverage", KeyRequest(**key)),
        ("cache.coverage", KeyRequest(**key, since=0, until=1)),
        ("cache.verify", KeyRequest(**key)),
        ("cache.repair", KeyRequest(**key)),
    ]
    # What another program left under such a name is no key, and no reason to refuse the others.
    (tmp_path / f"binance_BTC-USDT_{timeframe}.csv").write_text("date,open,high,low,close,volume\n")
    async with running(broker, tmp_path):
        await store(bus, page(range(3)))
        for subject, request in asked:
            with pytest.raises(UnsupportedTimeframe, match="is not a timeframe"):
                await bus.request(subject, request, Coverage)
        chunks = bus.request_chunks("cache.list", ListRequest(), partial(messages.decode, kind=CacheList))
        assert [each.key for chunk in [part async for part in chunks] for each in chunk.keys] == [KEY]


async def test_large_replies_come_in_chunks_below_the_brokers_limit(bus: Bus, broker: str, tmp_path: Path) -> None:
    sizes: list[int] = []

    def decoded(kind: type[Candles] | type[CandleColumns], data: bytes) -> Candles | CandleColumns:
        sizes.append(len(data))
        if kind is Candles:
            return msgspec.json.decode(data, type=Candles)
        return msgspec.msgpack.decode(data, type=CandleColumns)

    count = 30_000
    async with running(broker, tmp_path):
        await store(bus, *(page(range(at, at + 5000)) for at in range(0, count, 5000)))
        rows: list[Row] = []
        async for chunk in bus.request_chunks("cache.get", candles(), partial(decoded, Candles)):
            rows += chunk.rows  # type: ignore[union-attr]
        assert rows == [row_at(minute) for minute in range(count)]
        assert len(sizes) > 1
        dates = highs = b""
        async for part in bus.request_chunks("cache.get", candles(format="columns"), partial(decoded, CandleColumns)):
            dates += part.dates  # type: ignore[union-attr]
            highs += part.highs  # type: ignore[union-attr]
        assert np.frombuffer(dates, "<i8").tolist() == [minute * MINUTE for minute in range(count)]
        assert np.frombuffer(highs, "<f8").tolist() == [2.0 + minute for minute in range(count)]
        assert max(sizes) <= 512 * 1024


async def test_older_candles_are_there_when_asked_for_and_the_stream_is_emptied(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    async with running(broker, tmp_path):
        await store(bus, page(range(100, 110)))
        await store(bus, page(range(10)), page(range(10, 20)))
        assert [row[0] // MINUTE for row in await rows_of(bus, candles())] == [*range(20), *range(100, 110)]
        async with asyncio.timeout(100):
            while (await bus.jetstream.stream_info(streams.OHLCV)).state.messages:
                await asyncio.sleep(0.05)


async def test_keys_of_every_partition_are_listed_and_damaged_files_are_named(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    keys = [Key("binance", f"C{number}/USDT", "1m") for number in range(20)]
    (tmp_path / "okx_BTC-USDT_1h.csv").write_text("time,price\n1,2\n")
    async with running(broker, tmp_path):
        await store(bus, *(page(range(3), key) for key in keys))
        listed: list[Coverage] = []
        damaged: list[str] = []
        async for chunk in bus.request_chunks("cache.list", ListRequest(), partial(messages.decode, kind=CacheList)):
            listed += chunk.keys
            damaged += chunk.damaged
        assert sorted(each.key for each in listed) == sorted(keys)
        assert {each.rows for each in listed} == {3}
        assert ["okx_BTC-USDT_1h.csv, line 1" in note for note in damaged] == [True]
        assert len({subjects.partition_of(key, 8) for key in keys}) > 4


async def test_a_damaged_file_is_refused_in_one_line_until_it_is_repaired(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    file = tmp_path / "binance_BTC-USDT_1m.csv"
    file.write_text("dates,opens,highs,lows,closes,volumes\n0,1.0,1.0,1.0,1.0,1.0\nhello\n120000,1.0,1.0,1.0,1.0,1.0\n")
    async with running(broker, tmp_path):
        await answering(bus)
        with pytest.raises(CacheFileError, match=r"line 3.*tickwire candles repair binance BTC/USDT 1m"):
            await coverage(bus)
        assert [p.line for p in (await bus.request("cache.verify", ask(), Verification)).problems] == [3]
        done = await bus.request("cache.repair", ask(), Repair)
        assert (done.rows_kept, done.lines_dropped) == (2, 1)
        assert Path(done.moved_to).read_text().count("hello") == 1
        assert (await coverage(bus)).rows == 2
        await store(bus, page([1]))
        assert (await coverage(bus)).verified == [(0, 3 * MINUTE)]


async def test_either_of_two_instances_answers_for_all_keys(bus: Bus, broker: str, tmp_path: Path) -> None:
    keys = [Key("binance", f"C{number}/USDT", "1m") for number in range(16)]
    async with running(broker, tmp_path, "one"), running(broker, tmp_path, "two"):
        await store(bus, *(page(range(4), key) for key in keys))
        for _ in range(3):
            answers = await asyncio.gather(*(coverage(bus, key) for key in keys))
            assert [(each.key, each.rows) for each in answers] == [(key, 4) for key in keys]
        stats = await bus.client.request("$SRV.PING.cache", b"", timeout=60)
        assert msgspec.json.decode(stats.data)["name"] == "cache"


async def test_a_request_during_start_up_waits_for_the_partition_and_is_answered(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    async with running(broker, tmp_path):
        await answering(bus)
        assert (await coverage(bus)).rows == 0


async def test_a_folder_that_cannot_be_written_is_refused_at_the_start_in_one_line(broker: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write to the cache folder") as failure:
        await run(settings(broker, tmp_path / "file"), "one", asyncio.Event())
    assert "\n" not in str(failure.value)
