"""Binance: its spot market, USD-M and COIN-M futures, and recordings of them.

Source of the hosts and paths: the URLs of ccxt 4.5 (`urls` of binance) and Binance's documentation, "WebSocket
Streams". The limits of sockets: "WebSocket Streams, General information" (24 hours, 1024 streams, 5 messages a second;
futures allow 10). Longer messages were not answered: binance-connector-rust, issue 27.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from tickwire.simulator.answers import Query, Refused
from tickwire.simulator.market.cursors import Source
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.rules import Rules
from tickwire.simulator.venue import Sockets, Usage, Venue
from tickwire.simulator.venues.binance import coin_m, endpoints, streams, usd_m
from tickwire.simulator.venues.binance.sockets import Binance

_URLS = ("*/ws", "*/ws/*", "*/stream")


def _usage_headers(usage: Usage) -> dict[str, str]:
    headers = {"X-MBX-USED-WEIGHT": str(usage.used), "X-MBX-USED-WEIGHT-1M": str(usage.used)}
    return headers | {"Retry-After": str(usage.seconds_left)} if usage.exceeded else headers


def _recorded_headers(usage: Usage) -> dict[str, str]:
    # The recorded exchange's clock is in its `time` endpoint only; the real date would be wrong.
    return _usage_headers(usage) | {"Date": "that of the recording"}


def _too_many_requests(limit: int) -> Refused:
    message = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
    return Refused(-1003, message, status=429)


def _dialect(source: Callable[[Exchange, str], Source | None]) -> Callable[[Exchange], Binance]:
    return lambda exchange: Binance(partial(source, exchange))


def _market(exchange: Exchange, symbol: str) -> Instrument | None:
    pair, _, settle = symbol.partition(":")
    if not settle:
        return exchange.instrument(pair)
    if settle == "USDT":
        return next((each for each in usd_m.instruments(exchange) if f"{each.base}/{each.quote}" == pair), None)
    return coin_m.listed(exchange).instruments.get(f"{pair.replace('/', '')}_PERP")


VENUE = Venue(
    name="binance",
    exchanges=("binance", "binanceus", "binanceusdm", "binancecoinm"),
    hosts=("*.binance.*",),
    endpoints={"GET {path...}": endpoints.of_markets},
    error=endpoints.error,
    too_many_requests=_too_many_requests,
    usage_headers=_usage_headers,
    market=_market,
    sockets=(
        # USD-M futures have them below `public/`, `market/` and `private/` too; each serves every stream.
        Sockets("linear", tuple(f"fstream.{url}" for url in _URLS), _dialect(usd_m.source)),
        Sockets("inverse", tuple(f"dstream.{url}" for url in _URLS), _dialect(coin_m.source)),
        Sockets("spot", _URLS, _dialect(streams.source)),
    ),
    rules=Rules(lifetime_s=86_400, subscriptions=1024, messages=5, message_bytes=4088),
)


def recorded(name: str, ask: Callable[[str, Query], endpoints.Found], hosts: Iterable[str]) -> Venue:
    """Return the venue of a recording: it answers by `ask(path, query)`; its messages come from a playback."""
    return Venue(
        name=name,
        exchanges=(),
        hosts=tuple(hosts),
        endpoints={"GET {path...}": partial(endpoints.answered, ask)},
        error=endpoints.error,
        too_many_requests=_too_many_requests,
        usage_headers=_recorded_headers,
        sockets=(Sockets("all", _URLS, lambda exchange: Binance(lambda name: None)),),
    )
