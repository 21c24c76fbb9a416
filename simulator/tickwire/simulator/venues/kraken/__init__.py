"""Kraken spot: REST and WebSocket v2.

Source of hosts and paths: the URLs of ccxt 4.5 (`urls` of kraken); of the error above the rate limit: Kraken's
documentation, "Spot rate limits", and ccxt's `exceptions`. The limit of messages on a socket is not documented, only
its answer.
"""

from __future__ import annotations

from typing import Any

from tickwire.simulator.answers import Refused
from tickwire.simulator.venue import Sockets, Venue
from tickwire.simulator.venues.kraken.rest import ENDPOINTS
from tickwire.simulator.venues.kraken.rows import market
from tickwire.simulator.venues.kraken.streams import Kraken


def _body(value: Any, now: int) -> Any:
    return {"error": [], "result": value}


def _error(refused: Refused, now: int) -> Any:
    return {"error": [refused.code]}


VENUE = Venue(
    name="kraken",
    exchanges=("kraken",),
    hosts=("api.kraken.com", "ws.kraken.com", "beta-ws.kraken.com"),
    endpoints=ENDPOINTS,
    body=_body,
    error=_error,
    refusal_status=200,
    too_many_requests=lambda limit: Refused("EAPI:Rate limit exceeded", f"more than {limit} requests a minute"),
    market=market,
    sockets=(Sockets("spot", ("*ws.kraken.com/v2",), Kraken),),
)
