"""An open socket without data: candles are not declared complete unless the socket has answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import live
from support.hearing import hearing
from support.pipeline import CONFIG, pipeline
from support.processes import running_simulator
from tickwire.model.feeds import Candle, Feed, Status, Trades

pytestmark = pytest.mark.faults

SECOND = Feed("candle", "binance", "BTC/USDT", "1s")
TRADES = Feed("trade", "binance", "BTC/USDT")
SETTINGS = "[streamer]\nsettle_ms = 500\nsilence_s = 5\n"
MINUTE = 60_000


async def test_no_candle_of_a_silent_socket_is_closed_as_complete_and_wrong(broker: str, tmp_path: Path) -> None:
    """Silent for the last two seconds of a minute and the first three of the next, or so."""
    async with (
        running_simulator("--live-rate", "40") as simulator,
        pipeline(broker, simulator, tmp_path, ("streamer",), CONFIG + SETTINGS, lease_ttl_s=5) as line,
        hearing(line.bus, SECOND.public, Candle) as heard,
        hearing(line.bus, TRADES.public, Trades) as tape,
        hearing(line.bus, "md.status.>", Status) as told,
    ):
        now = (await simulator.clock())["now"]
        now = (await simulator.clock(advance=(51_000 - now) % MINUTE))["now"]
        boundary = now // MINUTE * MINUTE + MINUTE
        await live.start(line.bus, SECOND)
        await heard.until_said(
            lambda said: any(candle.closed and candle.timestamp == boundary - 4000 for candle in said)
        )
        await simulator.fault("/ws/", "ws_silent")
        assert (await simulator.clock())["now"] < boundary - 1000
        await told.until_said(lambda said: any(each.event == "disconnected" for each in said))
        await simulator.clear()
        await told.until_said(lambda said: any(each.event == "repaired" and each.trades for each in said))
        last = boundary + 2000
        await heard.until_said(lambda said: any(candle.closed and candle.timestamp >= last for candle in said))
        closed = [candle for candle in heard.said if candle.closed]
        truth = await simulator.truth(
            "candles", symbol="BTC/USDT", timeframe="1s", since=closed[0].timestamp, until=closed[-1].timestamp + 1000
        )
        of_the_exchange = {int(row[0]): [float(value) for value in row[1:]] for row in truth}
        for candle in closed:
            if candle.complete:
                built = [candle.open, candle.high, candle.low, candle.close, candle.volume]
                assert built == of_the_exchange[candle.timestamp]
        assert sum(candle.complete for candle in closed) >= len(closed) - 1
        assert not any(each.event == "late" for each in told.said)
        said_until = 0
        for message in tape.said:
            assert all(trade.timestamp >= said_until for trade in message.trades)
            said_until = max(said_until, message.until or 0)
