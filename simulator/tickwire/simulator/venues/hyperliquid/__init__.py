"""Hyperliquid: perpetual contracts and spot markets in USDC.

Source of the hosts and paths: the URLs of ccxt 4.5 (`urls` of hyperliquid). Limits: Hyperliquid's API documentation,
"Rate limits" (1200 points of weight a minute; 1000 subscriptions and 2000 messages a minute of all sockets of an
address) and "Timeouts and heartbeats": a socket is closed on which the server has sent nothing for 60 s, so a client
sends pings; here it is closed 60 s after the client's last message.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tickwire.simulator.answers import Refused
from tickwire.simulator.rules import Rules
from tickwire.simulator.venue import Sockets, Venue
from tickwire.simulator.venues.hyperliquid.rest import ENDPOINTS
from tickwire.simulator.venues.hyperliquid.rows import market
from tickwire.simulator.venues.hyperliquid.streams import Hyperliquid


def _error(refused: Refused, now: int) -> Any:
    """A plain text, or `null`."""
    return msgspec.Raw(refused.message.encode() or b"null")


VENUE = Venue(
    name="hyperliquid",
    exchanges=("hyperliquid",),
    hosts=("api.hyperliquid.xyz", "api.hyperliquid-testnet.xyz"),
    endpoints=ENDPOINTS,
    error=_error,
    too_many_requests=lambda limit: Refused(429, "", status=429),
    market=market,
    sockets=(Sockets("ws", ("*/ws",), Hyperliquid),),
    rules=Rules(idle_s=60, subscriptions=1_000, messages=2_000, messages_s=60),
)
