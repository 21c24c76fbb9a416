"""Bitget's public REST endpoints v2: from parameters to rows. No I/O.

Source of paths, parameters and limits: Bitget's documentation of its API v2, "Spot, Market", "Contract, Market" and
"Common, Public", as of 2025; of codes: "Error Code". Trades come newest first, candles oldest first.
"""

from __future__ import annotations

from tickwire.model import timeframes
from tickwire.simulator.answers import Answer, Query, Refused, whole
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of
from tickwire.simulator.market.candle_pages import PageStyle, candle_page
from tickwire.simulator.market.day import DAY_MS
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.rows import fixed_levels, newest, top
from tickwire.simulator.venue import Endpoint, Request
from tickwire.simulator.venues.bitget import rows as bitget_rows

RECENT_DAYS = {"1m": 30, "3m": 30, "5m": 30, "15m": 52, "30m": 62, "1h": 83, "2h": 120, "4h": 240, "6h": 360}
"""How far back `candles` goes ("Get Candlestick Data"); longer candles: everything."""
SPAN_MS = 7 * DAY_MS
"""The longest range of `fills-history`."""
SPOT_REACH_MS, REACH_MS = 30 * DAY_MS, 7 * DAY_MS
"""How far back `fills-history` goes."""


def _product(query: Query) -> str:
    product = query.get("productType", "").upper()
    if not product:
        raise Refused(40019, "Parameter productType cannot be empty")
    if product not in bitget_rows.PRODUCTS:
        raise Refused(40017, "Parameter verification failed productType")
    return product


def _asked(request: Request, product: str) -> Instrument:
    symbol = request.query.get("symbol", "")
    if not symbol:
        raise Refused(40019, "Parameter symbol cannot be empty")
    found = bitget_rows.instrument(request.exchange, product, symbol)
    if found is None:
        raise Refused(40034, f"Parameter {symbol} does not exist")
    return found


def _number(query: Query, name: str) -> int | None:
    return whole(query, name, Refused(40017, f"Parameter verification failed {name}"))


def _limit(query: Query, default: int, most: int) -> int:
    limit = _number(query, "limit")
    if limit is not None and not 0 < limit <= most:
        raise Refused(40017, "Parameter verification failed limit")
    return default if limit is None else limit


def time_(request: Request) -> Answer:
    """GET /api/v2/public/time"""
    return Answer({"serverTime": str(request.now)})


def coins(request: Request) -> Answer:
    """GET /api/v2/spot/public/coins"""
    markets = request.exchange.instruments.values()
    names = sorted({name for each in markets for name in (each.base, each.quote)})
    return Answer([bitget_rows.coin(name, place) for place, name in enumerate(names, 1)])


def symbols(request: Request) -> Answer:
    """GET /api/v2/spot/public/symbols: all, or one."""
    found = [_asked(request, "SPOT")] if request.query.get("symbol") else _listed(request.exchange, "SPOT")
    return Answer([bitget_rows.described("SPOT", each) for each in found])


def margins(request: Request) -> Answer:
    """GET /api/v2/margin/currencies"""
    return Answer([bitget_rows.margin(each) for each in _listed(request.exchange, "SPOT")])


def contracts(request: Request) -> Answer:
    """GET /api/v2/mix/market/contracts: all of a product type, or one."""
    product = _product(request.query)
    found = [_asked(request, product)] if request.query.get("symbol") else _listed(request.exchange, product)
    return Answer([bitget_rows.described(product, each) for each in found])


def _listed(exchange: Exchange, product: str) -> list[Instrument]:
    return bitget_rows.instruments(exchange, product)


def _candles(spot: bool, history: bool) -> Endpoint:
    """Return an endpoint of candles: the newest before `endTime`.

    `history` has all of them, at most 200 in a page, and reads no `startTime`.
    """
    by_utc = bitget_rows.SPOT_BARS if spot else bitget_rows.BARS
    local = bitget_rows.SPOT_LOCAL if spot else bitget_rows.LOCAL

    def endpoint(request: Request) -> Answer:
        query, now = request.query, request.now
        found = _asked(request, "SPOT" if spot else _product(query))
        bar = query.get("granularity", "")
        interval = by_utc.get(bar) or local.get(bar, "")
        if interval not in found.intervals:
            raise Refused(40017, "Parameter verification failed granularity")
        offset = bitget_rows.LOCAL_MS if bar in local else 0
        limit = _limit(query, 100, 200 if history else 1_000)
        start, end = None if history else _number(query, "startTime"), _number(query, "endTime")
        if end is None and history:
            raise Refused(40019, "Parameter endTime cannot be empty")
        if None not in (start, end) and (start or 0) > (end or 0):
            raise Refused(40017, "Parameter verification failed startTime")
        # The end is rounded down to a candle's open, and that candle is not in the answer.
        last = None if end is None else timeframes.open_of(interval, end - offset) + offset - 1
        rows = candle_page(found, interval, (None, last), limit, now, PageStyle(opens_at=offset))
        first = start or 0
        if not history and interval in RECENT_DAYS:
            first = max(first, now - RECENT_DAYS[interval] * DAY_MS)
        return Answer(
            [row for row in rows if int(row[0]) >= first],
            lambda rows: [bitget_rows.candle(row)[: 8 if spot else 7] for row in rows],
            interval=interval,
            until=None if last is None else last + 1,
        )

    return endpoint


def _fills(spot: bool, history: bool) -> Endpoint:
    """Return an endpoint of trades, newest first; their times are cut to whole seconds.

    The history of contracts begins at its reach, whatever `startTime` is: so measured by others in 2026.
    """
    default, most = (500, 1_000) if history else (100, 500 if spot else 100)

    def endpoint(request: Request) -> Answer:
        query, now = request.query, request.now
        found = _asked(request, "SPOT" if spot else _product(query))
        limit, trades = _limit(query, default, most), found.history
        if trades is None:
            return Answer([])
        first, end = trades.first_id, trades.id_at(now + 1)
        if history:
            since, until = _range(query, now)
            start = max(since, now - SPOT_REACH_MS) if spot else now - REACH_MS
            first, end = max(first, trades.id_at(start)), min(end, trades.id_at(until + 1))
            before = _number(query, "idLessThan")
            end = end if before is None else min(end, bitget_rows.place_of(trades, before))
        page = newest(trades.by_id, first, max(first, end), limit, request.holes(found))
        return Answer([_fill(spot, found.id, row) for row in reversed(bitget_rows.trades(found, page))])

    return endpoint


def _range(query: Query, now: int) -> tuple[int, int]:
    """Return the first and the last time (ms) of a range of trades: at most a week, the newest by default."""
    since, until = _number(query, "startTime"), _number(query, "endTime")
    until = until if until is not None else now if since is None else min(now, since + SPAN_MS)
    since = until - SPAN_MS if since is None else since
    if since > until or until - since > SPAN_MS:
        raise Refused(40017, "Parameter verification failed startTime and endTime should be within 7 days")
    return since, until


def _fill(spot: bool, symbol: str, row: tuple[str, str, str, bool, int]) -> dict[str, str]:
    """Return a trade as REST writes it, from (id, price, size, whether the taker sold, time)."""
    id_, price, size, sell, time = row
    side, second = "Sell" if sell else "Buy", str(time // 1_000 * 1_000)
    if spot:
        return {"symbol": symbol, "tradeId": id_, "side": side, "price": price, "size": size, "ts": second}
    return {"tradeId": id_, "price": price, "size": size, "side": side, "ts": second, "symbol": symbol}


def _book(request: Request, found: Instrument, limit: int) -> dict[str, object]:
    frame = frame_of(request.now)
    book = top(book_at(found, frame), limit)
    return {"asks": fixed_levels(found, book.asks), "bids": fixed_levels(found, book.bids),
            "ts": str(frame * FRAME_MS)}  # fmt: skip


def orderbook(request: Request) -> Answer:
    """GET /api/v2/spot/market/orderbook"""
    return Answer(_book(request, _asked(request, "SPOT"), _limit(request.query, 150, 150)))


def merge_depth(request: Request) -> Answer:
    """GET /api/v2/mix/market/merge-depth: 1, 5, 15, 50 or `max` levels."""
    found, limit = _asked(request, _product(request.query)), request.query.get("limit", "100")
    levels = 1_000 if limit == "max" else _limit({"limit": limit}, 100, 1_000)
    more = {"precision": "scale0", "scale": bitget_rows.fixed_step(found.units.price_step, found.units.price_decimals),
            "isMaxPrecision": "NO"}  # fmt: skip
    return Answer(_book(request, found, levels) | more)


def _tickers(spot: bool, one: bool = False) -> Endpoint:
    def endpoint(request: Request) -> Answer:
        product = "SPOT" if spot else _product(request.query)
        chosen = one or request.query.get("symbol")
        found = [_asked(request, product)] if chosen else _listed(request.exchange, product)
        return Answer([bitget_rows.ticker(product, each, request.now) for each in found])

    return endpoint


ENDPOINTS: dict[str, Endpoint] = {
    "GET api/v2/public/time": time_,
    "GET api/v2/spot/public/coins": coins,
    "GET api/v2/spot/public/symbols": symbols,
    "GET api/v2/margin/currencies": margins,
    "GET api/v2/mix/market/contracts": contracts,
    "GET api/v2/spot/market/candles": _candles(spot=True, history=False),
    "GET api/v2/spot/market/history-candles": _candles(spot=True, history=True),
    "GET api/v2/mix/market/candles": _candles(spot=False, history=False),
    "GET api/v2/mix/market/history-candles": _candles(spot=False, history=True),
    "GET api/v2/spot/market/fills": _fills(spot=True, history=False),
    "GET api/v2/spot/market/fills-history": _fills(spot=True, history=True),
    "GET api/v2/mix/market/fills": _fills(spot=False, history=False),
    "GET api/v2/mix/market/fills-history": _fills(spot=False, history=True),
    "GET api/v2/spot/market/orderbook": orderbook,
    "GET api/v2/mix/market/merge-depth": merge_depth,
    "GET api/v2/spot/market/tickers": _tickers(spot=True),
    "GET api/v2/mix/market/tickers": _tickers(spot=False),
    "GET api/v2/mix/market/ticker": _tickers(spot=False, one=True),
}
