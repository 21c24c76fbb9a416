"""Bitget, API v2: spot markets and USDT futures.

Source of the hosts and paths: the URLs of ccxt 4.5 (`urls` of bitget); of the error above the rate limit: Bitget's
documentation, "Error Code"; of the limits of sockets: "Websocket API, Connect". A connection takes 1,000 channels and
ten messages a second, and is closed without a `ping` for two minutes, and after 24 hours. Not enforced: 240 requests to
subscribe an hour.
"""

from __future__ import annotations

from typing import Any

from tickwire.simulator.answers import Refused
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.rules import Rules
from tickwire.simulator.venue import Sockets, Venue
from tickwire.simulator.venues.bitget import rows as bitget_rows
from tickwire.simulator.venues.bitget.rest import ENDPOINTS
from tickwire.simulator.venues.bitget.streams import Bitget


def _body(value: Any, now: int) -> Any:
    return {"code": "00000", "msg": "success", "requestTime": now, "data": value}


def _error(refused: Refused, now: int) -> Any:
    return {"code": str(refused.code), "msg": refused.message, "requestTime": now, "data": None}


def _market(exchange: Exchange, symbol: str) -> Instrument | None:
    pair, _, settle = symbol.partition(":")
    product = {"": "SPOT", "USDT": bitget_rows.LINEAR}.get(settle, "")
    return bitget_rows.instrument(exchange, product, pair.replace("/", ""))


VENUE = Venue(
    name="bitget",
    exchanges=("bitget",),
    hosts=("*.bitget.com",),
    endpoints=ENDPOINTS,
    body=_body,
    error=_error,
    refusal_status=400,
    too_many_requests=lambda limit: Refused(429, "Too Many Requests", status=429),
    market=_market,
    sockets=(Sockets("public", ("*/v2/ws/public",), Bitget),),
    rules=Rules(lifetime_s=86_400, idle_s=120, subscriptions=1_000, messages=10, messages_s=1),
)
