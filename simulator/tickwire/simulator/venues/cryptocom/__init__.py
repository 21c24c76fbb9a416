"""Crypto.com Exchange, API v1: spot markets and linear perpetuals in USD.

Source of hosts and paths: the URLs of ccxt 4.5 (`urls` of cryptocom); of codes of errors: its `exceptions`; of limits:
see `tickwire.venues.cryptocom`. The times of heartbeats are not confirmed by a source at hand.
"""

from __future__ import annotations

from typing import Any

from tickwire.simulator.answers import Refused
from tickwire.simulator.rules import Rules
from tickwire.simulator.venue import Sockets, Venue
from tickwire.simulator.venues.cryptocom.rest import ENDPOINTS
from tickwire.simulator.venues.cryptocom.rows import market
from tickwire.simulator.venues.cryptocom.streams import Cryptocom


def _error(refused: Refused, now: int) -> Any:
    return {"id": -1, "code": refused.code, "message": refused.message}


VENUE = Venue(
    name="cryptocom",
    exchanges=("cryptocom",),
    hosts=("api.crypto.com", "stream.crypto.com"),
    endpoints=ENDPOINTS,
    error=_error,
    too_many_requests=lambda limit: Refused(42901, "RATE_LIMIT_EXCEEDED", 429),
    market=market,
    sockets=(Sockets("market", ("*/exchange/v1/market",), Cryptocom),),
    # A heartbeat comes every 30 s, and is to be answered within 5 s.
    rules=Rules(subscriptions=400, messages=100, messages_s=1.0, idle_s=35.0),
)
