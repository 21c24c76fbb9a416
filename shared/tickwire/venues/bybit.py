"""Bybit and its European site, API v5.

The dialect decodes the public topics from the text of their frames, `{"topic":"publicTrade.BTCUSDT",..,"data":..}`.
Source of names and fields: Bybit's API documentation v5, "Websocket Stream", "Public".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, field

from tickwire.model.feeds import Candle, Feed, Level, Trade
from tickwire.model.numbers import Amount, Price
from tickwire.venues.candle_forms import CandleForms, by_position
from tickwire.venues.decoding import by_market, candle_of, decoder, ticker_fields
from tickwire.venues.dialect import BookSnapshot, Decoded, Dialect, Diff
from tickwire.venues.profile import BookFacts, CandleFacts, MarketKind, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("bybit", "bybiteu"),
    # API v5, "Place Order": amounts are in USD for inverse contracts, and in base currency for USDT and USDC contracts.
    # "Get Recent Public Trades" returns the newest trades, whatever the requested time, with times in ms: "`spot`:
    # [1,60], others: [1,1000]" (`limit`); ccxt 4.5.90 `fetch_trades` sends no time. Ids of spot markets rise, those of
    # contracts are UUIDs (recorded messages); nothing says that `i` of the topic and `execId` by REST are the same id.
    trades=TradeFacts(
        ids="opaque",
        method="newest",
        # An answer in the README of carpenstar/bybitapi-sdk-derivatives, "Public Trading History".
        newest_first=True,
        page=1000,
        pages={"spot": 60},
        resolution_ms=1,
        amount={"spot": "base", "linear": "base", "inverse": "quote"},
    ),
    candles=CandleFacts(
        # "Get Kline": `volume` is in base currency. For inverse contracts it is in USD, and `turnover` is in base
        # currency (the documented row of BTCUSD: 268,611 at 17,071 is 15.74), which ccxt 4.5.90 `parse_ohlcv` and
        # `parse_ws_ohlcv` read for them.
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        live_volume={"spot": "base", "linear": "base", "inverse": "base"},
    ),
    # "Orderbook": a snapshot after each subscription, then changes; a later snapshot replaces the book. `u` rises by
    # one with each message (recorded messages; "SBE Level 50", "Continuity check": the next `u` is the one before + 1,
    # unless it is 1, that of a snapshot after a restart). No depth is declared: topics of options have another one, and
    # a level that leaves the topic's depth is removed with size 0 (a recorded change of `orderbook.50` adds a bid and
    # removes one far below it; ccxt 4.5.90 does not cut its book either).
    book=BookFacts(deltas=True, snapshot="socket", sequence="steps"),
    # The recorded reply to a request has its `req_id`.
    sockets=SocketFacts(acknowledges=True),
)

INTERVALS = {
    **{str(minutes): f"{minutes}m" for minutes in (1, 3, 5, 15, 30)},
    **{str(60 * hours): f"{hours}h" for hours in (1, 2, 4, 6, 12)},
    **{each: f"1{each if each == 'M' else each.lower()}" for each in "DWM"},
}
"""Timeframes of ccxt by Bybit's intervals ("Get Kline", `interval`)."""
_INVERSE = re.compile(r".+USD(?:[HMUZ]\d\d)?")
"""Symbols of inverse contracts, as recorded: BTCUSD, and BTCUSDU23, a month's letter and a year."""


class _Trade(Struct, gc=False):
    T: int
    s: str
    S: Literal["Buy", "Sell"]
    v: Amount
    p: Price
    i: str


class _Book(Struct):
    s: str
    b: list[tuple[Price, Amount]]
    a: list[tuple[Price, Amount]]
    u: int


class _Ticker(Struct, gc=False):
    """Texts are empty where there is no such value, and absent where it did not change.

    The best prices are not read, because `orderbook.1` is faster.
    """

    symbol: str
    lastPrice: str = ""
    prevPrice24h: str = ""
    highPrice24h: str = ""
    lowPrice24h: str = ""
    volume24h: str = ""
    turnover24h: str = ""
    openInterest: str | None = None


class Bar(Struct, frozen=True, gc=False):
    """A `VenueCandle`. `volume` is in base currency, of inverse contracts in USD; `turnover` in quote currency, of
    inverse contracts in base currency."""

    timestamp: int = field(name="start")
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Amount
    turnover: Amount
    confirm: bool

    def candle(self, feed: Feed, kind: MarketKind | None) -> Candle:
        """See `VenueCandle.candle`."""
        return candle_of(feed, self, self.turnover if kind == "inverse" else self.volume, closed=self.confirm)


class _Trades(Struct, gc=False):
    """The topic is not read: each trade names its market."""

    data: list[_Trade]


class _Books(Struct):
    type: Literal["snapshot", "delta"]
    ts: int
    data: _Book


class _Tickers(Struct, gc=False):
    type: Literal["snapshot", "delta"]
    ts: int
    data: _Ticker


class _Bars(Struct, gc=False):
    data: list[Bar]


class _Name(Struct, gc=False):
    topic: str = ""


_trades, _books, _tickers = decoder(_Trades), decoder(_Books), decoder(_Tickers)
_bars, _name = decoder(_Bars), decoder(_Name)


def _trade(t: _Trade) -> Trade:
    return Trade(id=t.i, timestamp=t.T, side="buy" if t.S == "Buy" else "sell", price=t.p, amount=t.v)


def _of_trades(text: str, topic: str) -> Sequence[Decoded] | None:
    data = _trades(text).data
    if len(data) == 1:
        # Nearly every frame.
        t = data[0]
        made = Trade(id=t.i, timestamp=t.T, side="buy" if t.S == "Buy" else "sell", price=t.p, amount=t.v)
        return (Decoded("trade", t.s, (made,)),)
    # The topic of options, `publicTrade.BTC`, has those of many markets.
    return by_market("trade", [(t.s, _trade(t)) for t in data])


def _of_books(text: str, topic: str) -> Sequence[Decoded] | None:
    frame = _books(text)
    book = frame.data
    if topic.startswith("orderbook.1."):
        return (Decoded("ticker", book.s, (_best(frame),)),)
    item: BookSnapshot | Diff
    if frame.type == "snapshot":
        item = BookSnapshot(timestamp=frame.ts, bids=book.b, asks=book.a, sequence=book.u)
    else:
        item = Diff(timestamp=frame.ts, bids=book.b, asks=book.a, last=book.u)
    return (Decoded("book", book.s, (item,)),)


def _best(frame: _Books) -> dict[str, Any]:
    """The best level of each side; 0 of a side that became empty, absent in a change that does not concern it."""
    fields: dict[str, Any] = {"timestamp": frame.ts}
    for name, side, best_of in (("bid", frame.data.b, max), ("ask", frame.data.a, min)):
        if side or frame.type == "snapshot":
            levels: list[Level] = [level for level in side if level[1]]
            fields[name], fields[f"{name}_amount"] = best_of(levels, default=(0.0, 0.0))
    return fields


def _of_tickers(text: str, topic: str) -> Sequence[Decoded] | None:
    frame = _tickers(text)
    found: _Ticker = frame.data
    # Spot markets have snapshots only, without an open interest.
    is_contract = frame.type == "delta" or found.openInterest is not None
    volume, quote_volume = found.volume24h, found.turnover24h
    if is_contract and _INVERSE.fullmatch(found.symbol):
        # As recorded: `volume24h` of BTCUSD is in USD and `turnover24h` in BTC.
        volume, quote_volume = quote_volume, volume
    texts = {
        "last": found.lastPrice,
        "open": found.prevPrice24h,
        "high": found.highPrice24h,
        "low": found.lowPrice24h,
        "volume": volume,
        "quote_volume": quote_volume,
    }
    fields = {"timestamp": frame.ts} | ticker_fields(texts)
    return (Decoded("ticker", found.symbol, (fields,)),)


def _of_bars(text: str, topic: str) -> Sequence[Decoded] | None:
    interval, _, market = topic.removeprefix("kline.").partition(".")
    timeframe = INTERVALS.get(interval)
    return None if timeframe is None else (Decoded("candle", market, _bars(text).data, timeframe),)


_TOPICS: dict[str, Callable[[str, str], Sequence[Decoded] | None]] = {
    "publicTrade": _of_trades,
    "orderbook": _of_books,
    "tickers": _of_tickers,
    "kline": _of_bars,
}
_BEGINNING = '{"topic":"'
_TRADES = f"{_BEGINNING}publicTrade."


def decode(text: str) -> Sequence[Decoded] | None:
    """See `Dialect.decode`."""
    if text.startswith(_TRADES):
        return _of_trades(text, "")
    if text.startswith(_BEGINNING):
        topic = text[10 : text.find('"', 10)]
    elif not text.startswith("{") or text.startswith('{"success":'):
        return None
    else:
        # Bybit does not promise the order of fields.
        topic = _name(text).topic
    found = _TOPICS.get(topic.partition(".")[0])
    return None if found is None else found(text, topic)


def is_spot_url(url: str) -> bool:
    """As ccxt 4.5.90's handlers (`pro/bybit.py`): ids of spot markets and of linear contracts are the same."""
    return "spot" in url


def unsubscribe_params(market: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The depth of the book: ccxt 4.5.90 subscribes 50 levels, of options 100, and unsubscribes 500 of contracts."""
    return {"limit": 100 if market.get("option") else 50} if method == "watchOrderBook" else {}


# "Get Kline": `volume` of inverse contracts is in quote currency, `turnover` in base currency.
_BASE = by_position(path=("result", "list"))
_FORMS = CandleForms(spot=_BASE, linear=_BASE, inverse=by_position((1, 2, 3, 4, 6), path=("result", "list")))

DIALECT = Dialect(decode=decode, candles=_FORMS, is_spot_url=is_spot_url, unsubscribe_params=unsubscribe_params)
