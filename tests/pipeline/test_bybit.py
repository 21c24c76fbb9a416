"""Bybit, whose REST gives the newest trades alone and whose contracts have opaque ids, through every process."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import live
from support.pipeline import OKX_CONFIG, pipeline
from support.processes import SimulatorProcess
from tickwire.model.feeds import Feed
from tickwire.model.subjects import Key

pytestmark = pytest.mark.system

HOUR_MS = 3_600_000
RATE = 20
"""Trades per second: REST gives the newest 60 of a spot market, those of three seconds."""
CONFIG = OKX_CONFIG.replace("okx", "bybit")


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC"])
async def test_a_cut_loses_and_repeats_nothing_and_candles_are_fetched(
    broker: str, busy: SimulatorProcess, tmp_path: Path, symbol: str
) -> None:
    feed, key = Feed("trade", "bybit", symbol), Key("bybit", symbol, "1h")
    since = (await busy.clock())["now"] // HOUR_MS * HOUR_MS - 1_500 * HOUR_MS
    async with pipeline(broker, busy, tmp_path, ("streamer", "cache", "fetcher"), CONFIG) as line:
        async with live.seeing(line.bus, feed) as seen, live.statuses(line.bus, feed) as heard:
            await live.start(line.bus, feed)
            await seen.until(lambda: len(seen.trades) > 3 * RATE)
            await busy.fault("/stream.bybit.com", "ws_cut", seconds=1.0)
            assert (await live.status(heard, "repaired", 1)).trades > 0
            enough = len(seen.trades) + RATE
            await seen.until(lambda: len(seen.trades) > enough)
            tape = await live.on_tape(line.bus, feed)
        job = await line.fetch(key, since)
        rows = line.rows(key)
    assert tape.gaps == []
    first, last = tape.trades[0].timestamp, tape.trades[-1].timestamp
    truth = await busy.truth("trades", symbol="BTC/USDT", since=first + 1, until=last)
    assert [(each.timestamp, each.price, each.side) for each in tape.trades if first < each.timestamp < last] == [
        (each["timestamp"], each["price"], each["side"]) for each in truth
    ]
    assert (job.state, job.complete, job.missing, len(rows)) == ("done", True, [], 1_500)
    candles = await busy.truth("candles", symbol="BTC/USDT", timeframe="1h", since=since, until=rows[-1][0] + 1)
    assert [row[:5] for row in rows] == [tuple(row[:5]) for row in candles]
