"""OKX's public REST endpoints v5, spot and perpetual contracts: from path and parameters to rows. No I/O.

Source of paths, parameters, limits and error codes: OKX's API documentation v5, "Market Data", "Public Data" and
"Error Code", as of 2025. Rows come newest first.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tickwire.model import timeframes
from tickwire.simulator.endpoints import Answer, Holes
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of, last_update_id
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades, joined
from tickwire.simulator.okx import rows as okx_rows
from tickwire.simulator.refusals import Query, Refused

RECENT_BARS = 1_440
"""How many of the newest candles `market/candles` has; older ones are in `market/history-candles`."""
_PREFIX = "api/v5/"
_LONGEST = 2**62

Rows = list[Any]


def answer(exchange: Exchange, path: str, query: Query, holes: list[range]) -> tuple[Rows, int] | None:
    """Return (rows, request weight) for a path such as `api/v5/market/candles`; None where there is no such endpoint.

    `holes` are the ids of trades to leave out (fault `rest_forgets`). Raises Refused.
    """
    endpoint = path.removeprefix(_PREFIX)
    if not path.startswith(_PREFIX):
        return None
    if endpoint in _TRADES:
        return _trades(exchange, endpoint, query, holes), 1
    return (ENDPOINTS[endpoint](exchange, query), 1) if endpoint in ENDPOINTS else None


class OkxEndpoints:
    """The REST endpoints of an exchange in OKX's form."""

    refusal_status = 200

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def answer(self, path: str, query: Query, holes: Holes) -> Answer:
        """See Endpoints.answer."""
        return answer(self._exchange, path, query, holes(query.get("instId", "").replace("-", "")))

    def body(self, value: Any) -> Any:
        """See Endpoints.body."""
        return {"code": "0", "msg": "", "data": value}

    def refusal(self, refused: Refused) -> Any:
        """See Endpoints.refusal."""
        return {"code": str(refused.code), "msg": refused.message, "data": []}

    def too_many_requests(self, limit: int) -> Refused:
        """See Endpoints.too_many_requests."""
        return Refused(50011, "Too Many Requests")


def _instrument(exchange: Exchange, query: Query) -> Instrument:
    name = query.get("instId", "")
    if not name:
        raise Refused(50014, "Parameter instId can not be empty.")
    found = okx_rows.instrument(exchange, name)
    if found is None:
        raise Refused(51001, "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
    return found


def _whole(query: Query, name: str) -> int | None:
    value = query.get(name, "")
    if not value:
        return None
    if not value.isdigit():
        raise Refused(51000, f"Parameter {name} error")
    return int(value)


def _limit(query: Query, most: int, name: str = "limit", default: int = 100) -> int:
    value = _whole(query, name)
    return min(default if value is None else value, most)


def _time(exchange: Exchange, query: Query) -> Rows:
    return [{"ts": str(exchange.clock.now())}]


def _instruments(exchange: Exchange, query: Query) -> Rows:
    kind = query.get("instType", "")
    if kind not in ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION"):
        raise Refused(51000, "Parameter instType error")
    wanted = query.get("instId")
    return [_described(each) for each in _of_kind(exchange, kind) if wanted in (None, okx_rows.name_of(each))]


def _of_kind(exchange: Exchange, kind: str | None) -> list[Instrument]:
    if kind == "SWAP":
        return okx_rows.swaps(exchange)
    return list(exchange.instruments.values()) if kind == "SPOT" else []


def _described(instrument: Instrument) -> dict[str, str]:
    units, listed = instrument.units, instrument.history.first_time if instrument.history else 0
    tick = f"{Decimal(units.price_step).scaleb(-units.price_decimals).normalize():f}"
    lot = f"{Decimal(units.amount_step).scaleb(-units.amount_decimals).normalize():f}"
    described = {"instType": "SPOT", "instId": okx_rows.name_of(instrument), "baseCcy": instrument.base,
            "quoteCcy": instrument.quote, "category": "1", "lever": "1", "state": "live", "tickSz": tick, "lotSz": lot,
            "minSz": lot, "listTime": str(listed), "ruleType": "normal",
            "maxLmtSz": "9999999999", "maxMktSz": "1000000"}  # fmt: skip
    absent = ("alias", "ctMult", "ctType", "ctVal", "ctValCcy", "expTime", "optType", "settleCcy", "stk", "uly",
               "instFamily")  # fmt: skip
    if instrument.terms is None:
        return described | dict.fromkeys(absent, "")
    inverse, pair = instrument.terms.inverse, f"{instrument.base}-{instrument.quote}"
    contract = {"instType": "SWAP", "baseCcy": "", "quoteCcy": "", "uly": pair, "instFamily": pair, "ctMult": "1",
                "ctVal": str(instrument.terms.size), "ctType": "inverse" if inverse else "linear",
                "ctValCcy": instrument.quote if inverse else instrument.base,
                "settleCcy": instrument.base if inverse else instrument.quote}  # fmt: skip
    return dict.fromkeys(absent, "") | described | contract


def _candles(recent: int | None) -> Callable[[Exchange, Query], Rows]:
    def endpoint(exchange: Exchange, query: Query) -> Rows:
        instrument, now = _instrument(exchange, query), exchange.clock.now()
        interval = okx_rows.BARS.get(query.get("bar", "1m"))
        if interval is None or interval not in instrument.intervals:
            raise Refused(51000, "Parameter bar error")
        before, after, limit = _whole(query, "before"), _whole(query, "after"), _limit(query, 300)
        rows = instrument.candles.page(interval, None, None if after is None else after - 1, limit, now)
        first = -1 if before is None else before
        if recent is not None:
            first = max(first, timeframes.advance(interval, timeframes.open_of(interval, now), -recent))
        return [okx_rows.candle(instrument, row, now) for row in reversed(rows) if int(row[0]) > first]

    return endpoint


def _books(exchange: Exchange, query: Query) -> Rows:
    instrument, count = _instrument(exchange, query), _limit(query, 400, "sz", 1)
    frame = frame_of(exchange.clock.now())
    book = okx_rows.top(book_at(instrument, frame), count)
    bids, asks = okx_rows.levels(instrument, book.bids), okx_rows.levels(instrument, book.asks)
    return [{"asks": asks, "bids": bids, "ts": str(frame * FRAME_MS), "seqId": last_update_id(frame)}]


def _ticker(exchange: Exchange, query: Query) -> Rows:
    return [okx_rows.ticker(_instrument(exchange, query), exchange.clock.now())]


def _tickers(exchange: Exchange, query: Query) -> Rows:
    now = exchange.clock.now()
    return [okx_rows.ticker(each, now) for each in _of_kind(exchange, query.get("instType"))]


def _trades(exchange: Exchange, endpoint: str, query: Query, holes: list[range]) -> Rows:
    instrument, history = _instrument(exchange, query), _instrument(exchange, query).history
    if history is None:
        return []
    limit, end, first = _limit(query, _TRADES[endpoint]), history.id_at(exchange.clock.now() + 1), history.first_id
    if endpoint == "market/history-trades":
        after, before = _whole(query, "after"), _whole(query, "before")
        if query.get("type", "1") == "2":
            end = min(end, history.id_at(_LONGEST if after is None else after))
        else:
            end = min(end, _LONGEST if after is None else after)
            first = max(first, 0 if before is None else before + 1)
    return okx_rows.trades(instrument, _newest(history.by_id, first, end, limit, holes))[::-1]


def _newest(by_id: Callable[[int, int], Trades], first: int, end: int, limit: int, holes: list[range]) -> Trades:
    """Return the last `limit` trades of `[first, end)` that are in no hole."""
    parts: list[Trades] = []
    for hole in [*sorted(holes, key=lambda hole: hole.stop, reverse=True), range(first, first)]:
        start = max(first, min(hole.stop, end), end - limit)
        if start < end:
            parts.insert(0, by_id(start, end))
            limit -= end - start
        end = min(end, max(hole.start, first))
        if limit <= 0:
            break
    return joined(parts)


_TRADES = {"market/trades": 500, "market/history-trades": 100}
"""Endpoints of trades, and their largest pages."""
ENDPOINTS: dict[str, Callable[[Exchange, Query], Rows]] = {
    "public/time": _time,
    "public/instruments": _instruments,
    "market/candles": _candles(RECENT_BARS),
    "market/history-candles": _candles(None),
    "market/books": _books,
    "market/ticker": _ticker,
    "market/tickers": _tickers,
}
