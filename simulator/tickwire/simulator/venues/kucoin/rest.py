"""KuCoin's public REST endpoints: from parameters to rows. No I/O.

Source of paths, parameters and limits: KuCoin's documentation, "Spot Trading, Market Data" and "WebSocket API, Get
Public Token", as of 2025. `endAt` is exclusive: other clients ask for one second more to get the candle at the end
(hummingbot, `kucoin_spot_candles.py`). The message of an unknown symbol is not documented.
"""

from __future__ import annotations

from typing import Any

from tickwire.model import timeframes
from tickwire.simulator.answers import Answer, Refused, whole
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of, last_update_id
from tickwire.simulator.market.candle_pages import candle_page
from tickwire.simulator.market.exchange import Instrument
from tickwire.simulator.market.rows import levels, newest, top
from tickwire.simulator.venue import Endpoint, Request
from tickwire.simulator.venues.kucoin import rows as kucoin_rows

SOCKETS = "ws-api-spot.kucoin.com"
"""The host of the sockets of spot markets."""
CANDLES = 1_500
"""Most rows of a page of candles."""
TRADES = 100
"""The newest trades that REST has."""
_BAD = "400100"


def _asked(request: Request) -> Instrument:
    found = kucoin_rows.instrument(request.exchange, request.query.get("symbol", ""))
    if found is None:
        raise Refused(_BAD, "This pair is not provided at present")
    return found


def _seconds(request: Request, name: str) -> int | None:
    return whole(request.query, name, Refused(_BAD, f"{name} is invalid")) or None


def timestamp(request: Request) -> Answer:
    """GET /api/v1/timestamp"""
    return Answer(request.now)


def symbols(request: Request) -> Answer:
    """GET /api/v2/symbols"""
    return Answer([kucoin_rows.described(each) for each in request.exchange.instruments.values()])


def currencies(request: Request) -> Answer:
    """GET /api/v3/currencies"""
    markets = request.exchange.instruments.values()
    codes = sorted({code for each in markets for code in (each.base, each.quote)})
    return Answer([kucoin_rows.currency(code) for code in codes])


def contracts(request: Request) -> Answer:
    """GET /api/v1/contracts/active, of the API of futures: there are none."""
    return Answer([])


def all_tickers(request: Request) -> Answer:
    """GET /api/v1/market/allTickers"""
    now = request.now
    found = [kucoin_rows.all_tickers(each, now) for each in request.exchange.instruments.values()]
    return Answer({"time": now, "ticker": found})


def stats(request: Request) -> Answer:
    """GET /api/v1/market/stats"""
    return Answer(kucoin_rows.stats(_asked(request), request.now))


def candles(request: Request) -> Answer:
    """GET /api/v1/market/candles: newest first, within `[startAt, endAt)`; of more than a page, the newest."""
    found, now = _asked(request), request.now
    interval = kucoin_rows.INTERVALS.get(request.query.get("type", ""), "")
    if interval not in found.intervals:
        raise Refused(_BAD, "Incorrect candlestick type.")
    start, end = _seconds(request, "startAt"), _seconds(request, "endAt")
    until = None if end is None else end * 1000
    style, last = kucoin_rows.style(interval), None if until is None else until - 1
    rows = candle_page(found, interval, (None, last), CANDLES, now, style)
    rows = [row for row in reversed(rows) if start is None or int(row[0]) >= start * 1000]
    first = None if start is None else timeframes.advance(interval, start * 1000, CANDLES)
    return Answer(
        rows,
        lambda rows: [kucoin_rows.candle(row) for row in rows],
        interval=interval,
        until=min((each for each in (until, first) if each is not None), default=None),
    )


def histories(request: Request) -> Answer:
    """GET /api/v1/market/histories: the newest trades, oldest first."""
    found = _asked(request)
    history = found.history
    if history is None:
        return Answer([])
    end = history.id_at(request.now + 1)
    trades = newest(history.by_id, history.first_id, end, TRADES, request.holes(found))
    return Answer(kucoin_rows.past_trades(found, trades))


def order_book(request: Request) -> Answer:
    """GET /api/v1/market/orderbook/level2_{size}"""
    size = request.query["size"]
    if size not in ("20", "100"):
        raise Refused(_BAD, "level is invalid")
    found, frame = _asked(request), frame_of(request.now)
    book = top(book_at(found, frame), int(size))
    return Answer({"time": frame * FRAME_MS, "sequence": str(last_update_id(frame)),
                   "bids": levels(found, book.bids), "asks": levels(found, book.asks)})  # fmt: skip


def bullet_public(request: Request) -> Answer:
    """POST /api/v1/bullet-public: where the sockets are, and a token for them."""
    endpoint = f"ws{request.origin.removeprefix('http')}/{SOCKETS}/"
    server: dict[str, Any] = {"endpoint": endpoint, "encrypt": True, "protocol": "websocket", "pingInterval": 18_000,
                              "pingTimeout": 10_000}  # fmt: skip
    return Answer({"token": request.tokens.issue(), "instanceServers": [server]}, weight=10)


ENDPOINTS: dict[str, Endpoint] = {
    "GET api/v1/timestamp": timestamp,
    "GET api/v2/symbols": symbols,
    "GET api/v3/currencies": currencies,
    "GET api/v1/contracts/active": contracts,
    "GET api/v1/market/allTickers": all_tickers,
    "GET api/v1/market/stats": stats,
    "GET api/v1/market/candles": candles,
    "GET api/v1/market/histories": histories,
    "GET api/v1/market/orderbook/level2_{size}": order_book,
    "POST api/v1/bullet-public": bullet_public,
}
