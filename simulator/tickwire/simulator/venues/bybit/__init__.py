"""Bybit, API v5: spot markets, linear and inverse perpetual contracts. The model of a venue in a folder.

Source of the hosts and paths: the URLs of ccxt 4.5 (`urls` of bybit and bybiteu); of the error above the rate limit:
Bybit's documentation, "Rate Limit". No limits of public sockets are documented, but for the topics of one request.
"""

from __future__ import annotations

from typing import Any

from tickwire.simulator.answers import Refused
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.venue import Sockets, Venue
from tickwire.simulator.venues.bybit import rows as bybit_rows
from tickwire.simulator.venues.bybit.rest import ENDPOINTS
from tickwire.simulator.venues.bybit.rows import CATEGORIES
from tickwire.simulator.venues.bybit.streams import Bybit


def _body(value: Any, now: int) -> Any:
    return {"retCode": 0, "retMsg": "OK", "result": value, "retExtInfo": {}, "time": now}


def _error(refused: Refused, now: int) -> Any:
    return {"retCode": refused.code, "retMsg": refused.message, "result": {}, "retExtInfo": {}, "time": now}


def _market(exchange: Exchange, symbol: str) -> Instrument | None:
    pair, _, settle = symbol.partition(":")
    quote = pair.partition("/")[2]
    category = "spot" if not settle else "linear" if settle == quote else "inverse"
    return bybit_rows.instrument(exchange, category, pair.replace("/", ""))


def _sockets(category: str) -> Sockets:
    return Sockets(category, (f"*/v5/public/{category}",), lambda exchange: Bybit(exchange, category))


VENUE = Venue(
    name="bybit",
    exchanges=("bybit", "bybiteu"),
    hosts=("*.bybit.com", "*.bybit.eu"),
    endpoints=ENDPOINTS,
    body=_body,
    error=_error,
    refusal_status=200,
    too_many_requests=lambda limit: Refused(10006, "Too many visits. Exceeded the API Rate Limit."),
    market=_market,
    sockets=tuple(_sockets(category) for category in CATEGORIES),
)
