"""What the demo says of candles that it caught up with, against a simulated exchange's own."""

from __future__ import annotations

import time

import pytest

from support.processes import running_simulator
from tickwire.cli.demo import live
from tickwire.cli.demo.archived import difference
from tickwire.cli.demo.scene import Scene
from tickwire.cli.demo.verdict import verdict
from tickwire.model.feeds import Candle, Trade, Trades

pytestmark = pytest.mark.actors

MINUTE = 60_000


async def test_candles_of_long_before_the_first_live_trade_are_compared_as_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run within the hour catches up with the candles since the first."""
    monkeypatch.setattr("tickwire.cli.demo.verdict.SYMBOL", "BTC/USDT")
    async with running_simulator() as exchange:
        recent = int(time.time() * 1000) - 5 * MINUTE
        newest = (await exchange.truth("trades", symbol="BTC/USDT", since=recent))[-1]["timestamp"]
        since = newest // 1000 * 1000 - 20 * MINUTE
        rows = await exchange.truth(
            "candles", symbol="BTC/USDT", timeframe="1s", since=since, until=since + 10 * MINUTE
        )
        assert rows
        scene = Scene()
        scene.closed = [candle(row) for row in rows]
        scene.trades = [
            Trades(
                exchange="binance",
                symbol="BTC/USDT",
                received=newest,
                trades=[Trade(id="1", timestamp=newest, side="buy", price=1.0, amount=1.0)],
            )
        ]
        async with live.control_session(exchange.url) as http:
            await verdict(scene, http, 3.0)
        said = capsys.readouterr().out
        assert f"candles: {len(rows)} candles of 1s closed meanwhile, all equal to the exchange's own" in said
        scene.closed[0] = candle((*rows[0][:5], rows[0][5] + 1))
        async with live.control_session(exchange.url) as http:
            await verdict(scene, http, 3.0)
        assert "1 not equal to the exchange's own" in capsys.readouterr().out


def candle(row: tuple[float, ...]) -> Candle:
    """A closed candle like a row of the exchange."""
    return Candle(
        exchange="binance",
        symbol="BTC/USDT",
        timeframe="1s",
        timestamp=int(row[0]),
        open=row[1],
        high=row[2],
        low=row[3],
        close=row[4],
        volume=row[5],
        trades=1,
        closed=True,
        complete=True,
    )


def test_what_the_archive_lacks_repeats_or_misplaces_is_named() -> None:
    wanted = ["5", "6", "7"]
    assert difference(wanted, ["4", "5", "6", "7", "8"]) == ""
    assert difference(wanted, ["5", "8"]) == "2 missing, the first 6"
    assert difference(wanted, ["5", "6", "6", "7"]) == "1 more than once, the first 6"
    assert difference(wanted, ["5", "7", "6"]) == "not in order from 7 on"
