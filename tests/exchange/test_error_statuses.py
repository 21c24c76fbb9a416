"""A venue that is busy or limits its clients is asked again, whatever body comes with the HTTP status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ccxt.async_support
import pytest
from aiohttp import web
from ccxt.base import errors

from support.web import served
from tickwire.exchange import reachability
from tickwire.exchange.ccxt_patches.rest_traps import with_rest_traps

pytestmark = pytest.mark.pure

MARKET = {
    "id": "BTC-USDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "baseId": "BTC", "quoteId": "USDT",
    "type": "spot", "spot": True, "active": True,
}  # fmt: skip
BODIES = ["", "<html>busy</html>", "{}"]


def rooted(url: str, urls: Any) -> Any:
    """ccxt's URLs, each at one server."""
    if isinstance(urls, dict):
        return {name: rooted(url, each) for name, each in urls.items()}
    return url


@asynccontextmanager
async def answering(kind: Any, status: int, body: str) -> AsyncIterator[Any]:
    """An exchange of a ccxt class that gets one answer to everything."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=body, status=status, content_type="application/json")

    async with served(handler) as url:
        exchange = kind({"enableRateLimit": False, "timeout_on_exit": 0})
        exchange.urls["api"] = rooted(url, exchange.urls["api"])
        exchange.set_markets([exchange.safe_market_structure(MARKET)])
        try:
            yield exchange
        finally:
            await exchange.close()


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("status", [429, 500, 503, 504])
@pytest.mark.parametrize("exchange", ["cryptocom", "bybit", "kucoin", "bitfinex", "binance"])
async def test_a_busy_venue_is_an_error_that_is_retried(exchange: str, status: int, body: str) -> None:
    kind = with_rest_traps(getattr(ccxt.async_support, exchange))
    async with answering(kind, status, body) as opened:
        with pytest.raises(errors.OperationFailed) as raised:
            await opened.fetch_ohlcv("BTC/USDT", "1m", 1_500_000_000_000, 10)
    assert status != 429 or isinstance(raised.value, errors.RateLimitExceeded | errors.DDoSProtection)


@pytest.mark.parametrize(
    ("exchange", "body", "kind"),
    [
        ("cryptocom", '{"id":-1,"code":40003,"message":"Invalid count"}', errors.BadRequest),
        ("kucoin", '{"code":"400100","msg":"Parameter error"}', errors.BadRequest),
    ],
)
@pytest.mark.parametrize("status", [400, 500])
async def test_an_error_of_the_venue_s_own_is_kept(
    exchange: str, body: str, kind: type[Exception], status: int
) -> None:
    async with answering(with_rest_traps(getattr(ccxt.async_support, exchange)), status, body) as opened:
        with pytest.raises(kind):
            await opened.fetch_ohlcv("BTC/USDT", "1m", 1_500_000_000_000, 10)


@pytest.mark.parametrize(("exchange", "body"), [("cryptocom", ""), ("bybit", "{}")])
async def test_ccxt_by_itself_gives_up(exchange: str, body: str) -> None:
    """A ccxt that retries needs `RestTraps.handle_errors` no more."""
    async with answering(getattr(ccxt.async_support, exchange), 503, body) as plain:
        with pytest.raises(errors.ExchangeError) as raised:
            await plain.fetch_ohlcv("BTC/USDT", "1m", 1_500_000_000_000, 10)
    assert not isinstance(raised.value, errors.OperationFailed)


@pytest.mark.parametrize("status", [200, 400, 429, 451, 500])
def test_the_text_of_an_answer_is_searched_only_if_access_is_denied(status: int) -> None:
    """A search in a page of 1,000 candles takes longer than everything else that is done with it."""
    unreadable: Any = None
    assert reachability.refuses(status, {}, unreadable) == (status == 451)
    assert reachability.refuses(403, {}, "denied")
    assert not reachability.refuses(403, {}, "Too many requests")
