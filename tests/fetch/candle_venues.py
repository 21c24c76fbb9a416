"""Venues' REST candles on loopback, each in its own form and with its own way of answering, out of a model market.

What a venue answers is written after its documentation and the comments of ccxt's parsers; a real class of ccxt asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from fetch.model_market import Market
from support.loopback import Loopback, loopback, market
from support.web import exchange_at
from tickwire.exchange import opening
from tickwire.fetcher.calls import Calls, ignore_retry
from tickwire.fetcher.candle_source import CandleSource
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.fetcher.pager import Pager
from tickwire.model import timeframes
from tickwire.model.messages import Row
from tickwire.model.ranges import Range
from tickwire.settings import FetcherSettings

SYMBOL = "BTC/USD"
Query = dict[str, str]
Answer = Callable[[Market, str, Query], Any]


def _seconds(query: Query, name: str, default: int) -> int:
    return int(query.get(name, default)) * 1000


def gemini(model: Market, path: str, query: Query) -> Any:
    """`/v2/candles/:symbol/:time_frame`: its newest, whatever ccxt was asked for."""
    timeframe = {"1hr": "1h", "6hr": "6h", "1day": "1d"}.get(name := path.rsplit("/", 1)[1], name)
    return [list(row) for row in model.candles(timeframe)[-1440:]][::-1]


def bithumb(model: Market, path: str, query: Query) -> Any:
    """`/v1/candles/minutes/{unit}?count`: the newest `count`, 200 at most."""
    timeframe = {"1": "1m", "15": "15m", "60": "1h", "days": "1d", "weeks": "1w", "months": "1M"}[
        path.rsplit("/", 1)[1]
    ]
    rows = model.candles(timeframe)[-min(int(query.get("count", 1)), 200) :]
    return [
        {
            "candle_date_time_utc": datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "opening_price": opened, "high_price": high, "low_price": low, "trade_price": close,
            "candle_acc_trade_volume": volume,
        }
        for at, opened, high, low, close, volume in reversed(rows)
    ]  # fmt: skip


def bitstamp(model: Market, path: str, query: Query) -> Any:
    """`/api/v2/ohlc/{pair}/?step&start&end&limit`: a window. Its `1w` of ccxt's is of three days."""
    step = {"60": "1m", "900": "15m", "3600": "1h", "86400": "1d", "259200": "3d"}[query["step"]]
    since, until = _seconds(query, "start", 0), _seconds(query, "end", 10**10)
    rows = [row for row in model.candles(step) if since <= row[0] <= until]
    # Without both ends, the newest.
    rows = rows[: int(query["limit"])] if "start" in query else rows[-int(query["limit"]) :]
    names = ("timestamp", "open", "high", "low", "close", "volume")
    return {
        "data": {
            "pair": "BTC/USD",
            "ohlc": [
                {name: str(value) for name, value in zip(names, (at // 1000, *rest), strict=True)} for at, *rest in rows
            ],
        }
    }


def mexc(model: Market, path: str, query: Query) -> Any:
    """`/api/v3/klines?interval&startTime&endTime&limit`: a window, 500 at most."""
    timeframe = {"60m": "1h", "1W": "1w"}.get(query["interval"], query["interval"])
    since, until = int(query.get("startTime", 0)), int(query.get("endTime", 10**15))
    rows, most = [row for row in model.candles(timeframe) if since <= row[0] < until], min(500, int(query["limit"]))
    # Without both ends, the newest.
    rows = rows[:most] if "startTime" in query else rows[-most:]
    return [[at, *map(str, rest), at + timeframes.duration_ms(timeframe) - 1, "0"] for at, *rest in rows]


def gate(model: Market, path: str, query: Query) -> Any:
    """`/api/v4/spot/candlesticks?interval&from&to`: a window; beyond the newest 10,000 it is refused."""
    timeframe = {"7d": "1w"}.get(query["interval"], query["interval"])
    now = model.now
    since, until = _seconds(query, "from", now // 1000 - 3600), _seconds(query, "to", now // 1000)
    if timeframes.count(timeframe, since, now) > 10_000:
        words = "Candlestick too long ago. Maximum 10000 points ago are allowed"
        return web.json_response({"label": "INVALID_PARAM_VALUE", "message": words}, status=400)
    rows = [row for row in model.candles(timeframe) if since <= row[0] <= until]
    return [[str(at // 1000), "1", str(c), str(h), str(lo), str(o), str(v), "true"] for at, o, h, lo, c, v in rows]


def kucoin(model: Market, path: str, query: Query) -> Any:
    """`/api/v1/market/candles?type&startAt&endAt`: a window, the newest first; weeks open on Thursday."""
    timeframe = {"1min": "1m", "15min": "15m", "1hour": "1h", "1day": "1d", "1week": "1w", "1month": "1M"}[
        query["type"]
    ]
    grid = timeframes.grid(timeframe, 0 if timeframe == "1w" else None)
    since, until = _seconds(query, "startAt", 0), _seconds(query, "endAt", 10**10)
    rows = [row for row in model.candles(timeframe, grid) if since <= row[0] < until][-1500:]
    return {
        "code": "200000",
        "data": [
            [str(at // 1000), str(o), str(c), str(h), str(lo), str(v), "0"] for at, o, h, lo, c, v in reversed(rows)
        ],
    }


def htx(model: Market, path: str, query: Query) -> Any:
    """`/market/history/candles?period&from&size`: from a time on, the newest first; days open at 16:00 UTC."""
    timeframe = {"1min": "1m", "15min": "15m", "60min": "1h", "1day": "1d", "1week": "1w", "1mon": "1M"}[
        query["period"]
    ]
    grid = timeframes.grid(timeframe, 16 * 3_600_000 if timeframe == "1d" else None)
    since = _seconds(query, "from", 0)
    rows, size = [row for row in model.candles(timeframe, grid) if row[0] >= since], int(query.get("size", 150))
    rows = rows[:size] if "from" in query else rows[-size:]
    fields = ("id", "open", "high", "low", "close", "amount")
    data = [dict(zip(fields, (at // 1000, *rest), strict=True)) for at, *rest in reversed(rows)]
    return {"status": "ok", "data": data}


def with_a_clock(answer: Answer, model: Callable[[], Market]) -> Callable[[str, Query], Any]:
    """A venue that tells the time as well; the model is asked for anew with each request."""

    def say(path: str, query: Query) -> Any:
        now = model().now
        if path.endswith(("/timestamp", "/spot/time")):
            return {"code": "200000", "status": "ok", "data": now, "server_time": now}
        return answer(model(), path, query)

    return say


@asynccontextmanager
async def opened(
    exchange: str, answer: Callable[[str, Query], Any], **options: Any
) -> AsyncIterator[tuple[CandleSource, Loopback]]:
    """A real class of ccxt, with one market, whose requests come to `answer`."""
    async with loopback() as served:
        served.answer = answer
        table = exchange_at(served.url, **{"markets": {SYMBOL: market(SYMBOL, "BTC_USD")}} | options)
        metrics = FetcherMetrics(CollectorRegistry())
        async with opening.open_exchange(exchange, table) as found:
            settings = FetcherSettings(attempts=2, backoff_s=0.01, max_backoff_s=0.02)
            yield CandleSource(found, Calls(found, settings, 5, metrics), metrics), served


async def paged(source: CandleSource, wanted: Range, closed: int, timeframe: str = "1m") -> tuple[list[Row], Pager]:
    """A range as the fetcher fetches it: what is proven, and the pager at its end."""
    facts = await source.paging_facts(SYMBOL, timeframe, ignore_retry)
    grid = timeframes.grid(timeframe)
    pager = Pager(grid, wanted, closed, facts)
    rows: list[Row] = []
    while (request := pager.ask) is not None:
        for page in pager.take(await source.fetch(request, SYMBOL, grid, ignore_retry)):
            rows += source.in_base_currency(SYMBOL, page).rows
    return sorted(rows), pager
