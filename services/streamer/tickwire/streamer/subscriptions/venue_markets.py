"""The markets of one exchange: finds them, describes them, and refuses what cannot be watched."""

from __future__ import annotations

from ccxt.base import errors

from tickwire.errors import UnknownSymbol, UnsupportedTimeframe
from tickwire.exchange.ccxt_types import Market, OpenedExchange
from tickwire.exchange.guarded_call import guarded_call
from tickwire.exchange.listing import Listing, unknown_symbol
from tickwire.exchange.reachability import markets_failed
from tickwire.model.feeds import Feed, MarketReport
from tickwire.streamer.control.market_report import market_report
from tickwire.streamer.control.offered_feeds import method_of, refusal
from tickwire.venues.registry import profile_of
from tickwire.venues.units import Units, kind_of, units_of


class VenueMarkets:
    """Loads the markets at first use."""

    def __init__(self, exchange: OpenedExchange) -> None:
        self._exchange = exchange
        self._profile = profile_of(exchange.id)
        self._listing = Listing(exchange)

    async def find(self, symbol: str) -> Market | None:
        """ccxt's description of a market; None if the exchange does not list it. Raises ccxt's errors."""
        exchange = self._exchange
        return await self._listing.find(symbol, lambda anew: guarded_call(lambda: exchange.load_markets(anew)))

    async def market(self, symbol: str) -> Market:
        """ccxt's description of a market. Raises UnknownSymbol, and ExchangeFailed if the exchange does not answer."""
        try:
            found = await self.find(symbol)
        except errors.BaseError as error:
            raise markets_failed(error, self._exchange.id) from error
        if found is None:
            raise self.unknown(symbol)
        return found

    async def units(self, symbol: str) -> Units:
        """The units of a market's numbers. Raises as `market` does."""
        return units_of(self._profile, await self.market(symbol))

    async def describe(self, symbol: str) -> MarketReport:
        """A market as `streamer.market` reports it. Raises as `market` does."""
        found = await self.market(symbol)
        return market_report(self._exchange.id, found, units_of(self._profile, found), self._exchange.precisionMode)

    async def check(self, feed: Feed) -> None:
        """Raise UnsupportedKind, UnsupportedTimeframe, UnknownSymbol or ExchangeFailed if a feed cannot be watched.

        Candles are built from trades for every timeframe that divides a day, and are the exchange's own otherwise.
        """
        kind = method_of(self._exchange, feed)
        market = await self.market(feed.symbol)
        refused = refusal(self._exchange, self._profile, kind, market)
        if refused is not None:
            raise refused
        own = (feed.timeframe,) if kind == "candle" and feed.timeframe is not None else ()
        if own and not self._profile.candles.offered(own, kind_of(market)):
            raise UnsupportedTimeframe(f"{self._exchange.id} has no {feed.timeframe} candles of {feed.symbol}")

    def unknown(self, symbol: str) -> UnknownSymbol:
        """The error for a symbol that the exchange does not list, with the nearest ones."""
        return unknown_symbol(self._exchange.id, symbol, self._exchange.markets or ())
