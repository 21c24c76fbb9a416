"""Deribit, API v2: inverse perpetuals of BTC and ETH, and linear perpetuals settled in USDC.

Source of the hosts and paths: the URLs of ccxt 4.5 (`urls` of deribit); of errors: Deribit's API documentation v2, "RPC
error codes"; of the limit of sockets: "public/subscribe" ("sustained rate: ~3.3 requests/second") and "Rate Limits" (10
at once besides), so that half a minute has 110 at most.
"""

from __future__ import annotations

from typing import Any

from tickwire.simulator.answers import Refused
from tickwire.simulator.rules import Rules
from tickwire.simulator.venue import Sockets, Venue
from tickwire.simulator.venues.deribit.rest import ENDPOINTS, Invalid
from tickwire.simulator.venues.deribit.rows import market
from tickwire.simulator.venues.deribit.streams import Deribit, refusal, timing


def _body(value: Any, now: int) -> Any:
    return {"jsonrpc": "2.0", "result": value} | timing(now)


def _error(refused: Refused, now: int) -> Any:
    data = refused.data if isinstance(refused, Invalid) else None
    return refusal({}, refused.code, refused.message, data) | timing(now)


VENUE = Venue(
    name="deribit",
    exchanges=("deribit",),
    hosts=("deribit.com", "*.deribit.com"),
    endpoints=ENDPOINTS,
    body=_body,
    error=_error,
    refusal_status=400,
    too_many_requests=lambda limit: Refused(10028, "too_many_requests", status=429),
    market=market,
    sockets=(Sockets("public", ("*/ws/api/v2",), Deribit),),
    rules=Rules(messages=110, messages_s=30.0),
)
