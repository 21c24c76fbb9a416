"""OKX and its regional sites.

The dialect decodes the public channels from the text of their frames, `{"arg":{"channel":..},"data":[..]}`. Source of
names and fields: OKX's API documentation v5, "Public Data" and "Market Data", WebSocket.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from tickwire.model.feeds import Candle, Feed, Level, Trade
from tickwire.model.numbers import Amount, Price
from tickwire.venues.candle_forms import CandleForms, by_position
from tickwire.venues.decoding import candle_of, decoder, ticker_fields
from tickwire.venues.dialect import BookSnapshot, Decoded, Dialect, Diff
from tickwire.venues.profile import (
    BookFacts,
    CandleFacts,
    Combining,
    MarketKind,
    Older,
    Profile,
    SocketFacts,
    TradeFacts,
)

PROFILE = Profile(
    exchanges=("okx", "okxus", "myokx"),
    # API v5: "Get trades" returns the newest 500 trades, "Get trades history" the 100 before an id, up to three months
    # back. The channel `trades` aggregates the fills of one taker order at one price ("Trades channel").
    # Amounts of derivatives are in contracts of `ctVal`, ccxt's `contractSize`.
    trades=TradeFacts(
        ids="opaque",
        ids_shared=True,
        method="newest",
        # The recorded answer of "Get trades".
        newest_first=True,
        # "Get trades history": with `type` 2, `after` is a time: "records earlier than the requested tradeId or ts".
        older=Older(before="after", page=100, params={"method": "publicGetMarketHistoryTrades"}, by_time={"type": "2"}),
        page=500,
        resolution_ms=1,
        amount={"spot": "base", "linear": "contracts", "inverse": "contracts"},
    ),
    # ccxt 4.5.90 `fetch_ohlcv` sends `before` and `after`, the time of one page apart. An interval without a trade has
    # a row of volume 0 at the close before it (rows of BTC/USD, a market with few trades, in ccxt's issue 24949). For
    # derivatives ccxt reads index 6, `volCcy` ("the value is the number of base currency"), by REST and live.
    candles=CandleFacts(
        since="honoured",
        windowed=True,
        # "Get candlesticks": `confirm`, "1: K line is completed". ccxt 4.5.90 drops it from the rows of REST, and how
        # soon after the end of a candle its row there is complete is not documented.
        settle_ms=0,
        quiet="rows",
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        live_volume={"spot": "base", "linear": "base", "inverse": "base"},
    ),
    # "Order book channel": `books` sends a snapshot of 400 levels, then changes, each naming the one before
    # (`prevSeqId`). After a break in that chain only a new subscription brings a snapshot. `checksum` is not read: OKX
    # announced its end, and ccxt 4.5.90 does not compare it any more.
    book=BookFacts(deltas=True, snapshot="socket", sequence="chain", depth=400),
    # API v5, "WebSocket, Subscribe": the reply to each channel is `"event":"subscribe"` with the channel's `arg`.
    # A request lists several channels ("args"), of 4,096 bytes in all; a connection takes 480 requests an hour.
    sockets=SocketFacts(acknowledges=True, combining=Combining(field="args", items=100, size=4096, answered="by item")),
)

_ROUNDING = 1e-9
"""A missing amount below this share of the whole is a rounding error."""


def drop_aggregated(
    keys: list[Hashable], trades: Sequence[Trade], known: Iterable[tuple[Hashable, Trade]]
) -> tuple[list[Hashable], Sequence[Trade]]:
    """See `Dialect.drop_aggregated`.

    The channel `trades` aggregates the fills of one taker order at one price into one trade with the id of the last
    fill and the total amount; REST lists each fill (API v5, "Trades channel"). All fills have the same time (ms). If
    the amount of a known trade is larger than by REST, the REST trades just before it are its other fills.
    """
    in_page = set(keys)
    wholes = {key: trade for key, trade in known if key in in_page}
    fills: set[int] = set()
    for place, (key, last) in enumerate(zip(keys, trades, strict=True)):
        whole = wholes.get(key)
        if whole is None:
            continue
        missing, like = whole.amount - last.amount, (last.timestamp, last.side, last.price)
        before = place - 1
        while before >= 0 and missing > whole.amount * _ROUNDING and keys[before] not in wholes:
            fill = trades[before]
            if (fill.timestamp, fill.side, fill.price) != like:
                break
            fills.add(before)
            missing -= fill.amount
            before -= 1
    if not fills:
        return keys, trades
    kept = [place for place in range(len(keys)) if place not in fills]
    return [keys[place] for place in kept], [trades[place] for place in kept]


BOOKS = ("books", "books-l2-tbt")
"""The channels whose books have 400 levels; `books-l2-tbt` needs a key."""
BARS = {
    "1m": "1m",
    "3m": "3m",
    "5m": "5m",
    "15m": "15m",
    "30m": "30m",
    "1H": "1h",
    "2H": "2h",
    "4H": "4h",
    **{f"{hours}H{zone}": f"{hours}h" for hours in (6, 12) for zone in ("", "utc")},
    **{f"1{unit}{zone}": f"1{unit.lower() if unit != 'M' else unit}" for unit in "DWM" for zone in ("", "utc")},
    **{f"3M{zone}": "3M" for zone in ("", "utc")},
}
"""Timeframes of ccxt by OKX's bars; without `utc`, bars from six hours on open by Hong Kong's time."""


class _Arg(Struct, gc=False):
    channel: str
    instId: str = ""


class _Trade(Struct, gc=False):
    instId: str
    tradeId: str
    px: Price
    sz: Amount
    side: Literal["buy", "sell"]
    ts: int


class _Level(Struct, array_like=True, gc=False):
    """Price and amount; a third and a fourth element, liquidations and orders, are not read."""

    price: Price
    amount: Amount


class _Book(Struct):
    asks: list[_Level]
    bids: list[_Level]
    ts: int
    seqId: int | None = None
    prevSeqId: int | None = None


class _Ticker(Struct, gc=False):
    """Texts are empty where there is no such value, as the best price of an empty side."""

    ts: int
    instType: str = ""
    last: str = ""
    askPx: str | None = None
    askSz: str | None = None
    bidPx: str | None = None
    bidSz: str | None = None
    open24h: str = ""
    high24h: str = ""
    low24h: str = ""
    vol24h: str = ""
    volCcy24h: str = ""


class Bar(Struct, frozen=True, array_like=True, gc=False):
    """A `VenueCandle`. `volume` is in base currency, of derivatives in contracts; `currency_volume` in quote currency,
    of derivatives in base currency."""

    timestamp: int
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Amount
    currency_volume: Amount
    quote_volume: str = ""
    confirm: str = "0"

    def candle(self, feed: Feed, kind: MarketKind | None) -> Candle:
        """See `VenueCandle.candle`."""
        volume = self.volume if kind == "spot" else self.currency_volume
        return candle_of(feed, self, volume, closed=self.confirm == "1")


class _Trades(Struct, gc=False):
    """`arg` is not read: each trade names its market."""

    data: list[_Trade] | None = None


class _Books(Struct):
    arg: _Arg
    action: str = ""
    data: list[_Book] | None = None


class _Tickers(Struct, gc=False):
    arg: _Arg
    data: list[_Ticker] | None = None


class _Bars(Struct, gc=False):
    arg: _Arg
    data: list[Bar] | None = None


class _Name(Struct, gc=False):
    arg: _Arg | None = None
    event: str | None = None


_trades, _books, _tickers = decoder(_Trades), decoder(_Books), decoder(_Tickers)
_bars, _name = decoder(_Bars), decoder(_Name)


def _of_trades(text: str) -> Sequence[Decoded] | None:
    data = _trades(text).data
    if not data:
        return None if data is None else ()
    if len(data) == 1:
        # Nearly every frame.
        t = data[0]
        made = (Trade(id=t.tradeId, timestamp=t.ts, side=t.side, price=t.px, amount=t.sz),)
        return (Decoded("trade", t.instId, made),)
    trades = [Trade(id=t.tradeId, timestamp=t.ts, side=t.side, price=t.px, amount=t.sz) for t in data]
    return (Decoded("trade", data[0].instId, trades),)


def _levels(side: list[_Level]) -> list[Level]:
    return [(level.price, level.amount) for level in side]


def _of_books(text: str) -> Sequence[Decoded] | None:
    frame = _books(text)
    if frame.data is None:
        return None
    items: list[BookSnapshot | Diff] = []
    for book in frame.data:
        bids, asks = _levels(book.bids), _levels(book.asks)
        if frame.action == "snapshot":
            items.append(BookSnapshot(timestamp=book.ts, bids=bids, asks=asks, sequence=book.seqId))
        else:
            items.append(Diff(timestamp=book.ts, bids=bids, asks=asks, last=book.seqId, previous=book.prevSeqId))
    return (Decoded("book", frame.arg.instId, items),)


def _of_best(text: str) -> Sequence[Decoded] | None:
    """`bbo-tbt`: the best level of each side, no level of an empty one."""
    frame = _books(text)
    if frame.data is None:
        return None
    items = []
    for book in frame.data:
        fields: dict[str, Any] = {"timestamp": book.ts}
        for name, side in (("bid", book.bids), ("ask", book.asks)):
            fields[name], fields[f"{name}_amount"] = (side[0].price, side[0].amount) if side else (0.0, 0.0)
        items.append(fields)
    return (Decoded("ticker", frame.arg.instId, items),)


def _of_tickers(text: str) -> Sequence[Decoded] | None:
    frame = _tickers(text)
    if frame.data is None:
        return None
    return (Decoded("ticker", frame.arg.instId, [_ticker(each) for each in frame.data]),)


def _ticker(found: _Ticker) -> dict[str, Any]:
    # "Tickers channel": of derivatives `vol24h` is in contracts and `volCcy24h` in base currency; of spot markets they
    # are in base and in quote currency.
    is_spot = found.instType in ("SPOT", "MARGIN")
    texts = {
        "last": found.last,
        "bid": found.bidPx,
        "bid_amount": found.bidSz,
        "ask": found.askPx,
        "ask_amount": found.askSz,
        "open": found.open24h,
        "high": found.high24h,
        "low": found.low24h,
        "volume": found.vol24h if is_spot else found.volCcy24h,
        "quote_volume": found.volCcy24h if is_spot else "",
    }
    return {"timestamp": found.ts} | ticker_fields(texts)


def _of_bars(text: str) -> Sequence[Decoded] | None:
    frame = _bars(text)
    timeframe = BARS.get(frame.arg.channel.removeprefix("candle"))
    if frame.data is None or timeframe is None:
        return None
    return (Decoded("candle", frame.arg.instId, frame.data, timeframe),)


_CHANNELS: dict[str, Callable[[str], Sequence[Decoded] | None]] = {
    "trades": _of_trades,
    "trades-all": _of_trades,
    "tickers": _of_tickers,
    "bbo-tbt": _of_best,
    **dict.fromkeys(BOOKS, _of_books),
    **{f"candle{bar}": _of_bars for bar in BARS},
}
_BEGINNING = '{"arg":{"channel":"'
_TRADES = f'{_BEGINNING}trades",'


def decode(text: str) -> Sequence[Decoded] | None:
    """See `Dialect.decode`."""
    if text.startswith(_TRADES):
        return _of_trades(text)
    if text.startswith(_BEGINNING):
        found = _CHANNELS.get(text[19 : text.find('"', 19)])
    elif not text.startswith("{") or text.startswith('{"event":'):
        return None
    else:
        # OKX does not promise the order of fields.
        named = _name(text)
        found = None if named.arg is None or named.event is not None else _CHANNELS.get(named.arg.channel)
    return None if found is None else found(text)


def stream_params(options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The channel of the book: of ccxt's option `depth` only those that are decoded as books."""
    if method != "watchOrderBook":
        return {}
    chosen = (options.get(method) or {}).get("depth")
    return {"depth": chosen if chosen in BOOKS else BOOKS[0]}


# "Get candlesticks": `vol` of contracts is in contracts, `volCcy` in base currency.
_CONTRACTS = by_position((1, 2, 3, 4, 6), path=("data",))
_FORMS = CandleForms(spot=by_position(path=("data",)), linear=_CONTRACTS, inverse=_CONTRACTS)

DIALECT = Dialect(decode=decode, candles=_FORMS, stream_params=stream_params, drop_aggregated=drop_aggregated)
