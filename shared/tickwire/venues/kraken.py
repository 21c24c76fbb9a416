"""Kraken spot.

The dialect decodes the public channels of WebSocket v2 from the text of their frames, `{"channel":..,"type":..,
"data":[..]}`. Source of names and fields: Kraken's documentation, "Spot WebSocket v2": "Trades", "Book (Level 2)",
"Ticker (Level 1)", "Candles (OHLC)", and the guide "Book checksum (WebSocket v2)". Numbers are JSON numbers with all
decimals of the market, times are RFC 3339.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.model.numbers import Amount, Price
from tickwire.venues.candle_forms import ANY, CandleForms, by_position
from tickwire.venues.decoding import by_market, candle_of, decoder, ms_of, ticker_fields, written_levels
from tickwire.venues.dialect import BookSnapshot, Decoded, Dialect, Diff
from tickwire.venues.profile import BookFacts, CandleFacts, MarketKind, Profile, SocketFacts, TradeFacts

DEPTH = 500
"""Levels of a side that the book is subscribed with: of 10, 25, 100, 500 and 1,000 ("Book (Level 2)", `depth`)."""

PROFILE = Profile(
    exchanges=("kraken",),
    # "Get Recent Trades": at most 1,000 trades, starting at `since`. The seventh column is `trade_id`; ccxt 4.5.90
    # `parse_trade` reads it, and the `trade_id` of a live trade (WebSocket v2, "Trades": "a sequence number, unique per
    # book"). Nothing says that both are one number, and no trade was recorded both ways: whether ids are shared is
    # found out. A user compared both (github.com/krakenfx/api-go issue 36, 2025-11), as if of one series: 17 % of ids
    # by REST never came live, further ones of one time. That is unexplained, so history could not complete a day.
    # Recorded: the ids of 1,000 trades of REST count up by one. They are declared opaque, because REST takes
    # no id to begin with.
    # `since` may be in seconds, as ccxt sends it, or in nanoseconds, as `last` of each answer ("ID to be used as since
    # when polling for new trade data").
    trades=TradeFacts(
        ids="opaque",
        method="by_time",
        cut="oldest",
        page=1000,
        since_ns="since",
        resolution_ms=1,
    ),
    # "Get OHLC Data": the newest 720 candles, whatever `since` is (measured on ccxt 4.5.90). Recorded: of 721 minutes
    # of XBTUSDT in one response, 216 have no trade, and their prices are the previous close.
    # "Candles (OHLC)": `volume` is "the total traded quantity (in base currency terms)".
    # Recorded: the candles of the minutes of 1,000 trades of XBTUSDT in November 2025 are those of these trades.
    candles=CandleFacts(
        since="ignored",
        newest_rows=720,
        quiet="rows",
        live_volume={"spot": "base"},
        of_trades={"spot": True},
    ),
    # "Book (Level 2)": a snapshot follows the subscription; "Book checksum (WebSocket v2)": CRC32 over the best ten
    # levels of each side whatever the depth, and "truncate your book to the subscribed depth". There are no numbers.
    book=BookFacts(deltas=True, snapshot="socket", sequence=None, depth=DEPTH, checksum_levels=10),
    # "There is an acknowledgement response for each symbol in the subscription list", with the request's `req_id`.
    sockets=SocketFacts(acknowledges=True),
)


class _Trade(Struct, gc=False):
    symbol: str
    side: Literal["buy", "sell"]
    price: Price
    qty: Amount
    trade_id: int
    timestamp: datetime


class _Trades(Struct, gc=False):
    data: list[_Trade]
    type: str = ""


class _Level(Struct, gc=False):
    price: msgspec.Raw
    qty: msgspec.Raw


class _Book(Struct):
    symbol: str
    bids: list[_Level] = field(default_factory=list)
    asks: list[_Level] = field(default_factory=list)
    checksum: int | None = None
    timestamp: datetime | None = None


class _Books(Struct):
    type: Literal["snapshot", "update"]
    data: list[_Book]


class _Ticker(Struct, gc=False):
    """Prices are 0 where there are none, the time then that of the epoch (recorded)."""

    symbol: str
    bid: Amount | UnsetType = UNSET
    bid_qty: Amount | UnsetType = UNSET
    ask: Amount | UnsetType = UNSET
    ask_qty: Amount | UnsetType = UNSET
    high: Amount | UnsetType = UNSET
    low: Amount | UnsetType = UNSET
    last: Decimal | None = None
    change: Decimal | None = None
    volume: Decimal | None = None
    vwap: Decimal | None = None
    timestamp: datetime | None = None


class _Tickers(Struct, gc=False):
    data: list[_Ticker]


class Ohlc(Struct, frozen=True, gc=False):
    """A `VenueCandle`. The frames do not say whether it is closed: the next one closes it."""

    symbol: str
    interval: int
    interval_begin: datetime
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Amount
    trades: int = 0

    @property
    def timestamp(self) -> int:
        """The open time, ms."""
        return ms_of(self.interval_begin)

    def candle(self, feed: Feed, kind: MarketKind | None) -> Candle:
        """See `VenueCandle.candle`."""
        return candle_of(feed, self, self.volume, trades=self.trades)


class _Candles(Struct, gc=False):
    data: list[Ohlc]


class _Name(Struct, gc=False):
    channel: str | None = None
    method: str | None = None


TIMEFRAMES = {1: "1m", 5: "5m", 15: "15m", 30: "30m", 60: "1h", 240: "4h", 1440: "1d", 10080: "1w"}
"""Timeframes by Kraken's intervals, minutes. 21600, 15 days, is none of tickwire's."""

_trades = decoder(_Trades, strict=True)
_books = decoder(_Books, strict=True)
_tickers = decoder(_Tickers, strict=True)
_candles = decoder(_Candles, strict=True)
_name = decoder(_Name, strict=True)


def _trade(t: _Trade) -> Trade:
    return Trade(id=str(t.trade_id), timestamp=ms_of(t.timestamp), side=t.side, price=t.price, amount=t.qty)


def _of_trades(text: str) -> Sequence[Decoded]:
    frame = _trades(text)
    rows = frame.data
    if len(rows) == 1:
        # Nearly every frame.
        return (Decoded("trade", rows[0].symbol, (_trade(rows[0]),)),)
    if frame.type == "snapshot":
        rows.sort(key=lambda row: row.trade_id)
    return by_market("trade", [(row.symbol, _trade(row)) for row in rows])


def _written(side: list[_Level]) -> list[tuple[str, str]]:
    return [(bytes(level.price).decode(), bytes(level.qty).decode()) for level in side]


def _of_books(text: str) -> Sequence[Decoded]:
    frame = _books(text)
    kind = BookSnapshot if frame.type == "snapshot" else Diff
    found = []
    for book in frame.data:
        bids, asks = _written(book.bids), _written(book.asks)
        item = kind(
            timestamp=None if book.timestamp is None else ms_of(book.timestamp),
            bids=written_levels(bids),
            asks=written_levels(asks),
            checksum=book.checksum,
            texts=(bids, asks),
        )
        found.append(Decoded("book", book.symbol, (item,)))
    return found


def _of_tickers(text: str) -> Sequence[Decoded]:
    return [Decoded("ticker", each.symbol, (_ticker(each),)) for each in _tickers(text).data]


def _ticker(found: _Ticker) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if found.timestamp is not None and (time := ms_of(found.timestamp)) > 0:
        fields["timestamp"] = time
    # "Ticker (Level 1)": `change` is that of the last price in 24 hours, `vwap` the average price of `volume`. A price
    # of 0 is none, and replaces the last one.
    numbers = {
        "bid": found.bid,
        "bid_amount": found.bid_qty,
        "ask": found.ask,
        "ask_amount": found.ask_qty,
        "high": found.high,
        "low": found.low,
        "last": found.last,
        "open": None if found.last is None or found.change is None else found.last - found.change,
        "volume": found.volume,
        "quote_volume": None if found.volume is None or found.vwap is None else found.volume * found.vwap,
    }
    return fields | ticker_fields({name: value for name, value in numbers.items() if value is not UNSET})


def _of_candles(text: str) -> Sequence[Decoded]:
    markets: dict[tuple[str, str], list[Ohlc]] = {}
    for each in _candles(text).data:
        timeframe = TIMEFRAMES.get(each.interval)
        # Raises for a time that `Ohlc.candle` could not read.
        ms_of(each.interval_begin)
        if timeframe is not None:
            markets.setdefault((each.symbol, timeframe), []).append(each)
    return [Decoded("candle", symbol, items, timeframe) for (symbol, timeframe), items in markets.items()]


_CHANNELS: dict[str, Callable[[str], Sequence[Decoded]]] = {
    "trade": _of_trades,
    "book": _of_books,
    "ticker": _of_tickers,
    "ohlc": _of_candles,
}
_BEGINNING = '{"channel":"'
_TRADES = f'{_BEGINNING}trade",'
_ANSWERS = ('{"method":', '{"error":', '{"success":')


def decode(text: str) -> Sequence[Decoded] | None:
    """See `Dialect.decode`."""
    if text.startswith(_TRADES):
        return _of_trades(text)
    if text.startswith(_BEGINNING):
        channel: str | None = text[12 : text.find('"', 12)]
    elif not text.startswith("{") or text.startswith(_ANSWERS):
        return None
    else:
        # Kraken does not promise the order of fields.
        named = _name(text)
        channel = named.channel if named.method is None else None
    found = _CHANNELS.get(channel or "")
    return None if found is None else found(text)


def checksum(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int:
    """See `Dialect.checksum`: CRC32 of the digits of price and amount, without zeros in front, asks before bids."""
    digits = [_digits(number) for side in (asks, bids) for level in side for number in level]
    return zlib.crc32("".join(digits).encode())


def _digits(number: str) -> str:
    if "e" in number or "E" in number:
        # JSON allows an exponent; Kraken's guide has none.
        number = f"{Decimal(number):f}"
    return number.replace(".", "").lstrip("0")


def market_name(market: Mapping[str, Any]) -> str:
    """See `Dialect.market_name`: `BTC/USD`, by which ccxt 4.5.90 subscribes and reads frames (`pro/kraken.py`)."""
    symbol: str = market["symbol"]
    return symbol


def stream_params(options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The depth of the book, which the profile states."""
    return {"depth": DEPTH} if method == "watchOrderBook" else {}


_WEEK = 10080
_NAMED_BY_CCXT: dict[str, tuple[str, dict[str, int]]] = {
    "trade": ("trade", {}),
    "orderbook": ("book", {"depth": DEPTH}),
    "ticker": ("ticker", {}),
    # Only weeks are subscribed: candles of a day and shorter ones are built from trades.
    "ohlcv": ("ohlc", {"interval": _WEEK}),
}
"""Channels, and what names one of their streams, by the beginnings of ccxt's names of subscriptions."""


def unsubscription(names: Sequence[str]) -> dict[str, Any]:
    """See `Dialect.unsubscription`. ccxt 4.5.90 names a subscription by its kind and symbol: `orderbook@BTC/USD`."""
    channel, more = _NAMED_BY_CCXT[names[0].partition("@")[0]]
    symbols = [name.partition("@")[2] for name in names]
    return {"method": "unsubscribe", "params": {"channel": channel, "symbol": symbols, **more}}


# "Get OHLC Data": the list is called as the pair; time (s), open, high, low, close, vwap, volume.
_FORMS = CandleForms(spot=by_position((1, 2, 3, 4, 6), path=("result", ANY), unit_ms=1000))

DIALECT = Dialect(
    decode=decode,
    candles=_FORMS,
    market_name=market_name,
    checksum=checksum,
    stream_params=stream_params,
    unsubscription=unsubscription,
)
