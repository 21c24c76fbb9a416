"""What ccxt says of an exchange without a network: kinds of live feeds, candles, page sizes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from tickwire.exchange.ccxt_patches import lazy_packages
from tickwire.exchange.ccxt_types import Market
from tickwire.exchange.opening import known, page_limit, timeframes

LIVE = {"trade": "watchTrades", "book": "watchOrderBook", "ticker": "watchTicker", "candle": "watchOHLCV"}
"""The method of ccxt.pro that each kind of feed needs."""


class Offer(Struct, frozen=True, kw_only=True):
    """One exchange, as ccxt describes it."""

    exchange: str
    name: str
    """The exchange's own name."""
    live: tuple[str, ...]
    """The kinds of live feeds."""
    timeframes: tuple[str, ...]
    """The timeframes of candle history; empty without history."""
    candle_page: int | None
    """The largest page of spot candles, or of contracts where there is no spot market; None if ccxt does not say."""
    past_trades: bool
    """Whether past trades can be requested, which repairs of live trades need."""


def offer(exchange: str) -> Offer:
    """What ccxt says of an exchange. Raises UnknownExchange."""
    lazy_packages.install()
    rest = getattr(importlib.import_module("ccxt.async_support"), known(exchange))({})
    pro = getattr(importlib.import_module("ccxt.pro"), exchange, None)
    has: Mapping[str, Any] = pro({}).has if pro is not None else {}
    return Offer(
        exchange=exchange,
        name=str(rest.name or exchange),
        live=tuple(kind for kind, method in LIVE.items() if has.get(method)),
        timeframes=timeframes(exchange),
        candle_page=_candle_page(rest.features or {}),
        past_trades=bool(rest.has.get("fetchTrades")),
    )


def _candle_page(features: Mapping[str, Any]) -> int | None:
    kinds: tuple[Market, ...] = ({"type": "spot", "spot": True}, {"type": "swap", "linear": True}, {"type": "swap"})
    return next(filter(None, (page_limit(features, kind, "fetchOHLCV") for kind in kinds)), None)
