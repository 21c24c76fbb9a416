"""Binance's spot REST endpoints: from path and parameters to a JSON value. No I/O.

Source of paths, parameters, limits, weights and error codes: Binance's spot API documentation, "General endpoints",
"Market data endpoints" and "Error codes", as of 2025.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tickwire.simulator.answers import Query, Refused
from tickwire.simulator.market.aggregates import aggregates
from tickwire.simulator.market.book import book_at, frame_of, last_update_id
from tickwire.simulator.market.decimal_texts import texts
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.venues.binance import tickers
from tickwire.simulator.venues.binance.parameters import integer, limit
from tickwire.simulator.venues.binance.rows import aggregate_trades

_HOUR_MS = 3_600_000


def answer(exchange: Exchange, path: str, query: Query) -> tuple[Any, int] | None:
    """Return (JSON value, request weight) for a path such as `api/v3/klines`; None where there is no such endpoint.

    Raises Refused.
    """
    version, _, endpoint = path.rpartition("/v")
    endpoint = endpoint.partition("/")[2]
    if version == "eapi" and endpoint == "exchangeInfo":
        return {"timezone": "UTC", "serverTime": exchange.clock.now(), "rateLimits": [], "symbols": [],
                "optionSymbols": []}, 1  # fmt: skip
    if version != "api" or endpoint not in ENDPOINTS:
        return None
    return ENDPOINTS[endpoint](exchange, query)


def _instrument(exchange: Exchange, query: Query) -> Instrument:
    symbol = query.get("symbol", "")
    if not symbol:
        raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
    if not re.fullmatch(r"[A-Z0-9\-_.]{1,50}", symbol):
        legal = "^[\\w\\-._&&[^a-z]]{1,50}$"
        raise Refused(-1100, f"Illegal characters found in parameter 'symbol'; legal range is '{legal}'.")
    found = exchange.instruments.get(symbol)
    if found is None:
        raise Refused(-1121, "Invalid symbol.")
    return found


def _ping(exchange: Exchange, query: Query) -> tuple[Any, int]:
    return {}, 1


def _time(exchange: Exchange, query: Query) -> tuple[Any, int]:
    return {"serverTime": exchange.clock.now()}, 1


def _exchange_info(exchange: Exchange, query: Query) -> tuple[Any, int]:
    instruments = list(exchange.instruments.values())
    if "symbol" in query:
        instruments = [_instrument(exchange, query)]
    return {
        "timezone": "UTC",
        "serverTime": exchange.clock.now(),
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
        ],
        "exchangeFilters": [],
        "symbols": [_symbol(instrument) for instrument in instruments],
    }, 20


def _symbol(instrument: Instrument) -> dict[str, Any]:
    units = instrument.units
    tick = f"{Decimal(units.price_step).scaleb(-units.price_decimals):.8f}"
    lot = f"{Decimal(units.amount_step).scaleb(-units.amount_decimals):.8f}"
    return {
        "symbol": instrument.id,
        "status": "TRADING",
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "90000000.00000000", "stepSize": lot},
            {"filterType": "NOTIONAL", "minNotional": "0.00010000", "applyMinToMarket": True,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5},
        ],
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
    }  # fmt: skip


def klines(exchange: Exchange, query: Query, longest: int = 1000) -> tuple[Any, int]:
    """Return candles, at most `longest`, and the request weight. Raises Refused."""
    instrument = _instrument(exchange, query)
    interval = query.get("interval", "")
    if not interval:
        raise Refused(-1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.")
    if interval not in instrument.intervals:
        raise Refused(-1120, "Invalid interval.")
    start, end = integer(query, "startTime"), integer(query, "endTime")
    most = limit(query, 500, longest)
    return instrument.candles.page(interval, start, end, most, exchange.clock.now()), 2


def _depth(exchange: Exchange, query: Query) -> tuple[Any, int]:
    instrument = _instrument(exchange, query)
    count = limit(query, 100, 5000)
    weight = next(weight for most, weight in ((100, 5), (500, 25), (1000, 50), (5000, 250)) if count <= most)
    frame = frame_of(exchange.clock.now())
    book = book_at(instrument, frame)
    price, amount = instrument.units.price_decimals, instrument.units.amount_decimals

    def side(levels: tuple[Any, Any]) -> list[list[str]]:
        prices, sizes = levels
        return [list(pair) for pair in zip(texts(prices[:count], price), texts(sizes[:count], amount), strict=True)]

    return {"lastUpdateId": last_update_id(frame), "bids": side(book.bids), "asks": side(book.asks)}, weight


def _recent(exchange: Exchange, query: Query) -> tuple[Any, int]:
    instrument = _instrument(exchange, query)
    return _trades(exchange, instrument, None, limit(query, 500, 1000)), 25


def _historical(exchange: Exchange, query: Query) -> tuple[Any, int]:
    instrument = _instrument(exchange, query)
    return _trades(exchange, instrument, integer(query, "fromId"), limit(query, 500, 1000)), 25


def _trades(exchange: Exchange, instrument: Instrument, first: int | None, most: int) -> list[dict[str, Any]]:
    if instrument.history is None:
        return []
    end = instrument.history.id_at(exchange.clock.now() + 1)
    first = end - most if first is None else max(first, instrument.history.first_id)
    trades = instrument.history.by_id(first, min(end, first + most))
    units = instrument.units
    excess = 10 ** max(0, units.price_decimals + units.amount_decimals - 8)
    columns = zip(
        trades.id.tolist(),
        texts(trades.price, units.price_decimals),
        texts(trades.amount, units.amount_decimals),
        texts(trades.price * trades.amount // excess, min(8, units.price_decimals + units.amount_decimals)),
        trades.timestamp.tolist(),
        trades.sell.tolist(),
        strict=True,
    )
    return [
        {"id": id_, "price": price, "qty": qty, "quoteQty": quote, "time": time, "isBuyerMaker": sell,
         "isBestMatch": True}
        for id_, price, qty, quote, time, sell in columns
    ]  # fmt: skip


def _aggregate(exchange: Exchange, query: Query) -> tuple[Any, int]:
    instrument = _instrument(exchange, query)
    start, end, first = integer(query, "startTime"), integer(query, "endTime"), integer(query, "fromId")
    most = limit(query, 500, 1000)
    if first is not None and (start is not None or end is not None):
        raise Refused(-1128, "Combination of optional parameters invalid.")
    if start is not None and end is not None and end - start > _HOUR_MS:
        raise Refused(-1127, "More than 1 hours between startTime and endTime.")
    history = instrument.history
    if history is None:
        return [], 4
    now = exchange.clock.now()
    stop = history.id_at(min(now, now if end is None else end) + 1)
    if start is not None:
        lowest = history.id_at(start)
    elif first is not None:
        lowest = history.id_of_aggregate(first)
    else:
        # Two trades at most make one aggregate trade.
        lowest = stop - 2 * most
    newest = start is None and first is None
    found = aggregates(history.by_id(lowest, min(stop, lowest + 2 * most)))
    return aggregate_trades(found[-most:] if newest else found[:most], instrument.units), 4


def _ticker(form: Callable[[Instrument, int], dict[str, Any]], one: int, all_: int) -> Callable[..., tuple[Any, int]]:
    def endpoint(exchange: Exchange, query: Query) -> tuple[Any, int]:
        now = exchange.clock.now()
        if "symbol" in query:
            return form(_instrument(exchange, query), now), one
        if "symbols" in query:
            names = re.findall(r'"([^"]*)"', query["symbols"])
            return [form(_instrument(exchange, {"symbol": name}), now) for name in names], all_
        return [form(instrument, now) for instrument in exchange.instruments.values()], all_

    return endpoint


ENDPOINTS: dict[str, Callable[[Exchange, Query], tuple[Any, int]]] = {
    "ping": _ping,
    "time": _time,
    "exchangeInfo": _exchange_info,
    "klines": klines,
    "depth": _depth,
    "trades": _recent,
    "historicalTrades": _historical,
    "aggTrades": _aggregate,
    "ticker/24hr": _ticker(tickers.day, 2, 80),
    "ticker/price": _ticker(tickers.price, 2, 4),
    "ticker/bookTicker": _ticker(tickers.best, 2, 4),
}
