"""Kraken's public REST endpoints: from parameters to rows. No I/O.

Source of paths, parameters, limits and errors: Kraken's documentation, "Market Data", and ccxt's `exceptions`. An error
has HTTP status 200. A market is named by its id, its other name, or its name on sockets, under which it is answered.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tickwire.simulator.answers import Answer, Query, Refused, whole
from tickwire.simulator.market.book import book_at, frame_of
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.rows import newest, number, oldest, top
from tickwire.simulator.venue import Endpoint, Request
from tickwire.simulator.venues.kraken import rows as kraken_rows

PAGE = 1000
"""Most trades of an answer ("Get Recent Trades", `count`)."""
LEVELS = 500
"""Most levels of a side ("Get Order Book", `count`)."""


def _invalid(name: str) -> Refused:
    return Refused("EGeneral:Invalid arguments", f"{name} is invalid")


def _find(exchange: Exchange, name: str) -> tuple[str, Instrument]:
    """Return the name of a market in the answer, and the market. Raises Refused."""
    for each in kraken_rows.instruments(exchange):
        id_ = kraken_rows.id_of(each)
        if name in (id_, kraken_rows.altname(each)):
            return id_, each
        if name == kraken_rows.name_of(each):
            return name, each
    raise Refused("EQuery:Unknown asset pair", f"{name} is not listed")


def _asked(request: Request) -> tuple[str, Instrument]:
    return _find(request.exchange, request.query.get("pair", ""))


def _named_or_all(request: Request) -> list[tuple[str, Instrument]]:
    names = request.query.get("pair")
    if names is None:
        return [(kraken_rows.id_of(each), each) for each in kraken_rows.instruments(request.exchange)]
    return [_find(request.exchange, name) for name in names.split(",")]


def _number(query: Query, name: str) -> int | None:
    return whole(query, name, _invalid(name))


def time_(request: Request) -> Answer:
    """GET /0/public/Time: in whole seconds."""
    seconds = request.now // 1000
    return Answer(
        {"unixtime": seconds, "rfc1123": f"{datetime.fromtimestamp(seconds, UTC):%a, %d %b %y %H:%M:%S +0000}"}
    )


def system_status(request: Request) -> Answer:
    """GET /0/public/SystemStatus"""
    now = datetime.fromtimestamp(request.now // 1000, UTC)
    return Answer({"status": "online", "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}"})


def assets(request: Request) -> Answer:
    """GET /0/public/Assets"""
    found = kraken_rows.instruments(request.exchange)
    currencies = sorted({each.base for each in found} | {each.quote for each in found})
    return Answer({kraken_rows.asset(each): kraken_rows.described_asset(each) for each in currencies})


def asset_pairs(request: Request) -> Answer:
    """GET /0/public/AssetPairs: all, or those that `pair` names."""
    return Answer({name: kraken_rows.described(each) for name, each in _named_or_all(request)})


def ohlc(request: Request) -> Answer:
    """GET /0/public/OHLC: the newest candles; `since` (s) drops those up to it, but never the last one."""
    name, found = _asked(request)
    interval, since = _number(request.query, "interval") or 1, _number(request.query, "since")
    if interval not in kraken_rows.INTERVALS:
        raise _invalid("interval")
    rows = kraken_rows.candles(found, interval, request.now)
    if since is not None:
        rows = [row for row in rows[:-1] if int(row[0]) > since * 1000] + rows[-1:]
    closed = [int(row[0]) // 1000 for row in rows if int(row[6]) < request.now]
    return Answer(
        rows,
        lambda rows: {name: [kraken_rows.candle(found, row) for row in rows], "last": closed[-1] if closed else 0},
        interval=kraken_rows.INTERVALS[interval],
    )


def _moment(since: int) -> int:
    """Return a time of a request in 100 ns: it is in nanoseconds, or in seconds if it is small."""
    return since * 10_000_000 if since < 10**12 else since // 100


def trades(request: Request) -> Answer:
    """GET /0/public/Trades: the oldest after `since`, or else the newest."""
    name, found = _asked(request)
    since, count = _number(request.query, "since"), _number(request.query, "count")
    if count is not None and not 1 <= count <= PAGE:
        raise _invalid("count")
    limit, history, holes = count or PAGE, found.history, request.holes(found)
    if history is None:
        return Answer([], lambda rows: {name: rows, "last": "0"})
    end = history.id_at(request.now + 1)
    if since is None:
        picked = newest(history.by_id, history.first_id, end, limit, holes)
    else:
        time, place = divmod(_moment(since), 10_000)
        first = min(history.id_at(time) + place + 1, history.id_at(time + 1))
        picked = oldest(history.by_id, max(first, history.first_id), end, limit, holes)
    rows = list(kraken_rows.trades(found, picked))
    last = str(rows[-1].moment * 100) if rows else str(since or 0)
    return Answer(rows, lambda rows: {name: [_trade(row) for row in rows], "last": last})


def _trade(row: kraken_rows.TradeRow) -> list[Any]:
    return [kraken_rows.padded(row.price), row.amount, number(kraken_rows.seconds(row.moment)), row.side[0],
            row.kind[0], "", row.id]  # fmt: skip


def depth(request: Request) -> Answer:
    """GET /0/public/Depth"""
    name, found = _asked(request)
    count = _number(request.query, "count") or 100
    if not 1 <= count <= LEVELS:
        raise _invalid("count")
    book, seconds = top(book_at(found, frame_of(request.now)), count), request.now // 1000
    sides = {
        side: [[kraken_rows.padded(price), f"{float(amount):.3f}", seconds] for price, amount in levels]
        for side, levels in (("asks", kraken_rows.levels(found, book.asks)),
                             ("bids", kraken_rows.levels(found, book.bids)))
    }  # fmt: skip
    return Answer({name: sides})


def ticker(request: Request) -> Answer:
    """GET /0/public/Ticker: all, or those that `pair` names."""
    return Answer({name: kraken_rows.ticker(each, request.now) for name, each in _named_or_all(request)})


ENDPOINTS: dict[str, Endpoint] = {
    "GET 0/public/Time": time_,
    "GET 0/public/SystemStatus": system_status,
    "GET 0/public/Assets": assets,
    "GET 0/public/AssetPairs": asset_pairs,
    "GET 0/public/OHLC": ohlc,
    "GET 0/public/Trades": trades,
    "GET 0/public/Depth": depth,
    "GET 0/public/Ticker": ticker,
}
