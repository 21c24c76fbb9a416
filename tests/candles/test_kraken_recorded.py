"""Kraken's own candles, recorded: those built from its own trades are the same, in quiet minutes too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from candles.candle_feed import MINUTE, START, CandleVenue, running, trade_tape, witness
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed, Trade
from tickwire.model.messages import Row
from tickwire.venues.registry import profile_of

pytestmark = pytest.mark.golden


def recorded_rows(folder: Path) -> list[Row]:
    """Those of `OHLC`: [time (s), open, high, low, close, vwap, volume, count]."""
    found = json.loads((folder / "venues/kraken/http_ohlc.json").read_text())["result"]["XBTUSDT"]
    return [(int(row[0]) * 1000, *map(float, (*row[1:5], row[6]))) for row in found]  # type: ignore[misc]


def recorded_trades(folder: Path) -> list[Trade]:
    """Those of `Trades`: [price, volume, time (s), side, type, miscellaneous, id]."""
    found = json.loads((folder / "venues/kraken/http_trades.json").read_text())["result"]["XBTUSDT"]
    return [
        Trade(
            id=str(row[6]),
            timestamp=int(row[2] * 1000),
            side="buy" if row[3] == "b" else "sell",
            price=float(row[0]),
            amount=float(row[1]),
        )
        for row in found
    ]


async def test_krakens_candles_built_from_its_trades_are_its_own_in_quiet_minutes_too(bus: Bus, recorded: Path) -> None:
    feed = Feed("candle", "kraken", "BTC/USDT")
    trades = recorded_trades(recorded)
    # The first minute may lack trades from before the recording, the last those after it.
    since = trades[0].timestamp // MINUTE * MINUTE + MINUTE
    until = trades[-1].timestamp // MINUTE * MINUTE
    own = [row for row in recorded_rows(recorded) if since <= row[0] < until]
    quiet = [row for row in own if row[5] == 0]
    assert (len(own), len(quiet) > 100) == ((until - since) // MINUTE, True)
    assert profile_of("kraken").candles.quiet == "rows"

    async with trade_tape(bus, feed._replace(kind="trade")) as tape:
        venue = CandleVenue(exchange="kraken", at=since - START)
        await tape.say(*[each for each in trades if each.timestamp < since])
        async with witness(bus) as seen, running(bus, "1m", feed=feed, venue=venue):
            for minute in range(since, until, MINUTE):
                inside = [each for each in trades if minute <= each.timestamp < minute + MINUTE]
                await tape.say(*inside, until=minute + MINUTE - START)
            await seen.until(lambda: seen.pages and seen.pages[-1].until == until)
        assert [row for page in seen.pages for row in page.rows] == own
