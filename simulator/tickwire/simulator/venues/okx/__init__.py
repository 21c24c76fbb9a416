"""OKX, API v5: spot markets and perpetual contracts.

Source of the hosts and paths: the URLs of ccxt 4.5 (`urls` of okx) and OKX's documentation, "WebSocket, Connect". The
limits of sockets: the same chapter (480 requests to subscribe an hour, closed after 30 s without a message).
"""

from __future__ import annotations

from typing import Any

from tickwire.simulator.answers import Refused
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.rules import Rules
from tickwire.simulator.venue import Sockets, Venue
from tickwire.simulator.venues.okx import rows as okx_rows
from tickwire.simulator.venues.okx.rest import ENDPOINTS
from tickwire.simulator.venues.okx.sockets import Okx


def _body(value: Any, now: int) -> Any:
    return {"code": "0", "msg": "", "data": value}


def _error(refused: Refused, now: int) -> Any:
    return {"code": str(refused.code), "msg": refused.message, "data": []}


def _market(exchange: Exchange, symbol: str) -> Instrument | None:
    pair, colon, _ = symbol.partition(":")
    return okx_rows.instrument(exchange, pair.replace("/", "-") + ("-SWAP" if colon else ""))


VENUE = Venue(
    name="okx",
    exchanges=("okx", "okxus", "myokx"),
    hosts=("okx.com", "*.okx.com"),
    endpoints=ENDPOINTS,
    body=_body,
    error=_error,
    refusal_status=200,
    too_many_requests=lambda limit: Refused(50011, "Too Many Requests", status=429),
    market=_market,
    sockets=(
        Sockets("public", ("*/ws/v5/public",), lambda exchange: Okx(exchange, business=False)),
        Sockets("business", ("*/ws/v5/business",), lambda exchange: Okx(exchange, business=True)),
    ),
    rules=Rules(idle_s=30, messages=480, messages_s=3_600),
)
