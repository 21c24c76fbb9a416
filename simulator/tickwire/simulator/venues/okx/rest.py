"""OKX's public REST endpoints v5, spot and perpetual contracts: from path and parameters to rows. No I/O.

Source of paths, parameters, limits and error codes: OKX's API documentation v5, "Market Data", "Public Data" and
"Error Code", as of 2025. Rows come newest first.
"""

from __future__ import annotations

from collections.abc import Callable

from tickwire.model import timeframes
from tickwire.simulator.answers import Answer, Query, Refused, whole
from tickwire.simulator.market import rows
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of, last_update_id
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.venue import Endpoint, Request
from tickwire.simulator.venues.okx import rows as okx_rows

RECENT_BARS = 1_440
"""How many of the newest candles `market/candles` has; older ones are in `market/history-candles`."""
_LONGEST = 2**62


def _instrument(exchange: Exchange, query: Query) -> Instrument:
    name = query.get("instId", "")
    if not name:
        raise Refused(50014, "Parameter instId can not be empty.")
    found = okx_rows.instrument(exchange, name)
    if found is None:
        raise Refused(51001, "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
    return found


def _whole(query: Query, name: str) -> int | None:
    return whole(query, name, Refused(51000, f"Parameter {name} error"))


def _limit(query: Query, most: int, name: str = "limit", default: int = 100) -> int:
    value = _whole(query, name)
    return min(default if value is None else value, most)


def _time(exchange: Exchange, query: Query) -> Answer:
    return Answer([{"ts": str(exchange.clock.now())}])


def _instruments(exchange: Exchange, query: Query) -> Answer:
    kind = query.get("instType", "")
    if kind not in ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION"):
        raise Refused(51000, "Parameter instType error")
    wanted = query.get("instId")
    return Answer([_described(each) for each in _of_kind(exchange, kind) if wanted in (None, okx_rows.name_of(each))])


def _of_kind(exchange: Exchange, kind: str | None) -> list[Instrument]:
    if kind == "SWAP":
        return okx_rows.swaps(exchange)
    return list(exchange.instruments.values()) if kind == "SPOT" else []


def _described(instrument: Instrument) -> dict[str, str]:
    listed, tick, lot = rows.listed_at(instrument), rows.price_step(instrument), rows.amount_step(instrument)
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


def _candles(recent: int | None) -> Callable[[Exchange, Query], Answer]:
    def endpoint(exchange: Exchange, query: Query) -> Answer:
        instrument, now = _instrument(exchange, query), exchange.clock.now()
        interval = okx_rows.BARS.get(query.get("bar", "1m"))
        if interval is None or interval not in instrument.intervals:
            raise Refused(51000, "Parameter bar error")
        before, after, limit = _whole(query, "before"), _whole(query, "after"), _limit(query, 300)
        found = instrument.candles.page(interval, None, None if after is None else after - 1, limit, now)
        first = -1 if before is None else before
        if recent is not None:
            first = max(first, timeframes.advance(interval, timeframes.open_of(interval, now), -recent))
        return Answer(
            [row for row in reversed(found) if int(row[0]) > first],
            lambda rows: [okx_rows.candle(instrument, row, now) for row in rows],
            interval=interval,
            until=after,
        )

    return endpoint


def _books(exchange: Exchange, query: Query) -> Answer:
    instrument, count = _instrument(exchange, query), _limit(query, 400, "sz", 1)
    frame = frame_of(exchange.clock.now())
    book = rows.top(book_at(instrument, frame), count)
    bids, asks = okx_rows.levels(instrument, book.bids), okx_rows.levels(instrument, book.asks)
    return Answer([{"asks": asks, "bids": bids, "ts": str(frame * FRAME_MS), "seqId": last_update_id(frame)}])


def _ticker(exchange: Exchange, query: Query) -> Answer:
    return Answer([okx_rows.ticker(_instrument(exchange, query), exchange.clock.now())])


def _tickers(exchange: Exchange, query: Query) -> Answer:
    now = exchange.clock.now()
    return Answer([okx_rows.ticker(each, now) for each in _of_kind(exchange, query.get("instType"))])


def _trades(most: int, history: bool) -> Endpoint:
    """Return the endpoint of trades with pages of `most`; `history` also gives older ones."""

    def endpoint(request: Request) -> Answer:
        query, instrument = request.query, _instrument(request.exchange, request.query)
        trades = instrument.history
        if trades is None:
            return Answer([])
        limit, end, first = _limit(query, most), trades.id_at(request.now + 1), trades.first_id
        if history:
            after, before = _whole(query, "after"), _whole(query, "before")
            if query.get("type", "1") == "2":
                end = min(end, trades.id_at(_LONGEST if after is None else after))
            else:
                end = min(end, _LONGEST if after is None else after)
                first = max(first, 0 if before is None else before + 1)
        found = rows.newest(trades.by_id, first, end, limit, request.holes(instrument))
        return Answer(okx_rows.trades(instrument, found)[::-1])

    return endpoint


def _plain(endpoint: Callable[[Exchange, Query], Answer]) -> Endpoint:
    return lambda request: endpoint(request.exchange, request.query)


ENDPOINTS: dict[str, Endpoint] = {
    "GET api/v5/public/time": _plain(_time),
    "GET api/v5/public/instruments": _plain(_instruments),
    "GET api/v5/market/candles": _plain(_candles(RECENT_BARS)),
    "GET api/v5/market/history-candles": _plain(_candles(None)),
    "GET api/v5/market/books": _plain(_books),
    "GET api/v5/market/ticker": _plain(_ticker),
    "GET api/v5/market/tickers": _plain(_tickers),
    "GET api/v5/market/trades": _trades(500, history=False),
    "GET api/v5/market/history-trades": _trades(100, history=True),
}
