"""What is known of exchanges without asking them, and what an answer is made of before ccxt parses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import ccxt
import pytest
from aiohttp import web
from ccxt.base import errors

from support.web import served
from tickwire.errors import ConfigError, UnknownExchange, UnsupportedTimeframe
from tickwire.exchange import gate, opening
from tickwire.settings import ExchangeSettings

pytestmark = pytest.mark.pure

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MARKET = {
    "id": "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "type": "spot", "spot": True, "active": True,
    "swap": False, "future": False, "option": False, "contract": False, "linear": None, "inverse": None,
    "precision": {}, "limits": {},
}  # fmt: skip


def test_the_ids_are_ccxt_s() -> None:
    assert sorted(opening.ids()) == sorted(ccxt.exchanges)


@pytest.mark.parametrize(("wrong", "near"), [("binanse", "binance"), ("Kraken", "kraken"), ("okex", "okx")])
def test_an_unknown_exchange_is_refused_with_the_nearest_name(wrong: str, near: str) -> None:
    with pytest.raises(UnknownExchange, match=f"did you mean {near}"):
        opening.known(wrong)


def test_a_timeframe_that_the_exchange_lacks_is_refused_with_those_it_has() -> None:
    opening.check_timeframe("binance", "1m")
    with pytest.raises(UnsupportedTimeframe, match=r"coinbase has no 1w candles; it has 1m.*1d"):
        opening.check_timeframe("coinbase", "1w")


@pytest.mark.parametrize(("exchange", "name"), [("kraken", "2w"), ("bitstamp", "1w")])
def test_a_name_for_candles_of_another_length_is_no_timeframe_of_the_exchange(exchange: str, name: str) -> None:
    """By their documentation: kraken's interval 21600 (minutes) is 15 days, bitstamp's step 259200 (s) three days."""
    assert name in getattr(ccxt, exchange)().timeframes
    assert {"1m", "1h", "1d"} <= set(opening.timeframes(exchange))
    with pytest.raises(UnsupportedTimeframe):
        opening.check_timeframe(exchange, name)


def test_every_url_goes_through_the_gateway_with_its_host_in_the_path() -> None:
    urls = {
        "api": {"public": "https://api.binance.com/api/v3", "ws": {"spot": "wss://stream.binance.com:9443/ws"}},
        "other": ["https://{hostname}/x", None],
        "doc": "see the manual",
    }
    assert opening.through_gateway(urls, "http://127.0.0.1:8000", "venue.io") == {
        "api": {
            "public": "http://127.0.0.1:8000/api.binance.com/api/v3",
            "ws": {"spot": "ws://127.0.0.1:8000/stream.binance.com:9443/ws"},
        },
        "other": ["http://127.0.0.1:8000/venue.io/x", None],
        "doc": "see the manual",
    }


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("5", 5.0), ("0.5", 0.5), ("Wed, 21 Oct 2015 07:28:00 GMT", 60.0), ("Wed, 21 Oct 2015 07:26:00 GMT", 0.0)],
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float) -> None:
    # 2015-10-21 07:27:00 UTC
    assert gate.retry_after_s(header, 1_445_412_420.0) == seconds


def test_a_retry_after_that_makes_no_sense_asks_for_nothing() -> None:
    assert gate.retry_after_s("soon", 0.0) is None


@pytest.mark.parametrize("header", ["inf", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_retry_after_of_years_shuts_the_exchange_out_for_a_day_at_most(header: str) -> None:
    asked = gate.retry_after_s(header, 1_445_412_420.0)
    assert asked is not None
    shut = gate.Gate()
    shut.shut(asked)
    assert 86_000 < shut.remaining_s <= 86_400


async def test_a_table_that_ccxt_refuses_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"exchange\.binance\.ccxt"):
        async with opening.open_exchange("binance", ExchangeSettings(ccxt={"has": 1})):
            pass


@asynccontextmanager
async def binance(gateway: str) -> AsyncIterator[ccxt.Exchange]:
    settings = ExchangeSettings(
        gateway=gateway, ccxt={"enableRateLimit": False, "timeout_on_exit": 0, "timeout": 2_000}
    )
    async with opening.open_exchange("binance", settings) as opened:
        opened.set_markets([MARKET])
        yield opened


@pytest.mark.parametrize(
    "body", ['[[1500000000000,"1","2","0.5","1.5","10",15', "", "<html>busy</html>", '{"a": ', "[", "busy"], ids=repr
)
async def test_an_answer_that_is_not_json_is_a_bad_response_and_never_an_empty_page(body: str) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    async with served(handler) as url, binance(url) as opened:
        try:
            rows = await opened.fetch_ohlcv("BTC/USDT", "1m", 1_500_000_000_000, 10)
        except errors.OperationFailed:
            return
        pytest.fail(f"it was taken as {rows}")


async def test_a_body_that_breaks_off_is_a_network_error() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b"[[15")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with served(handler) as url, binance(url) as opened:
        with pytest.raises(errors.NetworkError):
            await opened.fetch_ohlcv("BTC/USDT", "1m", 1_500_000_000_000, 10)


async def test_nothing_is_sent_while_a_retry_after_runs() -> None:
    times: list[float] = []

    async def handler(_request: web.Request) -> web.Response:
        times.append(time.monotonic())
        if len(times) == 1:
            return web.json_response({"code": -1003, "msg": "slow down"}, status=429, headers={"Retry-After": "1"})
        return web.json_response([])

    async with served(handler) as url, binance(url) as opened:
        with pytest.raises(errors.OperationFailed):
            await opened.fetch_ohlcv("BTC/USDT", "1m", 1_500_000_000_000, 10)
        await asyncio.gather(*(opened.fetch_ohlcv("BTC/USDT", "1m", 1_500_000_000_000, 10) for _ in range(3)))
    assert [at - times[0] > 0.99 for at in times] == [False, True, True, True]


async def test_the_exchange_s_clock_is_told_by_the_exchange() -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.json_response({"serverTime": 1_514_764_800_000})

    async with served(handler) as url, binance(url) as opened:
        assert opened.clock.now() is None
        await opened.clock.compare(1.0)
        assert 0 <= opened.clock.now() - 1_514_764_800_000 < 1_000


async def test_an_exchange_without_a_call_for_its_time_tells_it_with_any_answer() -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.json_response([], headers={"Date": "Mon, 01 Jan 2018 00:00:00 GMT"})

    async with served(handler) as url, opening.open_exchange("bitstamp", ExchangeSettings(gateway=url)) as exchange:
        opened: Any = exchange
        assert not opened.has["fetchTime"]
        assert opened.clock.now() is None
        with pytest.raises(errors.BaseError):
            await opened.fetch_ticker("BTC/USD")
        assert 0 <= opened.clock.now() - 1_514_764_800_000 < 1_000
