"""One live trade with a time that cannot be: nothing counts as complete beyond now, and everything goes on.

Told on the venue's own socket, through every process: a year ahead, in other scales, 10^18, 0 and negative.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support import live
from support.hearing import hearing
from support.pipeline import CONFIG, OKX_CONFIG, pipeline
from support.processes import running_simulator
from tickwire.model.feeds import Candle, Feed, Status, Trades
from tickwire.model.messages import Coverage, KeyRequest
from tickwire.model.subjects import Key

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("declared")]

SYMBOL = "BTC/USDT"
YEAR = 365 * 86_400_000
MINUTE = 60_000
FRAMES = {
    "binance": '{"e":"aggTrade","E":1,"s":"BTCUSDT","a":%s,"p":"1","q":"777","f":1,"l":1,"T":%s,"m":true}',
    "okx": '{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"%s",'
    '"px":"1","sz":"777","side":"buy","ts":"%s","count":"1"}]}',
}
CONFIGS = {"binance": CONFIG, "okx": OKX_CONFIG}


@pytest.mark.parametrize(("venue", "timeframe", "length"), [("binance", "1s", 1000), ("okx", "1m", MINUTE)])
async def test_a_trade_with_an_impossible_time_completes_nothing_and_stops_nothing(
    broker: str, tmp_path: Path, venue: str, timeframe: str, length: int
) -> None:
    feed, key = Feed("candle", venue, SYMBOL, timeframe), Key(venue, SYMBOL, timeframe)
    market = Feed("trade", venue, SYMBOL)
    async with (
        running_simulator("--live-rate", "40") as simulator,
        pipeline(broker, simulator, tmp_path, ("cache", "fetcher", "streamer"), CONFIGS[venue], 5) as line,
        hearing(line.bus, feed.public, Candle) as heard,
        hearing(line.bus, market.public, Trades) as tape,
        hearing(line.bus, market.status.replace("tape.", "md.", 1), Status) as told,
    ):

        async def now() -> int:
            return int((await simulator.clock())["now"])

        if length == MINUTE:
            # Fifteen seconds before a minute ends.
            await simulator.clock(advance=(45_000 - await now()) % MINUTE)
        await live.start(line.bus, feed)
        await heard.until_said(lambda said: bool(said))
        await tape.until_said(lambda said: sum(len(each.trades) for each in said) > 20)
        first = heard.said[0].timestamp
        at = await now()
        for wrong in (at + YEAR, at * 1000, at * 1_000_000, at // 1000, 10**18, 0, -1):
            count = sum(len(each.trades) for each in tape.said)
            number = int(tape.said[-1].trades[-1].id or 0) + 7 if tape.said[-1].trades else 7
            await simulator.fault("/", "ws_malformed", count=1, text=FRAMES[venue] % (number, wrong))
            await tape.until_said(lambda said: sum(len(each.trades) for each in said) > count + 20)  # noqa: B023
        await told.until_said(lambda said: any(each.event == "rejected" for each in said))
        # Later candles close: of binance some, of okx that of this minute and the next.
        closes = 2 if length == MINUTE else sum(each.closed for each in heard.said) + 4
        await heard.until_said(lambda said: sum(each.closed for each in said) >= closes, 200)
        known = await line.bus.request(
            "cache.coverage",
            KeyRequest(exchange=venue, symbol=SYMBOL, timeframe=timeframe),
            Coverage,
            timeout_s=30,
        )
        candles, trades = list(heard.said), list(tape.said)
        # Of a time after everything that is judged by it.
        at = await now()
        assert all(until <= at for _, until in known.verified), (known.verified, at)
        assert all(each.timestamp + length <= at for each in candles if each.closed)
        assert all(trade.timestamp <= at and trade.amount < 777 for each in trades for trade in each.trades)
        assert all((each.until or 0) <= at for each in trades)
        last = max(each.timestamp for each in heard.said if each.closed) + length
        async with asyncio.timeout(60):
            while not (job := await line.fetch(key, first, last)).complete:
                assert job.state == "done"
        truth = await simulator.truth("candles", symbol=SYMBOL, timeframe=timeframe, since=first, until=last)
        rows = [row for row in line.rows(key) if first <= row[0] < last]
        assert rows == [(int(row[0]), *map(float, row[1:6])) for row in truth]
        exchange_s = {row[0]: row for row in rows}
        for candle in heard.said:
            if candle.closed and candle.complete:
                assert exchange_s[candle.timestamp][1:5] == (candle.open, candle.high, candle.low, candle.close)
