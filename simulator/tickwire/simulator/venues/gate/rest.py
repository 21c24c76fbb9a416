"""Gate's public REST endpoints v4: from parameters to rows. No I/O.

Source of paths, parameters, limits and labels of errors: "Gate API v4" as of 2025, and for what old or broad requests
for candles get, the messages that clients reported.
"""

from __future__ import annotations

from typing import Any

from tickwire.model import timeframes
from tickwire.simulator.answers import Answer, Query, Refused, whole
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of, last_update_id
from tickwire.simulator.market.candle_pages import PageStyle, candle_page
from tickwire.simulator.market.exchange import Instrument
from tickwire.simulator.market.rows import newest, number, top
from tickwire.simulator.venue import Endpoint, Request
from tickwire.simulator.venues.gate import rows as gate_rows
from tickwire.simulator.venues.gate.rows import SPOT

POINTS = {SPOT: 1_000, "contract": 2_000}
"""Most candles of one answer."""
DEPTH = 9_998
"""How many intervals before the open candle a request for candles may begin."""
_BOOK_LEVELS = {SPOT: 1_000, "contract": 300}


def _kind(request: Request) -> str:
    """Return `spot`, or the settlement currency of the path."""
    settle = request.query.get("settle")
    if settle is None:
        return SPOT
    if settle not in gate_rows.SETTLES:
        raise _invalid("settle", settle)
    return settle


def _limits(request: Request, of: dict[str, int]) -> int:
    return of[SPOT if "settle" not in request.query else "contract"]


def _invalid(name: str, value: str) -> Refused:
    return Refused("INVALID_PARAM_VALUE", f"Invalid request parameter `{name}` value: {value}")


def _found(request: Request) -> Instrument:
    kind = _kind(request)
    name = request.query.get("currency_pair" if kind == SPOT else "contract", "")
    found = gate_rows.instrument(request.exchange, kind, name)
    if found is None and kind == SPOT:
        raise Refused("INVALID_CURRENCY_PAIR", f"Invalid currency pair {name}")
    if found is None:
        raise Refused("CONTRACT_NOT_FOUND", f"contract {name} not found")
    return found


def _whole(query: Query, name: str) -> int | None:
    return whole(query, name, _invalid(name, query.get(name, "")))


def _limit(query: Query, default: int, most: int) -> int:
    limit = _whole(query, "limit")
    if limit is not None and not 1 <= limit <= most:
        raise _invalid("limit", str(limit))
    return default if limit is None else limit


def time_(request: Request) -> Answer:
    """GET /spot/time"""
    return Answer({"server_time": request.now})


def nothing(request: Request) -> Answer:
    """Margin pairs, delivery contracts and options: there are none."""
    return Answer([])


def currencies(request: Request) -> Answer:
    """GET /spot/currencies"""
    names = sorted({name for each in request.exchange.instruments.values() for name in (each.base, each.quote)})
    state = {"delisted": False, "withdraw_disabled": False, "withdraw_delayed": False, "deposit_disabled": False,
             "trade_disabled": False}  # fmt: skip
    return Answer([{"currency": name, "name": name, **state, "chain": name, "chains": []} for name in names])


def instruments(request: Request) -> Answer:
    """GET /spot/currency_pairs and /futures/{settle}/contracts"""
    found = gate_rows.listed(request.exchange, _kind(request))
    return Answer([gate_rows.described(each, request.now) for each in found])


def candlesticks(request: Request) -> Answer:
    """GET /spot/candlesticks and /futures/{settle}/candlesticks: oldest first, those that open in [from, to]."""
    found, query, now = _found(request), request.query, request.now
    asked, points = query.get("interval", "30m" if found.terms is None else "5m"), _limits(request, POINTS)
    interval = gate_rows.INTERVALS.get(asked, "")
    if interval not in found.intervals:
        raise _invalid("interval", asked)
    start, end, limit = _whole(query, "from"), _whole(query, "to"), _limit(query, 100, points)
    if (start, end) != (None, None) and "limit" in query:
        raise _invalid("limit", query["limit"])
    width, style = timeframes.duration_ms(interval), PageStyle(opens_at=_offset(interval))
    if start is None:
        rows = candle_page(found, interval, (None, None if end is None else end * 1000), limit, now, style)
    else:
        until = now if end is None else end * 1000
        if start * 1000 < now // width * width - DEPTH * width:
            raise Refused("INVALID_PARAM_VALUE", "Candlestick too long ago. Maximum 10000 points ago are allowed")
        if (until - start * 1000) // width + 1 > points:
            broad = f"Candlestick range too broad. Maximum {points} data points are allowed per request"
            raise Refused("INVALID_PARAM_VALUE", broad)
        rows = candle_page(found, interval, (start * 1000, until), points, now, style)
    return Answer(
        rows,
        lambda rows: [gate_rows.past_candle(found, row, now) for row in rows],
        interval=interval,
        until=None if end is None else end * 1000 + 1,
    )


def _offset(interval: str) -> int:
    return gate_rows.WEEK_OPENS_MS if interval == "1w" else 0


def trades(request: Request) -> Answer:
    """GET /spot/trades and /futures/{settle}/trades: newest first; of too many in [from, to] the newest.

    Those of spot markets have the maker's side unless `last_id` is given: gateio/rest-v4, issue 10 (2022).
    """
    found, query = _found(request), request.query
    history, limit = found.history, _limit(query, 100, 1_000)
    if history is None:
        return Answer([])
    start, end, last = _whole(query, "from"), _whole(query, "to"), _whole(query, "last_id")
    first, stop = history.first_id, history.id_at(request.now + 1)
    if last is not None and found.terms is None:
        # "If `last_id` is specified, the time range query parameters will be ignored."
        reverse = query.get("reverse", "false").lower() == "true"
        first, stop = (first, min(stop, last)) if reverse else (max(first, last + 1), stop)
    else:
        first = first if start is None else max(first, history.id_at(start * 1000))
        stop = stop if end is None else min(stop, history.id_at(end * 1000 + 1))
        pages = (_whole(query, "page") or 1) - 1
        stop -= pages * limit if found.terms is None else _whole(query, "offset") or 0
    rows = newest(history.by_id, first, max(first, stop), limit, request.holes(found))
    made = gate_rows.past_trades(found, rows)[::-1]
    if found.terms is None and last is None:
        made = [each | {"side": "buy" if each["side"] == "sell" else "sell"} for each in made]
    return Answer(made)


def order_book(request: Request) -> Answer:
    """GET /spot/order_book and /futures/{settle}/order_book"""
    found, query = _found(request), request.query
    frame = frame_of(request.now)
    book = top(book_at(found, frame), _limit(query, 10, _limits(request, _BOOK_LEVELS)))
    bids, asks = gate_rows.sides(found, book.bids, book.asks)
    times: dict[str, Any] = {"current": request.now, "update": frame * FRAME_MS}
    if found.terms is not None:
        times = {name: number(f"{ms // 1000}.{ms % 1000:03d}") for name, ms in times.items()}
    id_ = {"id": last_update_id(frame)} if query.get("with_id", "").lower() == "true" else {}
    return Answer({**id_, **times, "asks": asks, "bids": bids})


def tickers(request: Request) -> Answer:
    """GET /spot/tickers and /futures/{settle}/tickers: one, or all."""
    is_one = {"currency_pair", "contract"} & request.query.keys()
    found = [_found(request)] if is_one else gate_rows.listed(request.exchange, _kind(request))
    return Answer([gate_rows.ticker(each, request.now, rest=True) for each in found])


_OF_BOTH = {"candlesticks": candlesticks, "trades": trades, "order_book": order_book, "tickers": tickers}
ENDPOINTS: dict[str, Endpoint] = {
    "GET api/v4/spot/time": time_,
    "GET api/v4/spot/currencies": currencies,
    "GET api/v4/spot/currency_pairs": instruments,
    "GET api/v4/futures/{settle}/contracts": instruments,
    "GET api/v4/margin/currency_pairs": nothing,
    "GET api/v4/delivery/{settle}/contracts": nothing,
    "GET api/v4/options/underlyings": nothing,
    **{f"GET api/v4/spot/{name}": endpoint for name, endpoint in _OF_BOTH.items()},
    **{f"GET api/v4/futures/{{settle}}/{name}": endpoint for name, endpoint in _OF_BOTH.items()},
}
