"""Coinbase's public REST endpoints: from parameters to rows. No I/O.

Source of paths, parameters and fields: Coinbase's documentation of Advanced Trade, "Public"; of page sizes and
refusals: the measurements that `shared/tickwire/venues/coinbase.py` names. Times of requests are in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tickwire.model import timeframes
from tickwire.simulator.answers import Answer, Refused, whole
from tickwire.simulator.market import day
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of
from tickwire.simulator.market.candle_pages import PageStyle, candle_page
from tickwire.simulator.market.decimal_texts import short
from tickwire.simulator.market.rows import newest, top
from tickwire.simulator.venue import Endpoint, Request
from tickwire.simulator.venues.coinbase import rows as coinbase_rows
from tickwire.simulator.venues.coinbase.rows import Product

CANDLES = 350
"""A range with more candles is refused."""
TRADES = 100
"""A page has at most so many trades, also where the limit is up to `TRADES_LIMIT`."""
TRADES_LIMIT = 1000
LEVELS = 1000


def _product(request: Request) -> Product:
    id_ = request.query.get("product_id", "")
    found = coinbase_rows.product(request.exchange, id_)
    if found is None:
        raise Refused("NOT_FOUND", f"Product {id_} not supported", 404)
    return found


def _number(request: Request, name: str) -> int | None:
    return whole(request.query, name, Refused("INVALID_ARGUMENT", f"{name} argument is invalid", 400))


def v2_time(request: Request) -> Answer:
    """GET /v2/time"""
    seconds = request.now // 1000
    return Answer({"data": {"iso": f"{coinbase_rows.iso(seconds * 1000)[:19]}Z", "epoch": seconds}})


def v3_time(request: Request) -> Answer:
    """GET /api/v3/brokerage/time"""
    seconds = request.now // 1000
    iso = f"{coinbase_rows.iso(seconds * 1000)[:19]}Z"
    return Answer({"iso": iso, "epochSeconds": str(seconds), "epochMillis": str(request.now)})


def currencies(request: Request) -> Answer:
    """GET /v2/currencies: those that are no crypto currencies."""
    return Answer({"data": [{"id": "USD", "name": "United States Dollar", "min_size": "0.01"}]})


def crypto_currencies(request: Request) -> Answer:
    """GET /v2/currencies/crypto"""
    codes = dict.fromkeys(code for each in request.exchange.instruments.values() for code in (each.base, each.quote))
    return Answer(
        {"data": [{"asset_id": f"00000000-0000-0000-0000-{place:012d}", "code": code, "name": code, "color": "#0433FF",
                   "sort_index": place, "exponent": 8, "type": "crypto", "address_regex": "^.*$"}
                  for place, code in enumerate(codes)]}
    )  # fmt: skip


def exchange_rates(request: Request) -> Answer:
    """GET /v2/exchange-rates: what a dollar is in each currency."""
    rates = {"USD": "1.0"}
    for each in request.exchange.instruments.values():
        price = Decimal(day.window(each, request.now).close)
        rates[each.base] = f"{1 / price:.12f}" if price else "0"
    return Answer({"data": {"currency": "USD", "rates": rates}})


def products(request: Request) -> Answer:
    """GET /market/products: the spot markets unless `product_type` asks for others; there are no futures."""
    is_spot = request.query.get("product_type", "SPOT") == "SPOT"
    found = coinbase_rows.products(request.exchange) if is_spot else []
    described = [coinbase_rows.described(each, request.now) for each in found]
    return Answer(described, lambda rows: {"products": rows, "num_products": len(rows), "pagination": None})


def product(request: Request) -> Answer:
    """GET /market/products/{product_id}"""
    return Answer(coinbase_rows.described(_product(request), request.now))


def candles(request: Request) -> Answer:
    """GET /market/products/{product_id}/candles: newest first, from `start` to `end`, both included."""
    found, now = _product(request).of, request.now
    interval = coinbase_rows.GRANULARITIES.get(request.query.get("granularity", ""), "")
    if interval not in found.intervals:
        raise Refused("INVALID_ARGUMENT", "granularity argument is invalid", 400)
    start, end = _number(request, "start"), _number(request, "end")
    if start is None or end is None or end < start:
        raise Refused("INVALID_ARGUMENT", "start and end argument is invalid", 400)
    width = timeframes.duration_ms(interval) // 1000
    if (end - start) // width >= CANDLES:
        reason = f"number of candles requested should be less than {CANDLES} "
        raise Refused("INVALID_ARGUMENT", f"start and end argument is invalid - {reason}", 400)
    bounds = start * 1000, end * 1000
    page = candle_page(found, interval, bounds, CANDLES, now, PageStyle(quiet=False))
    return Answer(
        page[::-1],
        lambda rows: {"candles": [coinbase_rows.candle(row) for row in rows]},
        interval=interval,
        until=end * 1000 + 1,
    )


def trades(request: Request) -> Answer:
    """GET /market/products/{product_id}/ticker: the newest trades between `start` and `end`, newest first."""
    asked, now = _product(request), request.now
    limit, found, history = _number(request, "limit"), asked.of, asked.of.history
    if limit is None:
        raise Refused("INVALID_ARGUMENT", "limit argument is required", 400)
    if limit > TRADES_LIMIT:
        raise Refused("INTERNAL", "an internal server error has occurred", 500)
    start, end = _number(request, "start"), _number(request, "end")
    best = day.best(found, now)
    rows: list[Mapping[str, str]] = []
    if history is not None:
        first = history.first_id if start is None else history.id_at(start * 1000)
        last = history.id_at(now + 1) if end is None else min(history.id_at(now + 1), history.id_at(end * 1000))
        page = newest(history.by_id, first, last, min(limit, TRADES), request.holes(found))
        more = {"bid": "", "ask": "", "exchange": "coinbase"}
        rows = [row | more for row in reversed(coinbase_rows.trades(asked.id, found, page))]
    return Answer(rows, lambda rows: {"trades": rows, "best_bid": short(best.bid), "best_ask": short(best.ask)})


def product_book(request: Request) -> Answer:
    """GET /market/product_book"""
    asked, limit = _product(request), min(_number(request, "limit") or LEVELS, LEVELS)
    frame = frame_of(request.now)
    book = top(book_at(asked.of, frame), limit)
    sides: list[list[dict[str, Any]]] = [
        [{"price": price, "size": size} for price, size in coinbase_rows.levels(asked.of, side)]
        for side in (book.bids, book.asks)
    ]
    bid, ask = (Decimal(side[0]["price"]) if side else Decimal(0) for side in sides)
    middle = (bid + ask) / 2
    pricebook = {"product_id": asked.id, "bids": sides[0], "asks": sides[1],
                 "time": coinbase_rows.iso(frame * FRAME_MS)}  # fmt: skip
    return Answer({"pricebook": pricebook, "last": str(middle), "mid_market": str(middle),
                   "spread_bps": f"{(ask - bid) / middle * 10_000 if middle else 0:.12f}",
                   "spread_absolute": str(ask - bid)})  # fmt: skip


_V3 = "GET api/v3/brokerage"
ENDPOINTS: dict[str, Endpoint] = {
    "GET v2/time": v2_time,
    "GET v2/currencies": currencies,
    "GET v2/currencies/crypto": crypto_currencies,
    "GET v2/exchange-rates": exchange_rates,
    f"{_V3}/time": v3_time,
    f"{_V3}/market/products": products,
    f"{_V3}/market/product_book": product_book,
    f"{_V3}/market/products/{{product_id}}": product,
    f"{_V3}/market/products/{{product_id}}/candles": candles,
    f"{_V3}/market/products/{{product_id}}/ticker": trades,
}
