"""Crypto.com's public REST endpoints v1: from parameters to rows. No I/O.

Source of paths and parameters: ccxt 4.5.90's class, and the limits that it states. No source says which of too many
candles are cut, whether a quiet interval has a row, or which ends of a range are included: here, as ccxt requests them,
`start_ts` and `end_ts` are excluded, the newest `count` remain, and quiet intervals have no row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tickwire.simulator.answers import Answer, Query, Refused, whole
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of
from tickwire.simulator.market.candle_pages import PageStyle, candle_page
from tickwire.simulator.market.day import DAY_MS
from tickwire.simulator.market.exchange import Instrument
from tickwire.simulator.market.rows import newest, top
from tickwire.simulator.venue import Endpoint, Request
from tickwire.simulator.venues.cryptocom import rows as cryptocom_rows

MOST_TRADES, MOST_CANDLES, DEPTH = 150, 300, 50
_DEFAULT = 25
_QUIET = PageStyle(quiet=False)


def _form(method: str, **named: Any) -> Callable[[Any], Any]:
    return lambda rows: {"id": -1, "method": f"public/{method}", "code": 0, "result": {**named, "data": rows}}


def _found(request: Request) -> tuple[str, Instrument]:
    name = request.query.get("instrument_name", "")
    found = cryptocom_rows.instruments(request.exchange).get(name)
    if found is None:
        raise Refused(40004, f"Invalid instrument_name {name}".rstrip())
    return name, found


def _number(query: Query, name: str) -> int | None:
    return whole(query, name, Refused(40003, f"Invalid {name}"))


def _ms(query: Query, name: str) -> int | None:
    """Return a time (ms): milliseconds, or microseconds or nanoseconds by the number of digits."""
    value = _number(query, name)
    while value is not None and value >= 10**14:
        value //= 1000
    return value


def _count(query: Query, name: str, default: int, most: int) -> int:
    count = _number(query, name)
    if count is not None and not 1 <= count <= most:
        raise Refused(40003, f"Invalid {name}")
    return default if count is None else count


def get_instruments(request: Request) -> Answer:
    """GET public/get-instruments"""
    found = cryptocom_rows.instruments(request.exchange)
    return Answer([cryptocom_rows.described(*each) for each in found.items()], _form("get-instruments"))


def get_trades(request: Request) -> Answer:
    """GET public/get-trades: newest first; of too many in [start_ts, end_ts) the newest."""
    (name, found), query = _found(request), request.query
    history, limit = found.history, _count(query, "count", _DEFAULT, MOST_TRADES)
    start, end = _ms(query, "start_ts"), _ms(query, "end_ts")
    if history is None:
        return Answer([], _form("get-trades"))
    stop = history.id_at(min(request.now + 1, request.now + 1 if end is None else end))
    first = history.first_id if start is None else max(history.first_id, history.id_at(start))
    picked = newest(history.by_id, first, max(first, stop), limit, request.holes(found))
    rows = [{**row, "tn": row["t"] * 1_000_000} for row in cryptocom_rows.trades(name, found, picked)]
    return Answer(rows[::-1], _form("get-trades"))


def get_candlestick(request: Request) -> Answer:
    """GET public/get-candlestick: oldest first; see the module about what is cut."""
    (name, found), query, now = _found(request), request.query, request.now
    asked = query.get("timeframe", "5m")
    interval = cryptocom_rows.INTERVALS.get(asked)
    if interval is None:
        raise Refused(40003, f"Invalid timeframe {asked}")
    count = _count(query, "count", _DEFAULT, MOST_CANDLES)
    end = _ms(query, "end_ts")
    start = _ms(query, "start_ts")
    start = now - DAY_MS if start is None else start
    last = now if end is None else end - 1
    rows = candle_page(found, interval, (None, last), count, now, _QUIET)
    return Answer(
        [row for row in rows if int(row[0]) > start],
        lambda rows: _form("get-candlestick", interval=asked, instrument_name=name)(
            [cryptocom_rows.candle(row) for row in rows]
        ),
        interval=interval,
        until=end,
    )


def get_book(request: Request) -> Answer:
    """GET public/get-book"""
    name, found = _found(request)
    depth, frame = _count(request.query, "depth", DEPTH, DEPTH), frame_of(request.now)
    book = top(book_at(found, frame), depth)
    bids, asks = cryptocom_rows.side(found, book.bids), cryptocom_rows.side(found, book.asks)
    data = [{"bids": bids, "asks": asks, "t": frame * FRAME_MS}]
    return Answer(_form("get-book", depth=depth, instrument_name=name)(data))


def get_tickers(request: Request) -> Answer:
    """GET public/get-tickers: one, or all."""
    found = cryptocom_rows.instruments(request.exchange)
    if "instrument_name" in request.query:
        found = dict([_found(request)])
    rows = [cryptocom_rows.ticker(name, each, request.now) for name, each in found.items()]
    return Answer(rows, _form("get-tickers"))


ENDPOINTS: dict[str, Endpoint] = {
    "GET exchange/v1/public/get-instruments": get_instruments,
    "GET exchange/v1/public/get-trades": get_trades,
    "GET exchange/v1/public/get-candlestick": get_candlestick,
    "GET exchange/v1/public/get-book": get_book,
    "GET exchange/v1/public/get-tickers": get_tickers,
}
