"""Crypto.com Exchange, API v1.

The dialect decodes the public channels from the text of their frames,
`{"id":-1,"code":0,"method":"subscribe","result":{"channel":"trade",..,"data":[..]}}`. Source of names and fields:
recorded frames of 2022, with and without the sequence of books, and the frames that ccxt 4.5.90 quotes beside its
handlers. The frames without it are taken to be of the API v2, whose channels ccxt does not use any more. The
documentation itself, "Exchange API v1", was not at hand: limits are as others quote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct, field

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.model.numbers import Amount, Price
from tickwire.venues.candle_forms import CandleForms, by_name
from tickwire.venues.decoding import candle_of, decoder, ticker_fields
from tickwire.venues.dialect import BookSnapshot, Decoded, Dialect, Diff
from tickwire.venues.profile import BookFacts, CandleFacts, MarketKind, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("cryptocom",),
    trades=TradeFacts(
        # `d` is the id of a match: four trades of one recorded frame, of three amounts, have the same. It is the same
        # live and by REST, read by the same parser (`parse_trade` of ccxt 4.5.90).
        ids="of orders",
        ids_shared=True,
        # "public/get-trades": the newest trades before `end_ts`, at most 150 (`count`); ccxt 4.5.90 passes any limit
        # through. `t`: milliseconds.
        method="by_time",
        cut="newest",
        page=150,
        resolution_ms=1,
        # Recorded: `v` of APEUSD-PERP in a day is 123,899, `vv`, in USD, 580,747.59, at prices from 4.61 to 4.77; `q`
        # of trades of BTCUSD-PERP is 0.0050.
        amount={"spot": "base", "linear": "base"},
    ),
    candles=CandleFacts(
        # "public/get-candlestick" and "candlestick.{time_frame}.{instrument_name}": `v`, as in tickers (see above).
        # No source says anything of intervals without trades, of what is cut from a response, or of when `7D` and `14D`
        # open.
        volume={"spot": "base", "linear": "base"},
        live_volume={"spot": "base", "linear": "base"},
    ),
    # With `SNAPSHOT_AND_UPDATE` a snapshot, then changes; `pu` of each is `u` of the one before (`handle_order_book` of
    # ccxt 4.5.90, which subscribes 50 levels and keeps as many).
    book=BookFacts(deltas=True, snapshot="socket", sequence="chain", depth=50),
    # "A single market data websocket connection is limited to a maximum of 400 subscriptions", and 100 requests a
    # second (quoted in https://github.com/skip-mev/connect, providers/websockets/cryptodotcom/README.md). What ccxt
    # 4.5.90 sends to subscribe has no id, and the recorded acknowledgement names no channel: whether each is
    # acknowledged is left to be found out.
    sockets=SocketFacts(subscriptions=400, messages_per_s=100),
)

INTERVALS = {each: each for each in ("1m", "5m", "15m", "30m", "1h", "4h", "6h", "12h", "1M")} | {
    "1D": "1d",
    "7D": "1w",
    "14D": "2w",
}
"""Timeframes of ccxt by Crypto.com's ("public/get-candlestick", `timeframe`)."""
_SIDES: Mapping[str, Literal["buy", "sell"]] = {"BUY": "buy", "SELL": "sell"}


class _Trade(Struct, gc=False):
    d: str | int
    t: int
    s: Literal["BUY", "SELL"]
    p: Price
    q: Amount


class _Level(Struct, array_like=True, gc=False):
    """The number of orders, which follows, is not read."""

    price: Price
    amount: Amount


class _Sides(Struct):
    bids: list[_Level]
    asks: list[_Level]


class _Whole(_Sides):
    t: int
    u: int


class _Change(Struct):
    update: _Sides
    t: int
    u: int
    pu: int


class _Ticker(Struct, gc=False):
    """Values are null where there is none; no recorded ticker has an empty side."""

    t: int
    a: Amount | None = None
    b: Amount | None = None
    bs: Amount | None = None
    k: Amount | None = None
    ks: Amount | None = None
    h: Amount | None = None
    l: Amount | None = None  # noqa: E741
    v: Amount | None = None


class Bar(Struct, frozen=True, gc=False):
    """A `VenueCandle`. Nothing says that a candle is closed."""

    timestamp: int = field(name="t")
    open: Price = field(name="o")
    high: Price = field(name="h")
    low: Price = field(name="l")
    close: Price = field(name="c")
    volume: Amount = field(name="v")

    def candle(self, feed: Feed, kind: MarketKind | None) -> Candle:
        """See `VenueCandle.candle`."""
        return candle_of(feed, self, self.volume)


D = TypeVar("D")


class _Result(Struct, Generic[D], gc=False):
    instrument_name: str
    data: list[D]
    interval: str = ""


class _Frame(Struct, Generic[D], gc=False):
    result: _Result[D]


class _Named(Struct, gc=False):
    channel: str = ""


class _Name(Struct, gc=False):
    result: _Named | None = None


_trades, _wholes, _changes = decoder(_Frame[_Trade]), decoder(_Frame[_Whole]), decoder(_Frame[_Change])
_tickers, _bars, _name = decoder(_Frame[_Ticker]), decoder(_Frame[Bar]), decoder(_Name)


def _of_trades(text: str) -> Sequence[Decoded]:
    found = _trades(text).result
    made = [Trade(id=str(t.d), timestamp=t.t, side=_SIDES[t.s], price=t.p, amount=t.q) for t in found.data]
    # As recorded, the newest is the first.
    if len(made) > 1 and made[0].timestamp >= made[-1].timestamp:
        made.reverse()
    return (Decoded("trade", found.instrument_name, made),) if made else ()


def _sides(found: _Sides) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    bids, asks = ([(level.price, level.amount) for level in side] for side in (found.bids, found.asks))
    return bids, asks


def _of_book(text: str) -> Sequence[Decoded]:
    found = _wholes(text).result
    books = []
    for each in found.data:
        bids, asks = _sides(each)
        books.append(BookSnapshot(timestamp=each.t, bids=bids, asks=asks, sequence=each.u))
    return (Decoded("book", found.instrument_name, books),)


def _of_changes(text: str) -> Sequence[Decoded]:
    found = _changes(text).result
    changes = []
    for each in found.data:
        bids, asks = _sides(each.update)
        changes.append(Diff(timestamp=each.t, bids=bids, asks=asks, last=each.u, previous=each.pu))
    return (Decoded("book", found.instrument_name, changes),)


def _of_ticker(text: str) -> Sequence[Decoded]:
    """`vv` is in USD, also where the market's quote currency is another one: it is not read."""
    found = _tickers(text).result
    made = []
    for each in found.data:
        texts = {
            "last": each.a,
            "bid": each.b or 0.0,
            "bid_amount": each.bs if each.b else 0.0,
            "ask": each.k or 0.0,
            "ask_amount": each.ks if each.k else 0.0,
            "high": each.h,
            "low": each.l,
            "volume": each.v,
        }
        made.append({"timestamp": each.t} | ticker_fields(texts))
    return (Decoded("ticker", found.instrument_name, made),)


def _of_candles(text: str) -> Sequence[Decoded] | None:
    found = _bars(text).result
    timeframe = INTERVALS.get(found.interval)
    if timeframe is None:
        return None
    return (Decoded("candle", found.instrument_name, sorted(found.data, key=lambda bar: bar.timestamp), timeframe),)


_CHANNELS: Mapping[str, Callable[[str], Sequence[Decoded] | None]] = {
    "trade": _of_trades,
    "book": _of_book,
    "book.update": _of_changes,
    "ticker": _of_ticker,
    "candlestick": _of_candles,
}
_CHANNEL = '"channel":"'


def decode(text: str) -> Sequence[Decoded] | None:
    """See `Dialect.decode`. The order of fields is not the same in all recorded frames."""
    at = text.find(_CHANNEL)
    if at >= 0:
        at += len(_CHANNEL)
        channel = text[at : text.find('"', at)]
    elif '"channel"' in text and text.startswith("{"):
        result = _name(text).result
        channel = "" if result is None else result.channel
    else:
        return None
    reader = _CHANNELS.get(channel)
    return None if reader is None else reader(text)


def stream_params(options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Changes of the book: of ccxt's options, `bookSubscriptionType` selects whole books twice a second."""
    return {"bookSubscriptionType": "SNAPSHOT_AND_UPDATE"} if method == "watchOrderBook" else {}


# "public/get-candlestick".
_FORM = by_name(("t", "o", "h", "l", "c", "v"), path=("result", "data"))
_FORMS = CandleForms(spot=_FORM, linear=_FORM, inverse=_FORM)

DIALECT = Dialect(decode=decode, candles=_FORMS, stream_params=stream_params)
