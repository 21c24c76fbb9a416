"""Coinbase Advanced Trade: spot markets.

Source of the hosts: the URLs of ccxt 4.5 (`urls` of coinbase); of errors: the measurements that
`shared/tickwire/venues/coinbase.py` names, and Coinbase's documentation, "REST API Rate Limits"; of the limits of
sockets: "Advanced Trade WebSocket Rate Limits" (8 unauthenticated messages per second per IP address).
"""

from __future__ import annotations

from typing import Any

from tickwire.simulator.answers import Refused
from tickwire.simulator.rules import Rules
from tickwire.simulator.venue import Sockets, Venue
from tickwire.simulator.venues.coinbase.rest import ENDPOINTS
from tickwire.simulator.venues.coinbase.rows import instrument
from tickwire.simulator.venues.coinbase.streams import Coinbase


def _error(refused: Refused, now: int) -> Any:
    return {"error": refused.code, "error_details": refused.message, "message": refused.message}


VENUE = Venue(
    name="coinbase",
    exchanges=("coinbase",),
    hosts=("api.coinbase.com", "advanced-trade-ws.coinbase.com"),
    endpoints=ENDPOINTS,
    market=instrument,
    error=_error,
    too_many_requests=lambda limit: Refused("rate_limit_exceeded", "too many requests", 429),
    sockets=(Sockets("spot", ("advanced-trade-ws.coinbase.com*",), Coinbase),),
    rules=Rules(messages=8),
)
