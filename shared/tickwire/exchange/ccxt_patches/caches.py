"""What ccxt keeps of a subscription: that it was made, and a cache of its data.

ccxt puts the data of a new subscription into the cache of the one before. On some venues a new snapshot of a book is
merged into the old book, so that levels removed meanwhile stay (ccxt 4.5.90: backpack, bitget, deribit, dydx, mexc,
nado, ndax, phemex, xt); old trades look like new ones. So the cache of a feed is dropped before each new subscription.

ccxt publishes the same growing cache with each message, and sometimes one message under several names. The class of
cache depends on the venue (all are lists; ccxt 4.5.90, `async_support/base/ws/cache.py`): some only append, some
replace an item of the same id and move it to the end, all drop the oldest. So items are told apart by identity.

Upstream: https://github.com/ccxt/ccxt/issues/29210 is the merged snapshot of one venue (gemini, repaired); no issue
found about the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from ccxt.async_support.base.ws.cache import ArrayCacheByTimestamp
from ccxt.async_support.base.ws.order_book import OrderBook

from tickwire.exchange.ccxt_types import CcxtClient, CcxtExchange
from tickwire.model.feeds import Feed

BEST_PRICES = "best prices"
"""The name of a ticker's second subscription."""


def is_book(result: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a result is a book as ccxt caches it."""
    return isinstance(result, OrderBook)


def is_candles(result: object) -> TypeGuard[Sequence[Any]]:
    """Whether a result is a cache of the candles of one symbol and timeframe."""
    return isinstance(result, ArrayCacheByTimestamp)


class Placed(NamedTuple):
    """A subscription on a Client, by ccxt's name."""

    client: CcxtClient
    name: Any


def stands(exchange: CcxtExchange, placed: Iterable[Placed]) -> bool:
    """Whether ccxt has made all of these subscriptions; False for none."""
    found = list(placed)
    return bool(found) and all(_stands(exchange, *each) for each in found)


def _stands(exchange: CcxtExchange, client: CcxtClient, name: Any) -> bool:
    is_open = any(each is client for each in (exchange.clients or {}).values()) and not client.error
    return is_open and name in client.subscriptions


def state(exchange: CcxtExchange, feed: Feed, name: str) -> Any:
    """The present state of a book or a ticker in ccxt's cache; None if there is none."""
    return (_caches(exchange, feed, name) or {}).get(feed.symbol) if feed.kind in ("book", "ticker") else None


def forget(exchange: CcxtExchange, feed: Feed, name: str) -> None:
    """Drop the cache of a subscription."""
    key = feed.timeframe if feed.kind == "candle" else feed.symbol
    (_caches(exchange, feed, name) or {}).pop(key, None)
    if feed.kind == "candle" and not _caches(exchange, feed, name):
        (exchange.ohlcvs or {}).pop(feed.symbol, None)


class _Candles(dict[str, Any]):
    """By symbol the caches by timeframe; none of a symbol that ccxt never parsed a candle of."""

    def __missing__(self, symbol: str) -> dict[str, Any]:
        return {}


def expect_no_candles(exchange: CcxtExchange) -> None:
    """Have ccxt unsubscribe candles that it never parsed, because a dialect read them.

    Its handlers (4.5.90: okx, `handle_unsubscription_ohlcv`) look them up without asking whether there are any.
    """
    exchange.ohlcvs = _Candles(exchange.ohlcvs or {})


def _caches(exchange: CcxtExchange, feed: Feed, name: str) -> Any:
    """ccxt's caches of a kind by symbol; of candles, those of a symbol by timeframe."""
    match feed.kind:
        case "trade":
            return exchange.trades
        case "book":
            return exchange.orderbooks
        case "ticker":
            return exchange.bidsasks if name == BEST_PRICES else exchange.tickers
        case "candle":
            return (exchange.ohlcvs or {}).get(feed.symbol)


class NewItems:
    """Finds the items of a cache that were not in it before.

    `lost` is called when a full cache has none of its former items left: unseen ones may have been dropped as well.
    """

    def __init__(self, lost: Callable[[str], None]) -> None:
        self._lost = lost
        self._last: Any = None
        """The newest item that was returned."""
        self._cache: Any = None
        """The cache that was read last."""
        self._known: dict[int, Any] = {}
        """Its items by identity, if they can move; the reference keeps an identity from being used again."""

    def of(self, found: Sequence[Any]) -> list[Any]:
        """The new items, in order."""
        same = found is self._cache
        moves = bool(getattr(found, "hashmap", None))
        fresh = self._unknown(found) if moves else self._after_last(found)
        if same and len(fresh) == len(found) == getattr(found, "max_size", None):
            self._lost(f"more than {len(found)} trades came at once, which is all that ccxt keeps")
        self._cache = found if hasattr(found, "max_size") else None
        if fresh:
            self._last = fresh[-1]
        return fresh

    def _after_last(self, found: Sequence[Any]) -> list[Any]:
        """The new items of a cache that only appends."""
        fresh: list[Any] = []
        for each in reversed(found):
            if each is self._last:
                break
            fresh.append(each)
        fresh.reverse()
        return fresh

    def _unknown(self, found: Sequence[Any]) -> list[Any]:
        """The new items of a cache whose items move to the end when they are replaced."""
        before = self._known
        self._known = {id(each): each for each in found}
        return [each for number, each in self._known.items() if number not in before]
