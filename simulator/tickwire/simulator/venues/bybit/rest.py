"""Bybit's public REST endpoints v5: from parameters to rows. No I/O.

Source of paths, parameters, limits and errors: Bybit's documentation of its API v5, "Market", as of 2025.
"""

from __future__ import annotations

from tickwire.model import timeframes
from tickwire.simulator.answers import Answer, Query, Refused, whole
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of, last_update_id
from tickwire.simulator.market.exchange import Instrument
from tickwire.simulator.market.rows import fixed_levels, newest, top
from tickwire.simulator.venue import Endpoint, Request
from tickwire.simulator.venues.bybit import rows as bybit_rows


def _category(query: Query) -> str:
    category = query.get("category", "")
    if category not in (*bybit_rows.CATEGORIES, "option"):
        raise Refused(10001, "params error: Category is invalid")
    return category


def _asked(request: Request) -> tuple[str, Instrument]:
    category, symbol = _category(request.query), request.query.get("symbol", "")
    found = bybit_rows.instrument(request.exchange, category, symbol) if category != "option" else None
    if found is None:
        raise Refused(10001, f"params error: symbol invalid {symbol}".rstrip())
    return category, found


def _number(query: Query, name: str, default: int | None = None) -> int | None:
    value = whole(query, name, Refused(10001, f"params error: {name} invalid"))
    return default if value is None else value


def _limit(query: Query, default: int, most: int) -> int:
    return min(_number(query, "limit") or default, most)


def time_(request: Request) -> Answer:
    """GET /v5/market/time"""
    return Answer({"timeSecond": str(request.now // 1000), "timeNano": str(request.now * 1_000_000)})


def instruments_info(request: Request) -> Answer:
    """GET /v5/market/instruments-info: contracts in pages, spot markets at once; there are no options."""
    category, query = _category(request.query), request.query
    found = bybit_rows.instruments(request.exchange, category) if category in bybit_rows.CATEGORIES else []
    if query.get("status", "Trading") != "Trading":
        found = []
    found = [each for each in found if query.get("symbol", each.id) == each.id]
    first, limit = _number(query, "cursor", 0) or 0, _limit(query, 500, 1000) if category != "spot" else len(found)
    cursor = str(first + limit) if first + limit < len(found) else ""
    rows = [bybit_rows.described(category, each) for each in found[first : first + limit]]
    return Answer(rows, lambda rows: {"category": category, "list": rows, "nextPageCursor": cursor})


def kline(request: Request) -> Answer:
    """GET /v5/market/kline: newest first, from the candle that contains `start`; with `end` the newest up to it.

    Of more candles between both than `limit`, the newest: the documented example of "Get Mark Price Kline", from
    1670601600000 to 1670608800000 with the limit 1, is answered by the candle of 1670608800000.
    """
    (category, found), query, now = _asked(request), request.query, request.now
    interval = bybit_rows.INTERVALS.get(query.get("interval", ""), "")
    if interval not in found.intervals:
        raise Refused(10001, "params error: Invalid period!")
    start, end, limit = _number(query, "start"), _number(query, "end"), _limit(query, 200, 1000)
    first = None if start is None else timeframes.open_of(interval, start)
    rows = found.candles.page(interval, first if end is None else None, end, limit, now)
    rows = [row for row in reversed(rows) if first is None or int(row[0]) >= first]
    ends = [timeframes.advance(interval, first, limit)] if first is not None else []
    return Answer(
        rows,
        lambda rows: {
            "category": category,
            "symbol": found.id,
            "list": [bybit_rows.candle(found, row, now) for row in rows],
        },
        interval=interval,
        until=min([*ends, *([] if end is None else [end + 1])], default=None),
    )


def recent_trade(request: Request) -> Answer:
    """GET /v5/market/recent-trade: the newest alone, 1000 of contracts and 60 of spot markets, newest first."""
    category, found = _asked(request)
    default, most = (60, 60) if category == "spot" else (500, 1000)
    limit, history = _limit(request.query, default, most), found.history
    if history is None:
        return Answer([], lambda rows: {"category": category, "list": rows})
    end = history.id_at(request.now + 1)
    trades = newest(history.by_id, history.first_id, end, limit, request.holes(found))
    rows = [
        {"execId": id_, "symbol": found.id, "price": price, "size": size, "side": side, "time": str(time),
         "isBlockTrade": False}
        for id_, price, size, side, time in reversed(bybit_rows.trades(category, found, trades))
    ]  # fmt: skip
    return Answer(rows, lambda rows: {"category": category, "list": rows})


def orderbook(request: Request) -> Answer:
    """GET /v5/market/orderbook"""
    category, found = _asked(request)
    limit = _limit(request.query, 1, 200) if category == "spot" else _limit(request.query, 25, 500)
    frame = frame_of(request.now)
    book, time = top(book_at(found, frame), limit), frame * FRAME_MS
    bids, asks = fixed_levels(found, book.bids), fixed_levels(found, book.asks)
    return Answer({"s": found.id, "b": bids, "a": asks, "ts": time, "u": frame, "seq": last_update_id(frame),
                   "cts": time})  # fmt: skip


def tickers(request: Request) -> Answer:
    """GET /v5/market/tickers: one, or all of a category."""
    category = _category(request.query)
    found = [_asked(request)[1]] if "symbol" in request.query else bybit_rows.instruments(request.exchange, category)
    rows = [bybit_rows.ticker(category, each, request.now) for each in found]
    return Answer(rows, lambda rows: {"category": category, "list": rows})


ENDPOINTS: dict[str, Endpoint] = {
    "GET v5/market/time": time_,
    "GET v5/market/instruments-info": instruments_info,
    "GET v5/market/kline": kline,
    "GET v5/market/recent-trade": recent_trade,
    "GET v5/market/orderbook": orderbook,
    "GET v5/market/tickers": tickers,
}
