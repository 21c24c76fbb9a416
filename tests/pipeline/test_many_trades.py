"""Many trades at once: markets that share a socket's segments, many markets, a burst, and frames that are none."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support import live
from support.hearing import Heard, hearing, reports
from support.pipeline import CONFIG, pipeline
from support.processes import SimulatorProcess, running_simulator
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed, Status, Trade, Trades

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("declared")]

NOW = "1750000030500"
"""Half a minute into a minute; the exchange's clock stands there until it is told to go on."""
ONE_SOCKET = CONFIG.replace("options = {{", "options = {{ streamLimits = {{ spot = 1 }},")
SIX = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "BNB/USDT", "DOGE/USDT"]
BTC = Feed("trade", "binance", "BTC/USDT")


@asynccontextmanager
async def following(bus: Bus, symbols: list[str]) -> AsyncIterator[Heard[Trades]]:
    """The trades of symbols whose feeds are wanted and connected."""
    async with (
        hearing(bus, "md.trade.binance.*", Trades) as heard,
        hearing(bus, "md.status.trade.binance.*", Status) as told,
    ):
        async with asyncio.TaskGroup() as group:
            for symbol in symbols:
                group.create_task(live.start(bus, Feed("trade", "binance", symbol)))
        await told.until_said(lambda said: {each.symbol for each in said if each.event == "connected"} >= set(symbols))
        yield heard


async def bursts(simulator: SimulatorProcess, symbols: list[str], count: int) -> dict[str, tuple[int, int]]:
    """So many trades in each of the markets within the same second: the first and last id of each market's."""
    found = {}
    for symbol in symbols:
        order = await simulator.order("burst", symbol=symbol, count=count, ms=1_000)
        found[symbol] = (order["first_aggregate"], order["last_aggregate"])
        assert found[symbol][1] - found[symbol][0] + 1 == count
    await simulator.clock(advance=1_000)
    return found


def by_symbol(said: list[Trades]) -> dict[str, list[Trade]]:
    found: dict[str, list[Trade]] = {}
    for each in said:
        # Not by repair: the sockets themselves lose nothing.
        assert (each.gap, each.source) == (None, "live")
        found.setdefault(each.symbol, []).extend(each.trades)
    return found


def arrived(said: list[Trades], ends: dict[str, tuple[int, int]]) -> bool:
    trades = by_symbol(said)
    return all(trades.get(symbol) and int(trades[symbol][-1].id or "") >= last for symbol, (_, last) in ends.items())


async def assert_all(
    simulator: SimulatorProcess, said: list[Trades], ends: dict[str, tuple[int, int]], count: int
) -> None:
    """Each market's trades are the exchange's, each once and in order, `count` of them between these ids."""
    delivered: Counter[str] = Counter()
    for symbol, trades in by_symbol(said).items():
        first, last = ends[symbol]
        ids = [int(trade.id or "") for trade in trades]
        assert ids[0] <= first
        assert trades == await live.truth(simulator, symbol, ids[0], ids[-1])
        delivered[symbol] = sum(first <= each <= last for each in ids)
    assert delivered == dict.fromkeys(ends, count // len(ends))
    assert delivered.total() == count


def assert_same(seen: list[Trade], tape: list[Trade]) -> None:
    """A subscriber heard what the tape has, but for what came while it was read."""
    both = min(len(seen), len(tape))
    assert seen[:both] == tape[:both]


async def test_six_markets_whose_frames_share_segments_lose_none_of_1200(broker: str, tmp_path: Path) -> None:
    """All 1,200 are one write of the exchange; then in fragments; then a write torn within its last frame."""
    async with (
        running_simulator("--now", NOW) as simulator,
        pipeline(broker, simulator, tmp_path, ("streamer",), ONE_SOCKET, lease_ttl_s=10) as line,
        following(line.bus, SIX) as heard,
    ):
        sockets = {(entry["host"], entry["path"]) for entry in await simulator.log() if entry["event"] == "subscribe"}
        assert len(sockets) == 1
        ends = await bursts(simulator, SIX, 200)
        await heard.until_said(lambda said: arrived(said, ends))
        await assert_all(simulator, heard.said, ends, 1_200)
        for mode, size in (("fragments", 100), ("torn", 70)):
            await simulator.fault("/ws/", "ws_split", mode=mode, size=size)
            ends = await bursts(simulator, SIX, 200)
            await simulator.clear()
            # What was held back goes first with the next write.
            more = await bursts(simulator, SIX, 1)
            await heard.until_said(lambda said, more=more: arrived(said, more))  # type: ignore[misc]
            await assert_all(simulator, heard.said, ends, 1_200)
        assert {each.rejected for each in await reports(line.bus)} == {0}


async def test_two_hundred_markets_lose_none_of_2000(broker: str, tmp_path: Path) -> None:
    async with (
        running_simulator("--now", NOW, "--symbols", "200") as simulator,
        pipeline(broker, simulator, tmp_path, ("streamer",), lease_ttl_s=10) as line,
    ):
        symbols = [f"T{number:03}/USDT" for number in range(1, 192)]
        symbols += [*SIX, "ETH/BTC", "XMR/BTC", "XRP/ETH"]
        assert len(symbols) == 200
        async with following(line.bus, symbols) as heard:
            ends = await bursts(simulator, symbols, 10)
            await heard.until_said(lambda said: arrived(said, ends))
            await assert_all(simulator, heard.said, ends, 2_000)


async def test_twenty_thousand_trades_in_a_second_arrive_all_and_in_order(broker: str, tmp_path: Path) -> None:
    async with (
        running_simulator("--live-rate", "50") as simulator,
        pipeline(broker, simulator, tmp_path, ("streamer",), lease_ttl_s=10) as line,
        live.seeing(line.bus, BTC) as seen,
    ):
        await live.start(line.bus, BTC)
        await seen.until(lambda: len(seen.trades) > 10)
        order = await simulator.order("burst", symbol=BTC.symbol, count=20_000, ms=1_000)
        first, last = order["first_aggregate"], order["last_aggregate"]
        await seen.until(lambda: seen.ids[-1:] >= [last])
        tape = await live.assert_every_trade_once(line.bus, simulator, BTC, "BTCUSDT")
        assert_same(seen.trades, tape.trades)
        assert seen.broken == []
        assert tape.repaired == 0
        told = [trade for trade in seen.trades if first <= int(trade.id or "") <= last]
        assert len(told) == 20_000
        assert {trade.timestamp - order["since"] for trade in told} == set(range(1_000))
        assert {each.duplicates for each in await reports(line.bus)} == {0}


BROKEN = [
    '{"e":"aggTrade","E":17',
    '{"e":"aggTrade","E":1,"s":"BTCUSDT","a":"x","p":"1","q":"1","T":1,"m":true}',
    '{"e":"aggTrade","E":1,"s":"BTCUSDT","a":1,"q":"1","T":1,"m":true}',
]
"""A frame that breaks off, one whose id is no number, one without a price."""


async def test_frames_that_are_none_and_errors_are_counted_and_told_and_leave_no_hole(
    broker: str, tmp_path: Path
) -> None:
    async with (
        running_simulator("--live-rate", "200") as simulator,
        pipeline(broker, simulator, tmp_path, ("streamer",), lease_ttl_s=10) as line,
        live.seeing(line.bus, BTC) as seen,
        live.statuses(line.bus, BTC) as told,
    ):

        async def more(count: int) -> None:
            enough = len(seen.trades) + count
            await seen.until(lambda: len(seen.trades) >= enough)

        await live.start(line.bus, BTC)
        await more(50)
        for frame in BROKEN:
            await simulator.fault("/ws/", "ws_malformed", text=frame)
        await live.status(told, "rejected")
        # Complaints are told once a second.
        await more(250)
        await simulator.fault("/ws/", "ws_error", text="Something went wrong")
        assert "Something went wrong" in (await live.status(told, "rejected", 2)).message
        await more(50)
        report = (await reports(line.bus))[0]
        # The socket was never given up.
        assert (report.rejected, report.reconnects, report.gaps) == (len(BROKEN) + 1, 0, 0)
        await simulator.fault("/ws/", "ws_duplicate", count=100)
        async with asyncio.timeout(100):
            while (await reports(line.bus))[0].duplicates < 100:
                await more(1)
        await more(50)
        assert (await reports(line.bus))[0].duplicates == 100
        tape = await live.assert_every_trade_once(line.bus, simulator, BTC, "BTCUSDT")
        assert tape.repaired == 0
        assert_same(seen.trades, tape.trades)
