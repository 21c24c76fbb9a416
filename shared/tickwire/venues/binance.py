"""Binance: spot, USD-M and COIN-M futures, and binance.us.

The dialect decodes market streams from the text of bare and combined (`{"stream":..,"data":..}`) frames. Source of
names and fields: Binance's API documentation, "WebSocket Streams" (spot) and "Websocket Market Streams" (USD-M).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.model.numbers import Amount, Price
from tickwire.venues.candle_forms import CandleForms, by_position
from tickwire.venues.decoding import candle_of, decoder
from tickwire.venues.dialect import Decoded, Dialect, Diff, NoTrade, Refusal
from tickwire.venues.profile import (
    BookFacts,
    CandleFacts,
    Combining,
    MarketKind,
    Profile,
    SocketFacts,
    TradeFacts,
)

_KINDS = ("spot", "margin", "linear", "inverse", "stock", "option", "optionMarket")
"""Kinds of market by ccxt's names."""

PROFILE = Profile(
    exchanges=("binance", "binanceus", "binanceusdm", "binancecoinm"),
    # "Compressed/Aggregate trades list": `fromId` is inclusive, a page has at most 1,000 trades, no key is required.
    # Amounts are in base currency for USD-M futures, and in contracts of 10 or 100 USD for COIN-M futures ("Contract
    # Type", `contractSize`).
    trades=TradeFacts(
        ids="counting",
        ids_shared=True,
        method="by_id",
        first_id="fromId",
        page=1000,
        resolution_ms=1,
        # "Old trade lookup": the same request for trades that are not aggregated, by their own ids. ccxt 4.5.90 raises
        # without an API key, and requests at most 500 of contracts. The stream `trade` of contracts also numbers what
        # is no trade of the market (`_of_trade`), and REST does not have that: after a cut such an id is a gap.
        raw={
            "spot": {"fetchTradesMethod": "publicGetHistoricalTrades"},
            "linear": {"fetchTradesMethod": "fapiPublicGetHistoricalTrades"},
            "inverse": {"fetchTradesMethod": "dapiPublicGetHistoricalTrades"},
        },
        amount={"spot": "base", "linear": "base", "inverse": "contracts"},
    ),
    # "Kline/Candlestick data": `startTime` is inclusive, and rows ascend from it. A minute without a trade has a row
    # (Binance, "Kline always generate even if there is no trade", binance-public-data, issue 153), but one of an outage
    # may have none (ccxt's issue 8068).
    # For COIN-M futures ccxt 4.5.90 reads "Base asset volume" (index 7, `parse_ohlcv`) by REST, and contracts (`v`)
    # live.
    candles=CandleFacts(
        # Not windowed, except for COIN-M futures, where ccxt 4.5.90 `fetch_ohlcv` sends an `endTime` one page later.
        since="honoured",
        # "Kline/Candlestick Streams": a candle is not sent again after `x`, "Is this kline closed?", is true.
        settle_ms=0,
        quiet="rows",
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        # Recorded: of two days of XRP/ETH in October 2019, 2,469 candles of a minute are those of the aggregate trades.
        of_trades={"spot": True},
        live_volume={"spot": "base", "linear": "base", "inverse": "contracts"},
    ),
    book=BookFacts(deltas=True),
    # "Live subscribing/unsubscribing to streams": each reply has the id of its request, which may name several streams.
    # "WebSocket Limits": five messages a second, pings and pongs included (futures: ten), and 1,024 streams (options:
    # 200). Clients report that a message every 250 ms was too many, and one every 500 ms not. A request of more than
    # 4,088 bytes was not answered (binance-connector-rust, issue 27).
    sockets=SocketFacts(
        acknowledges=True,
        subscriptions=200,
        messages_per_s=2.5,
        combining=Combining(field="params", items=100, size=4000, answered="once"),
    ),
    # ccxt 4.5.90 (`stream`) spreads subscriptions over 50 URLs of each kind of market: `subscriptions` does that here.
    options={
        "watchTrades": {"name": "aggTrade"},
        "streamLimits": dict.fromkeys(_KINDS, 1),
        "subscriptionLimitByStream": dict.fromkeys(_KINDS, 1_000_000),
    },
)


class Kline(Struct, frozen=True, gc=False):
    """A `VenueCandle`; `closed` is true in its last frame."""

    timestamp: int = field(name="t")
    timeframe: str = field(name="i")
    open: Price = field(name="o")
    high: Price = field(name="h")
    low: Price = field(name="l")
    close: Price = field(name="c")
    volume: Amount = field(name="v")
    """In base currency; for an inverse market in contracts."""
    other_volume: Amount = field(name="q")
    """In quote currency; for an inverse market in base currency."""
    trades: int = field(name="n")
    closed: bool = field(name="x")

    def candle(self, feed: Feed, kind: MarketKind | None) -> Candle:
        """See `VenueCandle.candle`."""
        volume = self.other_volume if kind == "inverse" else self.volume
        return candle_of(feed, self, volume, trades=self.trades, closed=self.closed)


class _Aggregate(Struct, gc=False):
    s: str
    a: int
    p: Price
    q: Amount
    T: int
    m: bool


class _Trade(Struct, gc=False):
    """`X`, of contracts: `MARKET`, or what was not traded in the order book, such as `INSURANCE_FUND`, `ADL` and `NA`,
    the last with price 0."""

    s: str
    t: int
    p: Amount
    q: Amount
    T: int
    m: bool
    X: str = "MARKET"


class _Depth(Struct):
    s: str
    E: int
    U: int
    u: int
    b: list[tuple[Price, Amount]]
    a: list[tuple[Price, Amount]]
    pu: int | None = None


class _Best(Struct, gc=False):
    s: str
    b: Amount
    B: Amount
    a: Amount
    A: Amount
    T: int | None = None


class _KlineEvent(Struct, gc=False):
    s: str
    k: Kline


class _Day(Struct, gc=False):
    """24hrTicker and 24hrMiniTicker. The best prices of 24hrTicker are not read, because bookTicker is faster."""

    s: str
    E: int
    c: Amount
    o: Amount
    h: Amount
    l: Amount  # noqa: E741
    v: Amount
    q: Amount


class _Name(Struct, gc=False):
    e: str | None = None


_aggregate, _trade, _depth, _best = decoder(_Aggregate), decoder(_Trade), decoder(_Depth), decoder(_Best)
_kline, _day, _name = decoder(_KlineEvent), decoder(_Day), decoder(_Name)


_COIN_M = re.compile(r".+USD_(?:PERP|\d{6})")
"""Symbols of COIN-M futures, as recorded: BTCUSD_PERP, BTCUSD_200925. Those of USD-M have another quote currency."""


def _of_aggregate(text: str) -> tuple[Decoded, ...]:
    t = _aggregate(text)
    made = Trade(id=str(t.a), timestamp=t.T, side="sell" if t.m else "buy", price=t.p, amount=t.q)
    return (Decoded("trade", t.s, (made,)),)


def _of_trade(text: str) -> tuple[Decoded, ...]:
    """What was not traded in the order book is no trade of the market, but has an id among those of trades.

    REST ("Old Trades Lookup") has no such id: "Market trades means trades filled in the order book. Only market trades
    will be returned, which means the insurance fund trades and ADL trades won't be returned."
    """
    t = _trade(text)
    if t.X != "MARKET":
        return (Decoded("trade", t.s, (NoTrade(id=str(t.t), timestamp=t.T),)),)
    if not t.p:
        raise msgspec.ValidationError(f"trade {t.t} has no price")
    made = Trade(id=str(t.t), timestamp=t.T, side="sell" if t.m else "buy", price=t.p, amount=t.q)
    return (Decoded("trade", t.s, (made,)),)


def _of_depth(text: str) -> tuple[Decoded, ...]:
    d = _depth(text)
    diff = Diff(first=d.U, last=d.u, timestamp=d.E, bids=d.b, asks=d.a, previous=d.pu)
    return (Decoded("book", d.s, (diff,)),)


def _of_best(text: str) -> tuple[Decoded, ...]:
    b = _best(text)
    fields: dict[str, Any] = {"bid": b.b, "bid_amount": b.B, "ask": b.a, "ask_amount": b.A}
    if b.T is not None:
        fields["timestamp"] = b.T
    return (Decoded("ticker", b.s, (fields,)),)


def _of_kline(text: str) -> tuple[Decoded, ...]:
    event = _kline(text)
    return (Decoded("candle", event.s, (event.k,), event.k.timeframe),)


def _of_day(text: str) -> tuple[Decoded, ...]:
    d = _day(text)
    fields = {"timestamp": d.E, "last": d.c, "open": d.o, "high": d.h, "low": d.l}
    if _COIN_M.fullmatch(d.s):
        # "Individual Symbol Ticker Streams" of COIN-M: `v` is in contracts, `q` is "Total traded base asset volume".
        fields["volume"] = d.q
    else:
        fields |= {"volume": d.v, "quote_volume": d.q}
    return (Decoded("ticker", d.s, (fields,)),)


_EVENTS: dict[str, Callable[[str], tuple[Decoded, ...]]] = {
    "aggTrade": _of_aggregate,
    "trade": _of_trade,
    "depthUpdate": _of_depth,
    "bookTicker": _of_best,
    "kline": _of_kline,
    "24hrTicker": _of_day,
    "24hrMiniTicker": _of_day,
}
_BY_PREFIX = {f'{name}","E":'[:8]: decode for name, decode in _EVENTS.items()}
"""Decoders by the eight characters that follow `{"e":"`."""
_ANSWERS = ('{"result":', '{"id":', '{"error":')


def decode(text: str) -> tuple[Decoded, ...] | None:
    """See `Dialect.decode`."""
    if text.startswith('{"stream":"'):
        start = text.find('"data":') + 7
        if start == 6:
            return None
        text = text[start:-1]
    if text.startswith('{"e":"'):
        found = _BY_PREFIX.get(text[6:14])
        if found is not None:
            return found(text)
    elif text.startswith('{"u":'):
        # Spot's bookTicker is the only event without `e`.
        return _of_best(text)
    if text.startswith(_ANSWERS) or not text.startswith("{"):
        return None
    # Binance does not promise the order of fields.
    found = _EVENTS.get(_name(text).e or "")
    return found(text) if found is not None else None


def is_spot_url(url: str) -> bool:
    """As ccxt 4.5.90's `is_spot_url` (`pro/binance.py`): ids of spot markets and of futures are the same."""
    return "/stream" in url or "demo-stream" in url


def refusal(message: Mapping[str, Any]) -> Refusal:
    """An error frame, `{"error": {"code": .., "msg": ..}, "id": ..}`; codes that begin with 5 are the server's own."""
    request = message.get("id")
    code = str((message.get("error") or {}).get("code"))
    return Refusal(None if request is None else str(request), is_general=code.startswith("5"))


def stream_params(options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The name of the stream, explicitly: ccxt's watch and unwatch methods read it from different options."""
    name = (options.get(method) or {}).get("name")
    return {"name": name} if name else {}


# Spot, USD-M and COIN-M, "Kline/Candlestick Data". COIN-M: `volume` is in contracts, "Base asset volume" is the eighth.
_FORMS = CandleForms(spot=by_position(), linear=by_position(), inverse=by_position((1, 2, 3, 4, 7)))

DIALECT = Dialect(decode=decode, candles=_FORMS, is_spot_url=is_spot_url, refusal=refusal, stream_params=stream_params)
