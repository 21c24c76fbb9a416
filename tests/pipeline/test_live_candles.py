"""Live candles reach the cache by themselves, through a cut of the socket too, and are those of the exchange."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from support import live
from support.hearing import hearing, reports
from support.pipeline import Pipeline, pipeline
from support.processes import SimulatorProcess, running_simulator
from tickwire.model.feeds import Candle, Feed, Status
from tickwire.model.messages import Row, Stored
from tickwire.model.subjects import Key

pytestmark = pytest.mark.system

SECOND = Feed("candle", "binance", "BTC/USDT", "1s")
TRADES = Feed("trade", "binance", "BTC/USDT")
KEY = Key("binance", "BTC/USDT", "1s")
CUT_S = 2


async def candles_of(simulator: SimulatorProcess, since: int, until: int) -> list[Row]:
    """The exchange's own, whose interval is over."""
    found = await simulator.truth("candles", symbol="BTC/USDT", timeframe="1s", since=since, until=until)
    return [(int(row[0]), *map(float, row[1:])) for row in found]  # type: ignore[misc]


async def counts_of(simulator: SimulatorProcess, since: int, until: int) -> list[int]:
    """How many aggregate trades each second has."""
    trades = await simulator.truth("trades", symbol="BTC/USDT", since=since, until=until)
    ids: dict[int, set[int]] = {opened: set() for opened in range(since, until, 1000)}
    for trade in trades:
        ids[trade["timestamp"] // 1000 * 1000].add(trade["agg"])
    return [len(each) for each in ids.values()]


def row_of(candle: Candle) -> Row:
    return (candle.timestamp, candle.open, candle.high, candle.low, candle.close, candle.volume)


def closed(said: list[Candle]) -> list[Candle]:
    return [candle for candle in said if candle.closed]


async def test_candles_reach_the_cache_by_themselves_through_a_cut_as_well(broker: str, tmp_path: Path) -> None:
    """The first, of which only the end was seen, is fetched; those of the cut are built from what REST gave back."""
    async with (
        running_simulator("--live-rate", "40") as simulator,
        pipeline(broker, simulator, tmp_path, ("cache", "fetcher", "streamer")) as line,
        hearing(line.bus, SECOND.public, Candle) as heard,
        hearing(line.bus, TRADES.status.replace("tape.", "md.", 1), Status) as told,
        hearing(line.bus, "md.stored.>", Stored) as stored,
    ):
        await live.start(line.bus, SECOND)
        await heard.until_said(lambda said: len(closed(said)) >= 3)
        await simulator.fault("/ws/", "ws_cut", seconds=CUT_S)
        await told.until_said(lambda said: any(each.event == "disconnected" for each in said))
        # Nor are candles live while trades cannot come.
        states = {each.kind: each.state for each in await reports(line.bus)}
        assert states["candle"] == states["trade"] == "disconnected"
        await told.until_said(lambda said: any(each.event == "repaired" and each.trades for each in said))
        enough = len(closed(heard.said)) + CUT_S + 2
        await heard.until_said(lambda said: len(closed(said)) >= enough)
        said = closed(heard.said)
        since, until = said[0].timestamp, said[-1].timestamp + 1000
        assert [candle.timestamp for candle in said] == list(range(since, until, 1000))
        assert not said[0].complete
        assert all(candle.complete for candle in said[1:])
        truth = await candles_of(simulator, since, until)
        assert [row_of(candle) for candle in said[1:]] == truth[1:]
        assert [candle.trades for candle in said[1:]] == (await counts_of(simulator, since, until))[1:]
        assert_open_ones_grow(heard.said)
        await stored.until_said(lambda said: {row[0] for row in line.rows(KEY)} >= {row[0] for row in truth})
        assert line.rows(KEY)[: len(truth)] == truth
        asked = [parse_qs(entry["query"]) for entry in await simulator.log("klines")]
        assert [query["startTime"] for query in asked] == [[str(since)]]
        await assert_covered(line, since, until)


def assert_open_ones_grow(said: list[Candle]) -> None:
    """Each candle only gets trades, and says nothing any more after it was closed."""
    assert any(not candle.closed for candle in said)
    for before, after in pairwise(said):
        if before.closed:
            assert after.timestamp == before.timestamp + 1000
        else:
            assert after.timestamp == before.timestamp
            assert after.trades >= before.trades
            assert after.open == before.open
            assert after.high >= before.high
            assert after.low <= before.low


async def assert_covered(line: Pipeline, since: int, until: int) -> None:
    """The exchange is asked nothing more for what was cached."""
    await line.simulator.forget_log()
    job = await line.fetch(KEY, since, until)
    assert job.complete
    assert await line.simulator.log("klines") == []
