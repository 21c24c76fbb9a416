"""What ccxt keeps of a subscription: that it was made, and a cache of what it said.

ccxt puts what a new subscription says into the cache of the one before. On some venues a new snapshot of a book is
merged into the old book, so that levels removed meanwhile stay (ccxt 4.5.90: backpack, bitget, deribit, dydx, mexc,
nado, ndax, phemex, xt); trades from before look like new ones. So the cache of a feed is forgotten before the feed is
subscribed again, whatever the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from tickwire.model.feeds import Feed

BEST_PRICES = "best prices"
"""The way of a ticker's second subscription."""


class Placed(NamedTuple):
    """A subscription on a Client of ccxt's, by ccxt's name of it."""

    client: Any
    name: Any


def stands(exchange: Any, placed: Iterable[Placed]) -> bool:
    """Whether all of these subscriptions are made, by ccxt's own account; not where there is none."""
    found = list(placed)
    return bool(found) and all(_stands(exchange, *each) for each in found)


def _stands(exchange: Any, client: Any, name: Any) -> bool:
    is_open = any(each is client for each in (exchange.clients or {}).values()) and not client.error
    return is_open and name in client.subscriptions


def state(exchange: Any, feed: Feed, way: str) -> Any:
    """The present state of a book or a ticker as ccxt keeps it; None where it has none."""
    return (_caches(exchange, feed, way) or {}).get(feed.symbol) if feed.kind in ("book", "ticker") else None


def forget(exchange: Any, feed: Feed, way: str) -> None:
    """Have ccxt keep nothing of what a subscription of a feed said: as before it was ever made."""
    key = feed.timeframe if feed.kind == "candle" else feed.symbol
    (_caches(exchange, feed, way) or {}).pop(key, None)
    if feed.kind == "candle" and not _caches(exchange, feed, way):
        (exchange.ohlcvs or {}).pop(feed.symbol, None)


def _caches(exchange: Any, feed: Feed, way: str) -> Any:
    """ccxt's caches of a kind by symbol; of candles, those of a symbol by timeframe."""
    match feed.kind:
        case "trade":
            return exchange.trades
        case "book":
            return exchange.orderbooks
        case "ticker":
            return exchange.bidsasks if way == BEST_PRICES else exchange.tickers
        case "candle":
            return (exchange.ohlcvs or {}).get(feed.symbol)
