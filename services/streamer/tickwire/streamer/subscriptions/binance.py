"""Binance's market streams, decoded from the frame's text with typed decoders, before ccxt parses any JSON.

For spot and USD-M futures, bare and combined (`{"stream":..,"data":..}`) frames. Source of names and fields:
Binance's API documentation, "WebSocket Streams" (spot) and "Websocket Market Streams" (USD-M).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, field

from tickwire.model.feeds import Candle, Trade
from tickwire.model.numbers import Amount, Price
from tickwire.venues.dialect import Diff

EXCHANGES = frozenset({"binance", "binanceus", "binanceusdm", "binancecoinm"})


class Said(NamedTuple):
    """What a frame says: `market` is the exchange's id; items are as a FeedSink takes them, `Kline` for candles."""

    kind: str
    market: str
    item: Any
    timeframe: str | None = None


class Kline(Struct, frozen=True, gc=False):
    """A candle as the exchange makes it; `closed` once it is."""

    timestamp: int = field(name="t")
    timeframe: str = field(name="i")
    open: Price = field(name="o")
    high: Price = field(name="h")
    low: Price = field(name="l")
    close: Price = field(name="c")
    volume: Amount = field(name="v")
    """In base currency; of an inverse market in contracts."""
    other_volume: Amount = field(name="q")
    """In quote currency; of an inverse market in base currency."""
    trades: int = field(name="n")
    closed: bool = field(name="x")

    def candle(self, exchange: str, symbol: str, *, inverse: bool) -> Candle:
        """The same as a message."""
        return Candle(
            exchange=exchange,
            symbol=symbol,
            timeframe=self.timeframe,
            timestamp=self.timestamp,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
            volume=self.other_volume if inverse else self.volume,
            trades=self.trades,
            closed=self.closed,
            complete=True,
            volume_unit="base",
        )


class _Aggregate(Struct, gc=False):
    s: str
    a: int
    p: Price
    q: Amount
    T: int
    m: bool


class _Trade(Struct, gc=False):
    s: str
    t: int
    p: Price
    q: Amount
    T: int
    m: bool


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
    """24hrTicker and 24hrMiniTicker; the former's best prices are left out, because bookTicker knows them sooner."""

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


def _decoder(type_: Any) -> Callable[[str | bytes], Any]:
    # Not strict: numbers come as text.
    return msgspec.json.Decoder(type_, strict=False).decode


_aggregate, _trade, _depth, _best = _decoder(_Aggregate), _decoder(_Trade), _decoder(_Depth), _decoder(_Best)
_kline, _day, _name = _decoder(_KlineEvent), _decoder(_Day), _decoder(_Name)


def _of_aggregate(text: str) -> Said:
    t = _aggregate(text)
    made = Trade(id=str(t.a), timestamp=t.T, side="sell" if t.m else "buy", price=t.p, amount=t.q)
    return Said("trade", t.s, made)


def _of_trade(text: str) -> Said:
    t = _trade(text)
    made = Trade(id=str(t.t), timestamp=t.T, side="sell" if t.m else "buy", price=t.p, amount=t.q)
    return Said("trade", t.s, made)


def _of_depth(text: str) -> Said:
    d = _depth(text)
    return Said("book", d.s, Diff(first=d.U, last=d.u, timestamp=d.E, bids=d.b, asks=d.a, previous=d.pu))


def _of_best(text: str) -> Said:
    b = _best(text)
    said: dict[str, Any] = {"bid": b.b, "bid_amount": b.B, "ask": b.a, "ask_amount": b.A}
    if b.T is not None:
        said["timestamp"] = b.T
    return Said("ticker", b.s, said)


def _of_kline(text: str) -> Said:
    event = _kline(text)
    return Said("candle", event.s, event.k, event.k.timeframe)


def _of_day(text: str) -> Said:
    d = _day(text)
    return Said(
        "ticker",
        d.s,
        {"timestamp": d.E, "last": d.c, "open": d.o, "high": d.h, "low": d.l, "volume": d.v, "quote_volume": d.q},
    )


_EVENTS: dict[str, Callable[[str], Said]] = {
    "aggTrade": _of_aggregate,
    "trade": _of_trade,
    "depthUpdate": _of_depth,
    "bookTicker": _of_best,
    "kline": _of_kline,
    "24hrTicker": _of_day,
    "24hrMiniTicker": _of_day,
}
_EIGHT = {f'{name}","E":'[:8]: decode for name, decode in _EVENTS.items()}
"""By the eight characters that follow `{"e":"`."""
_ANSWERS = ('{"result":', '{"id":', '{"error":')


def decode(text: str) -> Said | None:
    """What a frame says, None where that is for ccxt to find out. Raises msgspec.DecodeError over a malformed one."""
    if text.startswith('{"stream":"'):
        start = text.find('"data":') + 7
        if start == 6:
            return None
        text = text[start:-1]
    if text.startswith('{"e":"'):
        found = _EIGHT.get(text[6:14])
        if found is not None:
            return found(text)
    elif text.startswith('{"u":'):
        # Spot's bookTicker alone does not say what it is.
        return _of_best(text)
    if text.startswith(_ANSWERS) or not text.startswith("{"):
        return None
    # The order of fields is nowhere promised.
    found = _EVENTS.get(_name(text).e or "")
    return found(text) if found is not None else None


def release(options: dict[str, Any], subscription: str, count: int) -> None:
    """Give back the place that a subscription takes in ccxt's account of what is on which socket.

    ccxt 4.5.90 (`pro/binance.py`, `stream`) gives a place to each subscription for ever, and refuses new ones once so
    many have ever been made.
    """
    stream = (options.get("streamBySubscriptionsHash") or {}).pop(subscription, None)
    counts = options.get("numSubscriptionsByStream") or {}
    if stream in counts:
        counts[stream] -= count
        if counts[stream] <= 0:
            del counts[stream]
