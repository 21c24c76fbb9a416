"""The methods of ccxt that a feed takes: one to subscribe and wait, one to unsubscribe where the exchange can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tickwire.exchange.ccxt_patches.caches import BEST_PRICES
from tickwire.exchange.ccxt_types import CcxtExchange
from tickwire.model.feeds import Feed
from tickwire.venues.dialect import Dialect
from tickwire.venues.registry import profile_of

Call = Callable[[], Awaitable[object]]


class WatchMethod(NamedTuple):
    """`unwatch` is None if the exchange cannot unsubscribe."""

    name: str
    watch: Call
    unwatch: Call | None


def watch_methods(exchange: CcxtExchange, dialect: Dialect, feed: Feed) -> list[WatchMethod]:
    """The methods that a feed takes, the one that it requires first."""
    symbol, timeframe = feed.symbol, feed.timeframe

    def further(watch: str) -> dict[str, object]:
        return dialect.unsubscribe_params(exchange.market(symbol), watch)

    ends = profile_of(feed.exchange).sockets.unsubscribes is not False

    def method(name: str, watch: Call, capability: str, unwatch: Call) -> WatchMethod:
        return WatchMethod(name, watch, unwatch if ends and exchange.has.get(capability) else None)

    # Each call gets a dict of its own, because ccxt writes into its defaults.
    match feed.kind:
        case "trade":
            stream = dialect.stream_params(exchange.options, "watchTrades")
            return [
                method("trades", lambda: exchange.watch_trades(symbol, params=dict(stream)), "unWatchTrades",
                       lambda: exchange.un_watch_trades(symbol, stream | further("watchTrades")))
            ]  # fmt: skip
        case "book":
            # Without a limit: ccxt 4.5.90 cuts the live book to it, and loses levels.
            stream = dialect.stream_params(exchange.options, "watchOrderBook")
            return [
                method("book", lambda: exchange.watch_order_book(symbol, params=dict(stream)), "unWatchOrderBook",
                       lambda: exchange.un_watch_order_book(symbol, stream | further("watchOrderBook")))
            ]  # fmt: skip
        case "ticker":
            stream = dialect.stream_params(exchange.options, "watchTicker")
            methods = [
                method("ticker", lambda: exchange.watch_ticker(symbol, dict(stream)), "unWatchTicker",
                       lambda: exchange.un_watch_ticker(symbol, stream | further("watchTicker")))
            ]  # fmt: skip
            if exchange.has.get("watchBidsAsks"):
                methods.append(
                    method(BEST_PRICES, lambda: exchange.watch_bids_asks([symbol], params={}), "unWatchBidsAsks",
                           lambda: exchange.un_watch_bids_asks([symbol], {}))
                )  # fmt: skip
            return methods
        case "candle":
            stream = dialect.stream_params(exchange.options, "watchOHLCV")
            return [
                method("candles", lambda: exchange.watch_ohlcv(symbol, timeframe, params=dict(stream)), "unWatchOHLCV",
                       lambda: exchange.un_watch_ohlcv(symbol, timeframe, stream | further("watchOHLCV")))
            ]  # fmt: skip
