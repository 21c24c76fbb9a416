"""The cache against a real broker: pages in, files and announcements out, questions answered by any instance."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import nats.errors
import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace
from nats.aio.msg import Msg

from cache.cache_process import run, settings
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
    RejectedPage,
    Repair,
    Row,
    Stored,
    Verification,
)
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

pytestmark = pytest.mark.actors

KEY = Key("binance", "BTC/USDT", "1m")
MINUTE = 60_000


@asynccontextmanager
async def running(broker: str, folder: Path, instance: str = "one") -> AsyncIterator[None]:
    """A cache instance in this process, on a connection of its own."""
    stop = asyncio.Event()
    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        group.create_task(run(settings(broker, folder), instance, stop))
        try:
            yield
        finally:
            stop.set()


def row_at(minute: int) -> Row:
    return (minute * MINUTE, 1.5, 2.0 + minute, 0.5, 1e-7, 1234.0)


def page(minutes: Iterable[int], key: Key = KEY) -> CandlePage:
    """A page with the rows of these minutes."""
    rows = [row_at(minute) for minute in minutes]
    return CandlePage(**key._asdict(), since=rows[0][0], until=rows[-1][0] + MINUTE, rows=rows)


def ask(key: Key = KEY) -> KeyRequest:
    return KeyRequest(**key._asdict())


def candles(**limits: object) -> CandlesRequest:
    return msgspec.convert(
        {"exchange": KEY.exchange, "symbol": KEY.symbol, "timeframe": KEY.timeframe, **limits}, CandlesRequest
    )


async def answering(bus: Bus) -> None:
    """Wait until an instance answers at all."""
    async with asyncio.timeout(100):
        while True:
            try:
                await bus.client.request("$SRV.PING.cache", b"", timeout=0.2)
            except nats.errors.Error:
                await asyncio.sleep(0.02)
            else:
                return


async def coverage(bus: Bus, key: Key = KEY) -> Coverage:
    return await bus.request("cache.coverage", ask(key), Coverage, timeout_s=15)


async def store(bus: Bus, *pages: CandlePage) -> list[Stored]:
    """Publish pages and wait until all are announced."""
    announced: list[Stored] = []
    arrived = asyncio.Event()

    async def take(message: Msg) -> None:
        announced.append(messages.decode(message.data, Stored))
        if len(announced) >= len(pages):
            arrived.set()

    subscription = await bus.subscribe("md.stored.>", take)
    await bus.client.flush()
    for number, each in enumerate(pages):
        await bus.append(
            subjects.ohlcv(each.key), messages.encode(each), message_id=f"{each.key} {each.since} {number}"
        )
    async with asyncio.timeout(100):
        await arrived.wait()
    await subscription.unsubscribe()
    return announced


async def rows_of(bus: Bus, request: CandlesRequest) -> list[Row]:
    rows: list[Row] = []
    async for chunk in bus.request_chunks("cache.get", request, partial(messages.decode, kind=Candles), timeout_s=15):
        rows += chunk.rows
    return rows


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


async def test_what_is_no_page_is_passed_over(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with running(broker, tmp_path):
        await bus.append(subjects.ohlcv(KEY), b"hello", message_id="1")
        wrong = page(range(3))
        await bus.append(subjects.ohlcv(KEY), messages.encode(msgspec.structs.replace(wrong, until=1)), message_id="2")
        assert [stored.rows for stored in await store(bus, page(range(2)))] == [2]


@pytest.mark.parametrize("key", [KEY, Key("kraken", "BTC/USD", "1h")], ids=str)
async def test_each_page_that_is_passed_over_is_published_with_its_place_and_the_reason(
    bus: Bus, broker: str, tmp_path: Path, key: Key
) -> None:
    told: list[RejectedPage] = []

    async def take(message: Msg) -> None:
        told.append(messages.decode(message.data, RejectedPage))

    await bus.subscribe(subjects.rejected(key), take)
    good = CandlePage(**key._asdict(), since=0, until=7_200_000, rows=[])
    wrong = json.loads(messages.encode(good))
    payloads = [
        b"no page",
        json.dumps({**wrong, "symbol": "X" * 4_096}).encode(),
        json.dumps({**wrong, "symbol": "ETH/USDT"}).encode(),
        json.dumps({**wrong, "until": 10**18}).encode(),
        json.dumps({**wrong, "until": -1}).encode(),
        json.dumps({**wrong, "rows": [[0, None, 1, 1, 1, 1]]}).encode(),
        b'{"a":' * 50_000,
        json.dumps({**wrong, "since": 7_200_000, "until": 0}).encode(),
    ]
    async with running(broker, tmp_path):
        sequences = [
            (await bus.append(subjects.ohlcv(key), data, message_id=str(number))).seq
            for number, data in enumerate(payloads)
        ]
        await store(bus, good)
        async with asyncio.timeout(100):
            while len(told) < len(payloads):
                await asyncio.sleep(0.01)
    assert sorted(each.sequence for each in told) == sequences
    assert {(each.exchange, each.symbol, each.timeframe) for each in told} == {tuple(key)}
    assert all(each.reason for each in told)
    # Of the one that could be read.
    assert [(each.since, each.until) for each in told if each.since is not None] == [(7_200_000, 0)]


async def test_a_page_under_another_keys_subject_is_passed_over(bus: Bus, broker: str, tmp_path: Path) -> None:
    others = [Key("okx", f"C{number}/USDT", "1m") for number in range(8)]
    async with running(broker, tmp_path):
        for other in others:
            await bus.append(subjects.ohlcv(KEY), messages.encode(page([1], other)), message_id=str(other))
        assert await store(bus, page([1, 2]))


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


async def test_a_page_of_a_time_that_has_not_happened_is_published_as_rejected(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    rejected: asyncio.Queue[RejectedPage] = asyncio.Queue()

    async def take(message: Msg) -> None:
        rejected.put_nowait(messages.decode(message.data, RejectedPage))

    await bus.subscribe(subjects.rejected(KEY), take)
    ahead = (time.time_ns() // 1_000_000 + 365 * 86_400_000) // MINUTE
    async with running(broker, tmp_path / "cache"):
        await store(bus, page(range(5)))
        await bus.append(subjects.ohlcv(KEY), messages.encode(page(range(ahead, ahead + 5))), message_id="ahead")
        async with asyncio.timeout(60):
            said = await rejected.get()
        assert (said.since, said.until) == (ahead * MINUTE, (ahead + 5) * MINUTE)
        assert "not in the past" in said.reason
        # The partition goes on, and knows nothing of it.
        await store(bus, page(range(5, 9)))
        assert (await coverage(bus)).verified == [Range(0, 9 * MINUTE)]
