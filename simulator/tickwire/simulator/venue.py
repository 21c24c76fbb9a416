"""The declaration of a simulated venue: what one module in `venues/` says about one exchange. No I/O.

A module or folder `venues/<name>` defines `VENUE = Venue(...)`; `directory.py` finds it. See docs/adding-a-venue.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from tickwire.simulator.answers import Answer, Query, Refused
from tickwire.simulator.faults import Faults
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.rules import Rules
from tickwire.simulator.sockets.dialect import Dialect
from tickwire.simulator.tokens import Tokens


class Request(Struct, frozen=True):
    """One REST request."""

    exchange: Exchange
    now: int
    """The exchange's time (ms)."""
    target: str
    """`/host/path?query`, with the body of a POST after the query."""
    query: Query
    """Parameters of the query, and those that the endpoint's path names."""
    body: Any
    """The JSON value of a POST's body; None where there is none."""
    origin: str
    """`http://host:port` of the simulator, for answers that name URLs."""
    faults: Faults
    tokens: Tokens

    def holes(self, instrument: Instrument) -> list[range]:
        """Return the ids of trades that the answer must leave out (fault `rest_forgets`)."""
        return self.faults.forgotten(self.target, instrument.names)


Endpoint = Callable[[Request], Answer | None]
"""Answers a request; None where there is no such endpoint. Raises Refused."""


class Usage(Struct, frozen=True):
    """What a client used of its rate limit in the present minute."""

    used: int
    limit: int | None
    """None: there is no limit."""
    seconds_left: int

    @property
    def exceeded(self) -> bool:
        """Whether the request that is answered is above the limit."""
        return self.limit is not None and self.used > self.limit


class Sockets(Struct, frozen=True):
    """Sockets of one kind of market: clients at any of `urls` share its streams."""

    name: str
    urls: tuple[str, ...]
    """Patterns (fnmatch; `*` includes `/`) of `host/path`, the host without its port."""
    dialect: Callable[[Exchange], Dialect]
    token: str = ""
    """The parameter of the URL that must have a valid token (`Request.tokens`)."""
    invalid_token: bytes = b""
    """What a socket without a valid token gets before it is closed; empty: its handshake is refused (401)."""


def _no_headers(usage: Usage) -> dict[str, str]:
    return {}


def _unwrapped(value: Any, now: int) -> Any:
    return value


class Venue(Struct, frozen=True):
    """One simulated venue."""

    name: str
    exchanges: tuple[str, ...]
    """The ids of ccxt that have this API."""
    hosts: tuple[str, ...]
    """Patterns (fnmatch) of the hosts of REST and sockets, without ports."""
    endpoints: Mapping[str, Endpoint]
    """By `GET path` or `POST path`; `{name}` is a segment of the path, `{name...}` the rest of it."""
    error: Callable[[Refused, int], Any]
    """Makes the body of an error answer, given the exchange's time (ms)."""
    too_many_requests: Callable[[int], Refused]
    """The error above a limit of this many requests a minute."""
    market: Callable[[Exchange, str], Instrument | None] = lambda exchange, symbol: exchange.instrument(symbol)
    """The instrument of a market by ccxt's symbol, in the venue's own units of prices and amounts; None: no such."""
    sockets: tuple[Sockets, ...] = ()
    """The first that matches a URL serves it."""
    body: Callable[[Any, int], Any] = _unwrapped
    """Wraps the value of an answer, given the exchange's time (ms)."""
    refusal_status: int = 400
    """The HTTP status of an error answer."""
    usage_headers: Callable[[Usage], dict[str, str]] = _no_headers
    """Headers about the rate limit, on each answer."""
    rules: Rules = Rules()
    """The documented limits of its sockets."""
