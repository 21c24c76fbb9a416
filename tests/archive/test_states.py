"""Closed candles and tickers: the files are the tape, whatever becomes of the archive, and say what they lack."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from archive import archive_process
from archive.test_archive_killed import living
from archive.test_archive_outages import LATER, archiving, replaceable
from archive.test_reads import answering
from archive.written_states import (
    SYMBOLS,
    States,
    are_closed,
    candles_of,
    certificates,
    days_of,
    tickers_of,
    until_archived,
)
from archive.written_tape import START
from support.ports import free_port
from tickwire.archive_files.candle_rows import CandleRows
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.parts import write_part
from tickwire.archive_files.root import FolderRoot
from tickwire.archive_files.ticker_rows import TickerRows
from tickwire.bus import streams
from tickwire.bus.connection import connect
from tickwire.client import Gap, IncompleteTrades, NotArchived, archived, connect_sync
from tickwire.model.feeds import Ticker
from tickwire.model.feeds.layout import HELD
from tickwire.model.messages import CandlePage
from tickwire.model.times import now_ms
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

HOUR = 3_600_000
KINDS = ["candle", "ticker"]
BTC = SYMBOLS[0]


async def test_an_archive_killed_again_and_again_has_each_candle_and_each_ticker(broker: str, tmp_path: Path) -> None:
    root, killed, draw = tmp_path / "archive", 0, random.Random(3)
    configured = archive_process.settings(broker, root, kinds=KINDS)
    async with connect(NatsSettings(url=broker), name="test") as bus:
        await streams.declare_for(bus.jetstream, configured)
        await streams.declare_archive(bus.jetstream, configured.archive)
        states = States(bus)
        # A first day, a last one, and at least one between.
        enough = states.at + 3 * 24 * HOUR
        async with living(broker, root, kinds=KINDS) as lives:
            writing = asyncio.create_task(states.go_on(lambda: killed >= 8 and states.at > enough, step=HOUR // 3))
            while killed < 8:
                await asyncio.sleep(draw.uniform(0.05, 0.5))
                await lives.kill()
                killed += 1
            await writing
            await states.end_day()
            await until_archived(root, states)
    for symbol in SYMBOLS:
        assert tickers_of(root, symbol) == states.tickers[symbol]
        assert candles_of(root, symbol) == states.candles_of(symbol)
        # Followed from the first message on; the last day has but one, at its begin.
        found = [each["condition"] for each in certificates(root, "ticker", symbol)]
        assert found[:1] == ["partial"]
        assert set(found[1:-1]) == {"complete"}
        assert len(found) > 2
        # Every candle of each day is proven, from its begin.
        assert {each["condition"] for each in certificates(root, "candle", symbol)} == {"complete"}
        assert len(days_of(root, "candle", symbol)) == len(found) - 1


@asynccontextmanager
async def stating(broker: str, root: Path) -> AsyncIterator[States]:
    """Who writes tickers and candles to the streams of a broker that an archive of them uses."""
    configured = archive_process.settings(broker, root, kinds=KINDS)
    async with connect(NatsSettings(url=broker), name="test") as bus:
        await streams.declare_for(bus.jetstream, configured)
        await streams.declare_archive(bus.jetstream, configured.archive)
        yield States(bus)


async def test_tickers_are_replayed_before_their_first_file_is_written(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    async with stating(broker, root) as states:
        begun = states.at
        for _ in range(3):
            states.at += HOUR
            await states.mirrored(await states.ticker(BTC))
        async with answering(broker, root, kinds=KINDS) as client:
            async with asyncio.timeout(100):
                found = [each.item async for each in client.replay([("ticker", "binance", BTC)], begun)]
            with pytest.raises(NotArchived, match="ETH/USDT is not archived"):
                await anext(client.replay([("ticker", "binance", "ETH/USDT")], begun))
    gap, *tickers = found
    assert isinstance(gap, Gap)
    assert (gap.until, gap.reason) == (states.tickers[BTC][0][0], "not archived")
    told = [(each.timestamp, each.received) for each in tickers if isinstance(each, Ticker)]
    assert told == [row[:2] for row in states.tickers[BTC]]


async def test_a_replay_of_tickers_that_are_archived_no_more_ends_with_the_archive(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    async with stating(broker, root) as states:
        begun = states.at
        async with archiving(broker, root, kinds=KINDS, certify_after_s=LATER), asyncio.timeout(100):
            for _ in range(3):
                states.at += HOUR
                await states.mirrored(await states.ticker(BTC))
            while len(tickers_of_parts(root)) < 3:
                await asyncio.sleep(0.1)
        await states.bus.jetstream.delete_stream(HELD["ticker"])
        before = now_ms()
        async with answering(broker, root, kinds=["trade"]) as client, asyncio.timeout(100):
            found = [each.item async for each in client.replay([("ticker", "binance", BTC)], begun)]
    *tickers, gap = found[1:]
    told = [(each.timestamp, each.received) for each in tickers if isinstance(each, Ticker)]
    assert told == [row[:2] for row in states.tickers[BTC]]
    assert isinstance(gap, Gap)
    assert gap.reason == "not archived"
    assert gap.until is not None
    assert gap.until >= before


def tickers_of_parts(root: Path) -> list[Any]:
    return [row for path in root.glob("ticker/*/*/*/part-*") for row in pq.read_table(path).to_pylist()]


async def test_what_was_lost_before_the_archive_read_it_is_listed(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    configured = archive_process.settings(broker, root, kinds=KINDS)
    async with connect(NatsSettings(url=broker), name="test") as bus:
        await streams.declare_for(bus.jetstream, configured)
        await streams.declare_archive(bus.jetstream, configured.archive)
        states = States(bus)
        lost = 0
        for number in range(6):
            states.at += 5 * HOUR
            sequence = await states.ticker(BTC)
            await states.page(BTC, "1h", again=0)
            await states.mirrored(sequence)
            lost = sequence if number == 2 else lost
        assert await bus.jetstream.delete_msg(HELD["ticker"], lost)
        # The third page: five hours.
        assert await bus.jetstream.delete_msg(HELD["candle"], 3)
        async with archiving(broker, root, kinds=KINDS), asyncio.timeout(60):
            while not all(len(found := days_of(root, kind, BTC)) == 2 and are_closed(found) for kind in KINDS):
                await asyncio.sleep(0.1)
    begin = states.at - 30 * HOUR
    ticker, candle = (certificates(root, kind, BTC)[0] for kind in KINDS[::-1])
    assert (ticker["rows"], [(each["since"], each["until"]) for each in ticker["gaps"]]) == (
        3,
        [(begin + 10 * HOUR - 1, begin + 20 * HOUR)],
    )
    assert "expired" in ticker["gaps"][0]["reason"]
    missing = [(each["since"] + 1, each["until"], each["reason"].partition(":")[0]) for each in candle["gaps"]]
    assert (candle["condition"], missing) == ("gaps", [(begin + 10 * HOUR, begin + 15 * HOUR, "1h")])


def is_listed(time: int, days: list[dict[str, Any]], timeframe: str = "") -> bool:
    """Whether certificates say that a row of a time may be missing."""
    is_watched = any(since <= time < until for day in days for since, until in day["watched"])
    gaps = [gap for day in days for gap in day["gaps"] if gap["reason"].startswith(timeframe)]
    return not is_watched or any(gap["since"] < time <= gap["until"] for gap in gaps)


def has_newest(root: Path, states: States) -> bool:
    """Whether the newest rows are in files of closed days."""
    try:
        is_there = tickers_of(root, BTC)[-1:] == states.tickers[BTC][-1:]
        is_there = is_there and candles_of(root, BTC)[-1:] == states.candles_of(BTC)[-1:]
    except FileNotFoundError:
        return False
    return is_there and are_closed([*days_of(root, "ticker", BTC), *days_of(root, "candle", BTC)])


async def test_what_a_broker_lost_when_it_was_restarted_is_listed(tmp_path: Path) -> None:
    root, port = tmp_path / "archive", free_port()
    url = f"nats://127.0.0.1:{port}"
    configured = archive_process.settings(url, root, kinds=KINDS)
    written: list[States] = []
    async with living(url, root, kinds=KINDS) as _:
        for _number in range(3):
            async with (
                replaceable(tmp_path / "nats", port),
                connect(NatsSettings(url=url), name="test") as bus,
                asyncio.timeout(100),
            ):
                await streams.declare_for(bus.jetstream, configured)
                await streams.declare_archive(bus.jetstream, configured.archive)
                states = States(bus)
                if written:
                    states.continues(written[-1])
                written.append(states)
                last = await states.ticker(BTC)
                if len(written) == 1:
                    await states.mirrored(last)
                # After a restart the mirror is away for a moment, and is not waited for.
                for _turn in range(40):
                    states.at += HOUR // 3
                    last = await states.ticker(BTC)
                    await states.page(BTC, "1h")
                await states.mirrored(last)
                if len(written) == 3:
                    while not has_newest(root, states):
                        await asyncio.sleep(0.1)
    states = written[-1]
    found, certified = tickers_of(root, BTC), certificates(root, "ticker", BTC)
    # Each once, in the order of the tape; two have the time at which the broker was restarted.
    sequences = [row[-1] for row in found]
    assert sequences == sorted(set(sequences))
    assert set(found) <= set(states.tickers[BTC])
    assert [row for row in states.tickers[BTC] if row not in found and not is_listed(row[0], certified)] == []
    candles, certified = candles_of(root, BTC), certificates(root, "candle", BTC)
    missing = [row for row in states.candles_of(BTC) if row not in candles]
    assert [row for row in missing if not is_listed(row[0] + 1, certified, row[1])] == []


async def test_candles_and_tickers_are_read_by_request(broker: str, tmp_path: Path) -> None:
    root = FolderRoot(tmp_path / "archive")
    at = [START + number * HOUR for number in range(3)]
    for number, close in enumerate((1.0, 2.0)):
        candles, tickers = CandleRows(START, number), TickerRows(START, number)
        page = CandlePage(
            exchange="binance",
            symbol=BTC,
            timeframe="1h",
            since=at[0],
            until=at[2],
            rows=[(each, 1.0, 3.0, 0.5, close, 9.0) for each in at[:2]],
        )
        state = Ticker(exchange="binance", symbol=BTC, timestamp=at[number], received=at[number], last=close)
        candles.append(page, number + 1, None)
        tickers.append(state, number + 1, number)
        for part in [*candles.parts(number + 1), *tickers.parts(number + 1)]:
            write_part(root, part)
    async with answering(broker, tmp_path / "archive") as client:
        found = await client.archive_frame("candle", "binance", BTC, at[0], at[2])
        assert (found["timeframe"].tolist(), found["close"].tolist()) == (["1h", "1h"], [2.0, 2.0])
        # The pages of an open day prove what they have.
        assert found.attrs["complete"]
        with pytest.warns(IncompleteTrades, match="rows in"):
            table = await client.archive_frame("ticker", "binance", BTC, at[0], at[2], form="arrow")
        assert table.column("last").to_pylist() == [1.0, 2.0]
        # Of later times nothing is known.
        later = [each.item async for each in client.replay([("ticker", "binance", BTC)], at[2], at[2] + HOUR)]
        assert [isinstance(each, Gap) and (each.since, each.until) for each in later] == [(at[2] - 1, at[2] + HOUR)]
        with connect_sync(broker) as sync, pytest.warns(IncompleteTrades):
            same = await asyncio.to_thread(sync.archive_frame, "ticker", "binance", BTC, at[0], at[2])
        assert same["last"].tolist() == [1.0, 2.0]
        with pytest.raises(NotArchived):
            await client.archive_frame("book_delta", "binance", BTC, at[0])
        days = await archived.days(client.bus, ArchivedFeed("candle", "binance", BTC), None, None)
        assert [(each.condition, each.rows) for each in days] == [("open", 4)]
