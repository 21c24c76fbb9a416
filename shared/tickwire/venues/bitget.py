"""Bitget: spot and futures, API v2.

The dialect decodes the public channels from the text of their frames,
`{"action":..,"arg":{"instType":..,"channel":..,"instId":..},"data":[..],"ts":..}`. Source of names and fields: Bitget's
API documentation v2, "Spot" and "Contract", "WebSocket, Public", and the recorded frames of v2 (2024).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, Literal

from msgspec import Struct

from tickwire.model.feeds import Trade
from tickwire.model.numbers import Amount, Price
from tickwire.venues.candle_forms import CandleForms, by_position
from tickwire.venues.decoding import decoder, ticker_fields, written_levels
from tickwire.venues.dialect import BookSnapshot, Decoded, Dialect, Diff, Texts
from tickwire.venues.profile import BookFacts, CandleFacts, Combining, Older, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("bitget",),
    trades=TradeFacts(
        # "Trading Channel", "Get Market Trades": `tradeId`, 19 digits that rise by 2**22 for each ms (recorded).
        ids="opaque",
        ids_shared=True,
        # ccxt 4.5.90 `fetch_trades` requests `fills-history`. "Get Market Trades", "Get History Transactions": by
        # `startTime`, `tradeId` descending, default 500 and at most 1,000; `idLessThan`: those before an id. Measured
        # by others in 2026: of futures the response has the newest trades, whatever `startTime` is.
        method="by_time",
        needs_until=False,
        newest_first=True,
        cut="newest",
        older=Older(before="idLessThan"),
        page=1000,
        # "Get Market Trades": `ts` is "Transaction time(second level)"; those of futures in the examples of ccxt and
        # Bitget are whole seconds, too.
        resolution_ms=1000,
        # Spot: 30 days, "startTime and endTime should be within 7days". Futures: "the last 7 days" (before: 90 days).
        # Measured by others in 2026: answered to 167.91 hours ago, error 40707 from 168 hours on. An hour less, as a
        # request from the very limit is too old when it arrives.
        reach_ms=7 * 86_400_000 - 3_600_000,
        # API v2: amounts of USDT and USDC futures are in base currency (contract size 1 in ccxt 4.5.90). The
        # documentation does not give the unit for coin-settled futures, so it is unknown.
        amount={"spot": "base", "linear": "base"},
    ),
    candles=CandleFacts(
        # ccxt 4.5.90 `fetch_ohlcv` sends `startTime` and `endTime`, one page apart. "Get History Candlestick
        # Data": the 200 candles before `endTime` at most.
        since="honoured",
        windowed=True,
        # `quiet` is unknown: rows of volume 0 are in the documentation's examples of spot markets ("Get History
        # Candlestick Data", "Candlestick Channel"), but nothing says that each interval has a row, nor that contracts
        # have any.
        # "Get Candlestick Data" of spot markets lists no bar of two hours, and neither does ccxt 4.5.90
        # (`options.fetchOHLCV.timeframes.spot`), which lists them for the exchange.
        absent={"spot": ("2h",)},
        # "Get Candlestick Data": index 5 is "Trading volume of the base coin", by REST and live.
        volume={"spot": "base", "linear": "base"},
        live_volume={"spot": "base", "linear": "base"},
    ),
    # "Depth Channel": `books` sends a snapshot of 400 levels, then changes with the CRC32 of the best 25 levels. The
    # recorded snapshots have checksum 0, and ccxt 4.5.90 compares none of a snapshot. There is no number in recorded
    # frames of v2; later documentation has `seq`, which only increases, and in 2026 no checksum any more.
    book=BookFacts(deltas=True, snapshot="socket", sequence=None, depth=400, checksum_levels=25),
    # API v2, "Websocket API": the reply to each channel is `"event":"subscribe"` with the channel's `arg`. A connection
    # takes 1,000 channels, 240 requests to subscribe an hour, and ten messages a second; at most 50 channels are
    # recommended. It is disconnected every 24 hours. A request lists several channels, of 4,096 bytes in all.
    sockets=SocketFacts(
        acknowledges=True,
        subscriptions=50,
        messages_per_s=10,
        combining=Combining(field="args", items=50, size=4096, answered="by item"),
        lifetime_ms=86_400_000,
    ),
    options={
        # Without it ccxt 4.5.90 asks by a private request whether an account is a unified one, and then uses API v3,
        # whose frames are not decoded here. Public channels of v2 need no account.
        "uta": False,
        # ccxt 4.5.90 `watch_ohlcv` subscribes to bars of six hours and longer that open by Hong Kong's time (`1D`), and
        # `fetch_ohlcv` requests those that open by UTC (`1Dutc`). Names: "Candlestick Channel".
        "timeframes": {
            "6h": "6Hutc",
            "12h": "12Hutc",
            "1d": "1Dutc",
            "3d": "3Dutc",
            "1w": "1Wutc",
            "1M": "1Mutc",
        },
    },
)


class _Arg(Struct, gc=False):
    instType: str
    instId: str
    channel: str = ""


class _Trade(Struct, gc=False):
    ts: int
    price: Price
    size: Amount
    side: Literal["buy", "sell"]
    tradeId: str


class _Level(Struct, array_like=True, gc=False):
    """Price and amount as the venue wrote them: the checksum is made of these texts."""

    price: str
    amount: str


class _Book(Struct):
    """Checksum 0 is none: the recorded snapshots have it, whatever their levels are."""

    asks: list[_Level]
    bids: list[_Level]
    ts: int
    checksum: int | None = None


class _Ticker(Struct, gc=False):
    """Texts are empty where there is no such value, as the best price of an empty side."""

    ts: int
    lastPr: str = ""
    bidPr: str | None = None
    bidSz: str | None = None
    askPr: str | None = None
    askSz: str | None = None
    open24h: str = ""
    high24h: str = ""
    low24h: str = ""
    baseVolume: str = ""
    quoteVolume: str = ""


class _Trades(Struct, gc=False):
    arg: _Arg
    data: list[_Trade] | None = None


class _Books(Struct):
    arg: _Arg
    action: Literal["snapshot", "update"]
    data: list[_Book] | None = None


class _Tickers(Struct, gc=False):
    arg: _Arg
    data: list[_Ticker] | None = None


class _Name(Struct, gc=False):
    arg: Any = None
    event: str | None = None


_trades, _books, _tickers, _name = decoder(_Trades), decoder(_Books), decoder(_Tickers), decoder(_Name)


def _of_trades(text: str) -> Sequence[Decoded] | None:
    frame = _trades(text)
    arg, data = frame.arg, frame.data
    if not data:
        return None if data is None else ()
    market = f"{arg.instType}:{arg.instId}"
    if len(data) == 1:
        # Nearly every frame.
        t = data[0]
        made = (Trade(id=t.tradeId, timestamp=t.ts, side=t.side, price=t.price, amount=t.size),)
        return (Decoded("trade", market, made),)
    # The newest comes first.
    trades = [Trade(id=t.tradeId, timestamp=t.ts, side=t.side, price=t.price, amount=t.size) for t in reversed(data)]
    return (Decoded("trade", market, trades),)


def _texts(book: _Book) -> Texts:
    return [(each.price, each.amount) for each in book.bids], [(each.price, each.amount) for each in book.asks]


def _of_books(text: str) -> Sequence[Decoded] | None:
    frame = _books(text)
    if frame.data is None:
        return None
    items: list[BookSnapshot | Diff] = []
    for book in frame.data:
        texts = _texts(book)
        bids, asks = map(written_levels, texts)
        if frame.action == "snapshot":
            items.append(BookSnapshot(timestamp=book.ts, bids=bids, asks=asks, texts=texts))
        else:
            items.append(Diff(timestamp=book.ts, bids=bids, asks=asks, checksum=book.checksum or None, texts=texts))
    return (Decoded("book", f"{frame.arg.instType}:{frame.arg.instId}", items),)


_TICKER = (
    ("last", "lastPr"),
    ("bid", "bidPr"),
    ("bid_amount", "bidSz"),
    ("ask", "askPr"),
    ("ask_amount", "askSz"),
    ("open", "open24h"),
    ("high", "high24h"),
    ("low", "low24h"),
    ("volume", "baseVolume"),
    ("quote_volume", "quoteVolume"),
)
"""Fields of a ticker: (name in `feeds.Ticker`, Bitget's)."""


def _of_tickers(text: str) -> Sequence[Decoded] | None:
    frame = _tickers(text)
    if frame.data is None:
        return None
    market = f"{frame.arg.instType}:{frame.arg.instId}"
    return (Decoded("ticker", market, [_ticker(each) for each in frame.data]),)


def _ticker(found: _Ticker) -> dict[str, Any]:
    return {"timestamp": found.ts} | ticker_fields({ours: getattr(found, theirs) for ours, theirs in _TICKER})


_CHANNELS: dict[str, Callable[[str], Sequence[Decoded] | None]] = {
    "trade": _of_trades,
    "books": _of_books,
    "ticker": _of_tickers,
}
_BEGINNING = '{"action":"'
_CHANNEL = '"channel":"'
_HEAD = 80
"""`channel` begins within so many characters where `action` is first and `arg` second."""


def decode(text: str) -> Sequence[Decoded] | None:
    """See `Dialect.decode`."""
    if not text.startswith("{") or text.startswith('{"event":'):
        return None
    at = text.find(_CHANNEL, 0, _HEAD) if text.startswith(_BEGINNING) else -1
    if at >= 0:
        at += len(_CHANNEL)
        found = _CHANNELS.get(text[at : text.find('"', at)])
    else:
        # Bitget does not promise the order of fields.
        named = _name(text)
        channel = named.arg.get("channel") if isinstance(named.arg, dict) else None
        found = None if named.event is not None or not isinstance(channel, str) else _CHANNELS.get(channel)
    return None if found is None else found(text)


def checksum(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int:
    """The signed CRC32 of `bid:amount:ask:amount:…` of the best levels ("Depth Channel, Checksum")."""
    pairs = zip_longest(bids, asks, fillvalue=())
    value = zlib.crc32(":".join(chain.from_iterable((*bid, *ask) for bid, ask in pairs)).encode())
    return value - 2**32 if value >= 2**31 else value


_PRODUCTS = {
    "USDT": "USDT-FUTURES",
    "USDC": "USDC-FUTURES",
    "SUSDT": "SUSDT-FUTURES",
    "SUSDC": "SUSDC-FUTURES",
    "SBTC": "SCOIN-FUTURES",
    "SETH": "SCOIN-FUTURES",
    "SEOS": "SCOIN-FUTURES",
}
"""`instType` of futures by the currency that settles them, as ccxt 4.5.90 `handle_product_type_and_params` has it."""


def market_name(market: Mapping[str, Any]) -> str:
    """`instType:instId`: spot markets and futures share ids and a socket. See `Dialect.market_name`."""
    product = "SPOT" if market.get("spot") else _PRODUCTS.get(str(market.get("settle")), "COIN-FUTURES")
    return f"{product}:{market['id']}"


def stream_params(options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """API v2, whatever ccxt found out about the account: the frames of v3 are not decoded."""
    return {"uta": False}


# "Get Candlestick Data": of inverse contracts the seventh is the volume in quote currency.
_BASE = by_position(path=("data",))
_FORMS = CandleForms(spot=_BASE, linear=_BASE, inverse=by_position((1, 2, 3, 4, 6), path=("data",)))

DIALECT = Dialect(
    decode=decode, candles=_FORMS, market_name=market_name, checksum=checksum, stream_params=stream_params
)
