"""Hundreds of markets at once."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from support.simulated import client, simulated
from tickwire.errors import ConfigError
from tickwire.simulator.config import checked

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
AGGREGATED = {name: {"name": "aggTrade"} for name in ("watchTrades", "watchTradesForSymbols")}


async def test_two_hundred_markets_are_watched_at_once_and_none_misses_a_trade() -> None:
    async with (
        simulated(now=NOW, live_rate=2, markets=200) as running,
        client(running.url, pro=True, newUpdates=True, options=AGGREGATED) as venue,
        aiohttp.ClientSession() as http,
    ):
        symbols = [symbol for symbol, market in (await venue.load_markets()).items() if market["spot"]]
        assert len(symbols) == 200
        tasks = [asyncio.ensure_future(venue.watch_trades(symbol)) for symbol in symbols]
        while len({name for entry in running.journal.since(0) for name in entry.streams}) < 200:
            await asyncio.sleep(0)
        running.exchange.clock.set(NOW + 10_000)
        await asyncio.wait_for(asyncio.gather(*tasks), 100)
        for symbol in (symbols[0], symbols[-1], symbols[100]):
            query = {"symbol": symbol, "limit": "100000", "fromId": venue.trades[symbol][0]["id"]}
            async with http.get(f"{running.url}/_sim/truth/aggregates", params=query) as response:
                truth: Any = await response.json()
            while len(venue.trades[symbol]) < len(truth):
                await asyncio.wait_for(venue.watch_trades(symbol), 60)
            assert [int(trade["id"]) for trade in venue.trades[symbol]] == [each["id"] for each in truth]


def test_a_number_of_markets_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="markets 2001"):
        checked({"markets": 2001})
