"""Binance's REST endpoints: spot, USD-M and COIN-M by the first segment of the path. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tickwire.simulator.answers import Answer, Query, Refused, window_end
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.venue import Request
from tickwire.simulator.venues.binance import coin_m, rest, usd_m
from tickwire.simulator.venues.binance.forgotten_trades import remembered
from tickwire.simulator.venues.binance.parameters import integer, limit

Found = tuple[Any, int] | None
"""(JSON value, request weight); None where there is no such endpoint."""

_MARKETS: dict[str, Callable[[Exchange, str, Query], Found]] = {"fapi": usd_m.answer, "dapi": coin_m.answer}


def of_markets(request: Request) -> Answer | None:
    """Answer from the markets of the exchange."""
    return answered(lambda path, query: _asked(request.exchange, path, query), request)


def _asked(exchange: Exchange, path: str, query: Query) -> Found:
    return _MARKETS.get(path.partition("/")[0], rest.answer)(exchange, path, query)


def answered(ask: Callable[[str, Query], Found], request: Request) -> Answer | None:
    """Answer by `ask(path, query)`, without the trades that a fault removes. Raises Refused."""
    path, query = request.query["path"], {key: value for key, value in request.query.items() if key != "path"}
    endpoint = path.rpartition("/")[2]
    found = remembered(partial(ask, path), endpoint, query, _holes(request, query.get("symbol", "")))
    if found is None:
        return None
    rows, weight = found
    interval = query.get("interval", "") if endpoint == "klines" else ""
    until = None
    if interval:
        until = window_end(interval, integer(query, "startTime"), integer(query, "endTime"), limit(query, 500, 1500))
    return Answer(rows, weight=weight, interval=interval, until=until)


def _holes(request: Request, symbol: str) -> list[range]:
    markets = request.exchange.instruments
    instrument = markets.get(symbol) or (coin_m.listed(request.exchange).instruments.get(symbol) if symbol else None)
    return request.holes(instrument) if instrument else request.faults.forgotten(request.target, [symbol])


def error(refused: Refused, now: int) -> Any:
    """Return the body of an error answer."""
    return {"code": refused.code, "msg": refused.message}
