"""Converts market data from ccxt's unified form: the path of every venue without a decoder of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tickwire.errors import TickwireError
from tickwire.exchange.admission import Admission
from tickwire.exchange.ccxt_patches.caches import NewItems, is_book, is_candles
from tickwire.exchange.ccxt_trades import are_trades, is_trade, trade
from tickwire.exchange.ccxt_types import CcxtExchange
from tickwire.model import numbers
from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.streamer.control.feed_venue import BookView
from tickwire.venues.registry import grid_of, profile_of

_TICKER = (
    ("timestamp", "timestamp"),
    ("last", "last"),
    ("bid", "bid"),
    ("bidVolume", "bid_amount"),
    ("ask", "ask"),
    ("askVolume", "ask_amount"),
    ("open", "open"),
    ("high", "high"),
    ("low", "low"),
    ("baseVolume", "volume"),
    ("quoteVolume", "quote_volume"),
)
"""Fields of a ticker: (ccxt's name, name in `feeds.Ticker`)."""


class Subject(NamedTuple):
    """The feed that a result is about: the fields of a Feed without its exchange."""

    kind: str
    symbol: str
    timeframe: str | None = None


def subject(result: Any, exchange: CcxtExchange) -> list[Subject]:
    """The feeds that a result of ccxt is about; none if it is no market data."""
    if is_book(result):
        symbol = result.get("symbol") or _name_of(result, exchange.orderbooks)
        return [Subject("book", symbol)] if symbol else []
    if is_candles(result):
        return [
            Subject("candle", symbol, timeframe)
            for symbol, caches in (exchange.ohlcvs or {}).items()
            if (timeframe := _name_of(result, caches))
        ]
    if are_trades(result):
        if result is getattr(exchange, "myTrades", None):
            return []
        # A cache has one symbol; a plain list may have several.
        some = result if type(result) is list else result[-1:]
        symbols = dict.fromkeys(each.get("symbol") for each in some if is_trade(each))
        return [Subject("trade", symbol) for symbol in symbols if symbol]
    if type(result) is list and len(result) == 3 and is_candles(result[2]):
        return [Subject("candle", result[0], result[1])]
    if type(result) is dict:
        if result.get("symbol") and _is_ticker(result):
            return [Subject("ticker", result["symbol"])]
        return [Subject("ticker", name) for name, each in result.items() if isinstance(each, dict) and _is_ticker(each)]
    return []


def kind_of(result: Any) -> str | None:
    """The kind of feed that a result looks like; None if it looks like none."""
    if are_trades(result):
        return "trade"
    if is_book(result):
        return "book"
    if is_candles(result):
        return "candle"
    return "ticker" if type(result) is dict and _is_ticker(result) else None


def _symbol(found: Any) -> Any:
    return found.get("symbol") if isinstance(found, dict) else None


def _is_ticker(found: dict[str, Any]) -> bool:
    return {"bid", "ask", "last"} <= found.keys()


def _name_of(wanted: Any, named: Any) -> str | None:
    return next((name for name, each in (named or {}).items() if each is wanted), None)


class Mapper:
    """Finds the new items in each result about one feed.

    `rejected` is called for a trade or candle that cannot be used, `lost` when trades were dropped unread.
    """

    def __init__(
        self,
        feed: Feed,
        rejected: Callable[[str], None] = lambda reason: None,
        lost: Callable[[str], None] = lambda reason: None,
        admission: Admission | None = None,
    ) -> None:
        self._admission = admission
        self._feed = feed
        self._absent = profile_of(feed.exchange).tickers.absent
        self._side_of = profile_of(feed.exchange).trades.live_side
        self._rejected = rejected
        self._new_items = NewItems(lost)
        self._last: Any = None
        """ticker: the last one and its fields; book: its nonce and timestamp."""
        self._counts: bool | None = None
        """book: whether its nonce changes with each change; None while that is unknown."""
        self._levels: Any = None
        """book: its levels, if the nonce does not show changes."""
        self._open: int | None = None
        """candle: the open time of the newest."""
        self._odd: Any = None
        """candle: the last implausible open time."""

    def forget(self) -> None:
        """Forget the state from before: the feed is subscribed again."""
        self._last = self._levels = None

    def new(self, result: Any, *, addressed: bool = False) -> Sequence[Any]:
        """The new items of a result. Raises KeyError, TypeError and ValueError for a result that cannot be read.

        `addressed`: the result's name in ccxt is that of this feed, though its symbol may be another.
        """
        match self._feed.kind:
            case "trade":
                return self._trades(result, addressed)
            case "book":
                return self._book(result)
            case "ticker":
                return self._ticker(result)
            case "candle":
                return self._candles(result)

    def _trades(self, result: Any, addressed: bool) -> list[Trade]:
        fresh = self._new_items.of(result)
        if not addressed:
            fresh = [each for each in fresh if _symbol(each) in (None, self._feed.symbol)]
        made: list[Trade] = []
        for each in fresh:
            try:
                made.append(trade(each, self._feed.symbol, self._side_of))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                # The other items are good.
                self._rejected(f"{error!r} over {str(each)[:200]}")
        return made

    def _book(self, book: Any) -> list[BookView]:
        nonce, timestamp = book.get("nonce"), book.get("timestamp")
        levels = None if nonce is None or self._counts else [[*map(tuple, book[side])] for side in ("bids", "asks")]
        if nonce is not None and self._last == (nonce, timestamp) and (self._counts or levels == self._levels):
            return []
        if self._last is not None and nonce is not None:
            # Some nonces are the timestamp (deribit) or stay that of the snapshot (blofin).
            if nonce == timestamp or (nonce == self._last[0] and timestamp != self._last[1]):
                self._counts = False
            elif self._counts is None and nonce != self._last[0]:
                self._counts = True
        self._last, self._levels = (nonce, timestamp), levels
        return [BookView(timestamp=timestamp, nonce=nonce, bids=book["bids"], asks=book["asks"])]

    def _ticker(self, result: Any) -> list[dict[str, Any]]:
        found = result if result.get("symbol") == self._feed.symbol else result.get(self._feed.symbol)
        if found is None:
            return []
        fields = {name: value for name, value in ticker(found).items() if name not in self._absent}
        # Some exchange classes change one dict in place: identity alone does not show changes.
        if self._last is not None and self._last[0] is found and self._last[1] == fields:
            return []
        self._last = (found, fields)
        return [fields]

    def _candles(self, result: Any) -> list[Candle]:
        rows = result[2] if len(result) == 3 and is_candles(result[2]) else result
        fresh: list[Any] = []
        for row in reversed(rows):
            if not self._is_plausible(row[0]):
                # ccxt caches it like the others, and goes on.
                continue
            if self._open is not None and row[0] < self._open:
                break
            fresh.append(row)
            if self._open is None:
                break
        if not fresh:
            return []
        self._open = fresh[0][0]
        fresh.reverse()
        made: list[Candle] = []
        for row in fresh:
            try:
                made.append(candle(self._feed, row, closed=row is not fresh[-1]))
            except (TypeError, ValueError, IndexError) as error:
                # The other items are good.
                self._rejected(f"{error!r} over {str(row)[:200]}")
        return [each for each in made if self._opens(each)]

    def _is_plausible(self, opened: Any) -> bool:
        wrong = None if self._admission is None else self._admission.refusal(opened)
        if wrong is not None and opened != self._odd:
            self._odd = opened
            self._rejected(f"a candle: {wrong}")
        return wrong is None

    def _opens(self, made: Candle) -> bool:
        reason = wrong_open(made)
        if reason is not None:
            self._rejected(reason)
        return reason is None


def wrong_open(made: Candle) -> str | None:
    """Why a candle is not on the grid of its venue; None if it is.

    Some venues stream days and weeks of another time zone than by REST (okx); the cache has those of REST.
    """
    if grid_of(made.exchange, made.timeframe).opens(made.timestamp):
        return None
    opened = datetime.fromtimestamp(made.timestamp / 1000, UTC).isoformat(timespec="minutes")
    return f"no {made.timeframe} candle opens at {opened}: the exchange uses another time zone"


def ticker(found: dict[str, Any]) -> dict[str, Any]:
    """The fields of a ccxt ticker by the names of `feeds.Ticker`."""
    return {ours: found[theirs] for theirs, ours in _TICKER if found.get(theirs) is not None}


def candle(feed: Feed, row: Sequence[Any], *, closed: bool) -> Candle:
    """Convert a candle of ccxt. Raises TypeError and ValueError."""
    if feed.timeframe is None:
        raise TickwireError(f"{feed} has no timeframe")
    return Candle(
        exchange=feed.exchange,
        symbol=feed.symbol,
        timeframe=feed.timeframe,
        timestamp=int(row[0]),
        open=numbers.price(row[1], feed.symbol),
        high=numbers.price(row[2], feed.symbol),
        low=numbers.price(row[3], feed.symbol),
        close=numbers.price(row[4], feed.symbol),
        volume=numbers.amount(row[5]),
        trades=0,
        closed=closed,
        complete=True,
    )
