"""Gate, API v4: spot markets, perpetual contracts settled in USDT, and the one settled in BTC.

Source of the hosts and paths: the URLs of ccxt 4.5 (`urls` of gate and `pro/gate.py`); of the rate limit and its
headers: "Gate API v4", "Frequency limit rule". No limits of public sockets are documented but 300 connections a client.
"""

from __future__ import annotations

from typing import Any

from tickwire.simulator.answers import Refused
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.venue import Sockets, Usage, Venue
from tickwire.simulator.venues.gate import rows as gate_rows
from tickwire.simulator.venues.gate.rest import ENDPOINTS
from tickwire.simulator.venues.gate.sockets import Gate


def _error(refused: Refused, now: int) -> Any:
    return {"label": refused.code, "message": refused.message}


def _usage(usage: Usage) -> dict[str, str]:
    limit = 200 if usage.limit is None else usage.limit
    return {"X-Gate-RateLimit-Limit": str(limit), "X-Gate-RateLimit-Requests-Remain": str(max(0, limit - usage.used)),
            "X-Gate-RateLimit-Reset-Timestamp": str(usage.seconds_left)}  # fmt: skip


def _market(exchange: Exchange, symbol: str) -> Instrument | None:
    pair, _, settle = symbol.partition(":")
    return gate_rows.instrument(exchange, settle.lower() or gate_rows.SPOT, pair.replace("/", "_"))


VENUE = Venue(
    name="gate",
    exchanges=("gate",),
    hosts=("api.gateio.ws", "fx-ws.gateio.ws"),
    endpoints=ENDPOINTS,
    error=_error,
    too_many_requests=lambda limit: Refused("TOO_MANY_REQUESTS", "Request Rate Limit Exceeded", status=429),
    usage_headers=_usage,
    market=_market,
    sockets=(
        Sockets("spot", ("*/ws/v4", "*/ws/v4/"), lambda exchange: Gate(exchange, gate_rows.SPOT)),
        Sockets("usdt", ("*/v4/ws/usdt",), lambda exchange: Gate(exchange, "usdt")),
        Sockets("btc", ("*/v4/ws/btc",), lambda exchange: Gate(exchange, "btc")),
    ),
)
