"""Pages of candles that arrive together, and how many of them are parsed in one turn of the loop."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import ccxt.async_support
import pytest
from aiohttp import web

from exchange.test_error_statuses import MARKET, rooted
from support.web import served
from tickwire.exchange import ohlcv
from tickwire.exchange.ccxt_patches.rest_traps import with_rest_traps
from tickwire.venues.candle_forms import CandleForm
from tickwire.venues.registry import dialect_of

pytestmark = pytest.mark.pure

START = 1_717_200_000_000
REQUESTS = 8
WRITTEN = {
    "binance": [[START + n * 60_000, "1", "2", "0.5", "1.5", "3", START + n * 60_000 + 59_999] for n in range(10)],
    "okx": {
        "code": "0",
        "msg": "",
        "data": [[str(START + n * 60_000), "1", "2", "0.5", "1.5", "3", "3", "3", "1"] for n in range(10)],
    },
}


@pytest.mark.parametrize("exchange", WRITTEN)
async def test_pages_that_arrive_together_are_read_in_turns_of_their_own(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, at_turn, waiting, together = list[None](), list[int](), list[None](), asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        waiting.append(None)
        if len(waiting) == REQUESTS:
            together.set()
        await together.wait()
        return web.Response(text=json.dumps(WRITTEN[exchange]), content_type="application/json")

    async def count() -> None:
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    form = dialect_of(exchange).candles.spot
    assert form is not None
    read = form.read

    def recorded(_form: CandleForm, text: str) -> Any:
        at_turn.append(len(turns))
        return read(text)

    monkeypatch.setattr(type(form), "read", recorded)

    async def page() -> int:
        with ohlcv.whole_pages(form):
            return len(await opened.fetch_ohlcv("BTC/USDT", "1m", START, 10))

    async with served(handler) as url:
        opened = with_rest_traps(getattr(ccxt.async_support, exchange))({"enableRateLimit": False})
        opened.urls["api"] = rooted(url, opened.urls["api"])
        opened.set_markets([opened.safe_market_structure(MARKET)])
        counting = asyncio.create_task(count())
        try:
            assert await asyncio.gather(*(page() for _ in range(REQUESTS))) == [10] * REQUESTS
        finally:
            counting.cancel()
            await opened.close()
    assert len(at_turn) == len(set(at_turn)) == REQUESTS
