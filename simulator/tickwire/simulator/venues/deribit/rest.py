"""Deribit's public REST methods v2: from parameters to rows. No I/O.

Source of methods, parameters, limits and errors: Deribit's API documentation v2, "Market Data" and "RPC error codes".
"""

from __future__ import annotations

from typing import Any

from tickwire.simulator.answers import Answer, Query, Refused, whole, window_end
from tickwire.simulator.market.book import book_at
from tickwire.simulator.market.exchange import Instrument
from tickwire.simulator.market.rows import newest, oldest, top
from tickwire.simulator.venue import Endpoint, Request
from tickwire.simulator.venues.deribit import rows as deribit_rows

_MOST_TRADES, _TRADES = 1000, 10
_REACH_MS = 86_400_000
"""An answer about an earlier time on is empty ("public/get_last_trades_by_currency_and_time")."""
_MOST_CANDLES = 5000
"""Candles of one answer at most (a comment in ccxt 4.5 `fetch_ohlcv`)."""
_MOST_LEVELS, _LEVELS = 10_000, 5
_COLUMNS = ("close", "cost", "high", "low", "open", "volume")


class Invalid(Refused):
    """`Invalid params`, with the parameter and what is wrong with it."""

    def __init__(self, param: str, reason: str) -> None:
        super().__init__(-32602, "Invalid params")
        self.data = {"param": param, "reason": reason}


def _asked(request: Request) -> Instrument:
    name = request.query.get("instrument_name", "")
    if not name:
        raise Invalid("instrument_name", "value required")
    found = deribit_rows.instrument(request.exchange, name)
    if found is None:
        raise Refused(13020, "not_found")
    return found


def _number(query: Query, name: str) -> int | None:
    return whole(query, name, Invalid(name, "must be a number"))


def _count(query: Query, name: str, default: int, most: int) -> int:
    value = _number(query, name)
    if value is not None and not 1 <= value <= most:
        raise Invalid(name, f"value must be between 1 and {most}")
    return value or default


def get_time(request: Request) -> Answer:
    """GET public/get_time"""
    return Answer(request.now)


def status(request: Request) -> Answer:
    """GET public/status"""
    return Answer({"locked_indices": [], "locked": "false"})


def test(request: Request) -> Answer:
    """GET public/test"""
    return Answer({"version": "1.2.26"})


def get_currencies(request: Request) -> Answer:
    """GET public/get_currencies"""
    names = {name: None for each in deribit_rows.instruments(request.exchange) for name in (each.base, "USDC")}
    zero = deribit_rows.number(0)
    rows = [
        {"currency": name, "currency_long": name, "coin_type": name, "fee_precision": 4, "min_confirmations": 1,
         "min_withdrawal_fee": zero, "withdrawal_fee": zero, "withdrawal_priorities": []}
        for name in names
    ]  # fmt: skip
    return Answer(rows)


def get_instruments(request: Request) -> Answer:
    """GET public/get_instruments: of one currency, or of `any`, or of all where none is named."""
    query = request.query
    chosen, kind = query.get("currency", "any"), query.get("kind", "future")
    found = deribit_rows.instruments(request.exchange) if kind in ("future", "any") else []
    rows = [deribit_rows.described(each, place) for place, each in enumerate(found)
            if chosen in ("any", deribit_rows.currency(each))]  # fmt: skip
    return Answer(rows if query.get("expired", "false") == "false" else [])


def get_tradingview_chart_data(request: Request) -> Answer:
    """GET public/get_tradingview_chart_data: oldest first, all that open within the window, in columns."""
    found, query, now = _asked(request), request.query, request.now
    interval = deribit_rows.RESOLUTIONS.get(query.get("resolution", ""))
    if interval is None:
        raise Invalid("resolution", "wrong format")
    start, end = _number(query, "start_timestamp"), _number(query, "end_timestamp")
    if start is None or end is None or end < start:
        raise Invalid("start_timestamp" if start is None else "end_timestamp", "value required")
    rows = found.candles.page(interval, start, end, _MOST_CANDLES, now)

    def columns(rows: Any) -> Any:
        candles = [deribit_rows.candle(found, row, now) for row in rows]
        made: dict[str, Any] = {name: [each[name] for each in candles] for name in _COLUMNS}
        return made | {"ticks": [each["tick"] for each in candles], "status": "ok" if rows else "no_data"}

    return Answer(rows, columns, interval=interval, until=window_end(interval, start, end, _MOST_CANDLES))


def _trades(request: Request, start: int | None, end: int | None, bounds: tuple[int | None, int | None]) -> Answer:
    """Return the oldest trades from a start on, oldest first, or else the newest, newest first; `sorting` decides.

    `start` and `end` are times (ms), `bounds` numbers of trades, all included.
    """
    found, query = _asked(request), request.query
    count, order = _count(query, "count", _TRADES, _MOST_TRADES), query.get("sorting", "default")
    if order not in ("asc", "desc", "default"):
        raise Invalid("sorting", "wrong format")
    history = found.history
    assert history is not None
    until = request.now if end is None else min(end, request.now)
    first, stop = history.first_id if start is None else history.id_at(start), history.id_at(until + 1)
    first = max(first, bounds[0] or first)
    stop = stop if bounds[1] is None else min(stop, bounds[1] + 1)
    ascends = order == "asc" or (order == "default" and (start is not None or bounds[0] is not None))
    cut = oldest if ascends else newest
    trades = cut(history.by_id, first, max(first, stop), count, request.holes(found))
    before = deribit_rows.price_before(found, int(trades.id[0])) if len(trades) else None
    rows = deribit_rows.trades(found, trades, before)
    if not ascends:
        rows.reverse()
    return Answer(rows, lambda rows: {"trades": rows, "has_more": stop - first > count})


def get_last_trades_by_instrument(request: Request) -> Answer:
    """GET public/get_last_trades_by_instrument: by numbers, by times, or the newest."""
    query = request.query
    bounds = _number(query, "start_seq"), _number(query, "end_seq")
    return _trades(request, _number(query, "start_timestamp"), _number(query, "end_timestamp"), bounds)


def get_last_trades_by_instrument_and_time(request: Request) -> Answer:
    """GET public/get_last_trades_by_instrument_and_time: one of the times is needed."""
    start, end = _number(request.query, "start_timestamp"), _number(request.query, "end_timestamp")
    if start is None and end is None:
        raise Invalid("start_timestamp", "value required")
    if start is not None and start < request.now - _REACH_MS:
        _asked(request)
        return Answer([], lambda rows: {"trades": rows, "has_more": False})
    return _trades(request, start, end, (None, None))


def get_order_book(request: Request) -> Answer:
    """GET public/get_order_book: the ticker, too."""
    found = _asked(request)
    depth = _count(request.query, "depth", _LEVELS, _MOST_LEVELS)
    frame, time = deribit_rows.frame_and_time(request.now)
    book = top(book_at(found, frame), depth)
    sides = {"bids": deribit_rows.side(found, book.bids), "asks": deribit_rows.side(found, book.asks)}
    fields = deribit_rows.ticker(found, request.now) | {"timestamp": time, "change_id": deribit_rows.change_id(frame)}
    return Answer(fields | sides)


def ticker(request: Request) -> Answer:
    """GET public/ticker"""
    return Answer(deribit_rows.ticker(_asked(request), request.now))


_METHODS = (get_time, status, test, get_currencies, get_instruments, get_tradingview_chart_data,
            get_last_trades_by_instrument, get_last_trades_by_instrument_and_time, get_order_book, ticker)  # fmt: skip
ENDPOINTS: dict[str, Endpoint] = {f"GET api/v2/public/{method.__name__}": method for method in _METHODS}
