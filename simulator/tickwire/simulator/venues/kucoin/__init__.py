"""KuCoin: spot markets.

Source of the hosts and paths: the URLs of ccxt 4.5 (`urls` of kucoin) and KuCoin's documentation, "WebSocket API,
Introduction"; of the limits: "Rate Limit, Websocket Rate Limit" (100 messages in 10 s; 400 topics of a connection,
formerly 300) and "Introduction" (a token and a connection last 24 hours).
"""

from __future__ import annotations

from typing import Any

from tickwire.simulator.answers import Refused
from tickwire.simulator.rules import Rules
from tickwire.simulator.venue import Sockets, Usage, Venue
from tickwire.simulator.venues.kucoin.rest import ENDPOINTS, SOCKETS
from tickwire.simulator.venues.kucoin.streams import Kucoin

_DAY_S = 86_400


def _body(value: Any, now: int) -> Any:
    return {"code": "200000", "data": value}


def _error(refused: Refused, now: int) -> Any:
    return {"code": str(refused.code), "msg": refused.message}


def _usage_headers(usage: Usage) -> dict[str, str]:
    limit = 2_000 if usage.limit is None else usage.limit
    left = max(0, limit - usage.used)
    return {"gw-ratelimit-limit": str(limit), "gw-ratelimit-remaining": str(left),
            "gw-ratelimit-reset": str(usage.seconds_left * 1_000)}  # fmt: skip


VENUE = Venue(
    name="kucoin",
    exchanges=("kucoin",),
    hosts=("*.kucoin.com",),
    endpoints=ENDPOINTS,
    body=_body,
    error=_error,
    refusal_status=200,
    too_many_requests=lambda limit: Refused(429000, "Too Many Requests", status=429),
    usage_headers=_usage_headers,
    sockets=(
        Sockets(
            "spot",
            (f"{SOCKETS}/*",),
            Kucoin,
            token="token",
            invalid_token=b'{"id":"public","type":"error","code":401,"data":"token is invalid"}',
        ),
    ),
    rules=Rules(lifetime_s=_DAY_S, idle_s=60, subscriptions=400, messages=100, messages_s=10, token_s=_DAY_S),
)
