"""The part of a client that follows feeds: trades, books and tickers of one market or of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from tickwire.client import live
from tickwire.client.arguments import Time, moment_of
from tickwire.client.items import Gap, Trade
from tickwire.client.live import BookSubscription, Start, Subscription, TradeSubscription
from tickwire.client.stream import Streams
from tickwire.client.together import Together, TradesTogether, markets_of
from tickwire.client.trade_items import CLOCKS_MS, TradeItems
from tickwire.errors import BadRequest
from tickwire.model.feeds import Book, Ticker, feed
from tickwire.model.nearest import Market
from tickwire.model.times import now_ms


class FollowsFeeds:
    """Each method takes an exchange and a symbol, or a list of such pairs, whose items then come in one stream."""

    _streams: Streams

    @overload
    def trades(
        self,
        exchange: str,
        symbol: str,
        *,
        since: Time | None = None,
        after: int | None = None,
        gaps: Literal[False] = False,
    ) -> TradeSubscription[Trade]: ...

    @overload
    def trades(
        self,
        exchange: str,
        symbol: str,
        *,
        since: Time | None = None,
        after: int | None = None,
        gaps: Literal[True],
    ) -> TradeSubscription[Trade | Gap]: ...

    @overload
    def trades(
        self, markets: Sequence[Market], /, *, since: Time | None = None, gaps: Literal[False] = False
    ) -> TradesTogether[Trade]: ...

    @overload
    def trades(
        self, markets: Sequence[Market], /, *, since: Time | None = None, gaps: Literal[True]
    ) -> TradesTogether[Trade | Gap]: ...

    def trades(self, *markets: Any, **options: Any) -> Any:
        """Trades, each once, in the exchange's order, from now on; the feed runs as long as it is iterated.

        "Now" is the first live trade: trades fetched for an earlier time, when the feed did not run or was interrupted,
        are skipped; later ones never are. With `since` it begins with the trades on the tape from that time on, with
        `after` with those after a tape sequence (`.sequence` of an earlier iterator), and continues live without loss.
        A gap is a warning in the log and an item of `.gaps`; with `gaps=True` it is also yielded, in its place.

        `trades([("binance", "BTC/USDT"), ("okx", "BTC/USDT")])`: those of several markets, as they arrive.
        """
        self._streams.check()
        if not (markets and not isinstance(markets[0], str)):
            return self._trades_of_one(*markets, **options)
        (pairs,) = markets
        of = {each: self._trades_of_one(*each, **options) for each in markets_of(pairs, "trades")}
        return TradesTogether(self._streams, of)

    def _trades_of_one(
        self, exchange: str, symbol: str, *, since: Time | None = None, after: int | None = None, gaps: bool = False
    ) -> TradeSubscription[Any]:
        if since is not None and after is not None:
            raise BadRequest("both since and after are given", "choose one")
        wanted = feed("trade", exchange, symbol)
        now = now_ms()
        start = moment_of(since, now, "since")
        if start is not None and start > now + CLOCKS_MS:
            raise BadRequest(f"since {since} is in the future", "choose an earlier since")
        items = TradeItems(wanted, start, yielded=gaps, live=start is None and after is None, named=True)
        begin = Start(back=0, after=after, since=start)
        return TradeSubscription(self._streams, wanted, items, items, begin)

    @overload
    def books(
        self, exchange: str, symbol: str, *, depth: int | None = None, cadence_ms: int | None = None
    ) -> Subscription[Book]: ...

    @overload
    def books(
        self, markets: Sequence[Market], /, *, depth: int | None = None, cadence_ms: int | None = None
    ) -> Together[Subscription[Book], Book]: ...

    def books(self, *markets: Any, **options: Any) -> Any:
        """The order book: its present state, then each new one. A slow consumer gets the newest; `.missed` counts.

        While `state` is "resyncing" there is no valid book; that is also yielded when a live book was silent for 30 s.
        `depth` is the number of levels a side, `cadence_ms` the least interval. Where subscribers differ, a feed has
        the largest depth and the shortest cadence. `books([("binance", "BTC/USDT"), …])`: those of several markets.
        """
        self._streams.check()
        if not (markets and not isinstance(markets[0], str)):
            return self._books_of_one(*markets, **options)
        (pairs,) = markets
        of = {each: self._books_of_one(*each, **options) for each in markets_of(pairs, "books")}
        return Together(self._streams, of)

    def _books_of_one(
        self, exchange: str, symbol: str, *, depth: int | None = None, cadence_ms: int | None = None
    ) -> Subscription[Book]:
        wanted = feed("book", exchange, symbol)
        return BookSubscription(self._streams, wanted, depth=depth, cadence_ms=cadence_ms)

    @overload
    def tickers(self, exchange: str, symbol: str) -> Subscription[Ticker]: ...

    @overload
    def tickers(self, markets: Sequence[Market], /) -> Together[Subscription[Ticker], Ticker]: ...

    def tickers(self, *markets: Any, **options: Any) -> Any:
        """The ticker: its present state, then each new one. A slow consumer gets the newest; `.missed` counts.

        `tickers([("binance", "BTC/USDT"), …])`: those of several markets.
        """
        self._streams.check()
        if not (markets and not isinstance(markets[0], str)):
            return self._tickers_of_one(*markets, **options)
        (pairs,) = markets
        return Together(self._streams, {each: self._tickers_of_one(*each) for each in markets_of(pairs, "tickers")})

    def _tickers_of_one(self, exchange: str, symbol: str) -> Subscription[Ticker]:
        return Subscription(
            self._streams, feed("ticker", exchange, symbol), live.ticker, start=Start(), newest_only=True
        )
