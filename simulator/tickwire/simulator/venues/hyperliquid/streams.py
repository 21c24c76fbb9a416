"""Hyperliquid's public subscriptions, and the dialect of its socket. No I/O.

Source of names, fields and cadences: Hyperliquid's API documentation, "Websocket, Subscriptions" and "Timeouts and
heartbeats", as of 2025; of the texts of errors: the comments of ccxt 4.5 (`pro/hyperliquid`) and Hyperliquid's own
`order_book_server`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of
from tickwire.simulator.market.candle_pages import candle_page
from tickwire.simulator.market.cursors import CandleCursor, TradeCursor, every
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.market.rows import top
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions, decoded
from tickwire.simulator.sockets.orders import Forms, Order, Topic, carry_out
from tickwire.simulator.sockets.socket import Socket
from tickwire.simulator.venues.hyperliquid import rows as hyperliquid_rows
from tickwire.simulator.venues.hyperliquid.rows import Asset

BOOK_FRAMES = 5
"""Frames of the book between two of its messages: at least half a second."""
_CONTEXT_MS, _MIDS_MS, _WEEK_MS = 500, 1_000, 250
_UNREADABLE = "Error parsing JSON into valid websocket request: "
_FIELDS: dict[str, tuple[str, ...]] = {
    "trades": ("coin",),
    "l2Book": ("coin",),
    "bbo": ("coin",),
    "activeAssetCtx": ("coin",),
    "candle": ("coin", "interval"),
    "allMids": (),
}
"""The fields of each type of subscription that is served."""
_DEFAULTS = {"l2Book": {"nSigFigs": None, "mantissa": None}}
"""Fields that an acknowledgement adds. Aggregated books (other values) are not served."""


class Hyperliquid(Dialect):
    """The dialect. A stream's name is the type and the fields of its subscription: `candle:BTC:1m`."""

    malformed = b'{"channel":"trades","data":[{"coin'

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def stream(self, name: str) -> Stream | None:
        """See Dialect.stream."""
        kind, _, rest = name.partition(":")
        coin, _, interval = rest.partition(":")
        now = self._exchange.clock.now()
        if kind == "allMids":
            return Stream(every(_MIDS_MS, now, self._mids), lambda now: [self._mids(now)])
        asset = hyperliquid_rows.asset(self._exchange, coin)
        if asset is None:
            return None
        if kind == "candle":
            served = interval in hyperliquid_rows.INTERVALS and interval in asset.found.intervals
            return _candles(asset, interval, now) if served else None
        return _STREAMS[kind](asset, now)

    def _mids(self, now: int) -> Any:
        found = [each for spot in (False, True) for each in hyperliquid_rows.assets(self._exchange, spot=spot)]
        return {"channel": "allMids", "data": {"mids": {each.coin: hyperliquid_rows.mid(each, now) for each in found}}}

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        return msgspec.json.encode(_error(fault.text or f"{_UNREADABLE}{{}}"))

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers."""
        message = decoded(text)
        method, topic = message.get("method"), _topic(message.get("subscription"))
        if method == "ping":
            return [msgspec.json.encode({"channel": "pong"})]
        if method not in ("subscribe", "unsubscribe") or topic is None:
            shown = text if isinstance(text, str) else text.decode(errors="replace")
            return [msgspec.json.encode(_error(f"{_UNREADABLE}{shown}"))]
        if (topic.name in socket.names) is (method == "subscribe"):
            return [msgspec.json.encode(_error(f"Already {method}d: {_shown(topic)}"))]
        return carry_out(self, socket, Order(method == "subscribe", [topic], message), subscriptions, _FORMS)


def _topic(subscription: Any) -> Topic | None:
    """Return the stream that a subscription names, and the subscription as it is acknowledged; None if unreadable."""
    if not isinstance(subscription, dict) or (kind := subscription.get("type")) not in _FIELDS:
        return None
    fields = [subscription.get(name) for name in _FIELDS[kind]]
    extra = _DEFAULTS.get(kind, {})
    if not all(isinstance(each, str) for each in fields) or any(subscription.get(name) for name in extra):
        return None
    return Topic(":".join([kind, *map(str, fields)]), {**extra, **subscription} if extra else subscription)


def _shown(topic: Topic) -> str:
    return msgspec.json.encode(topic.words).decode()


def _error(text: str) -> dict[str, Any]:
    return {"channel": "error", "data": text}


def _acknowledged(order: Order, topic: Topic) -> Any:
    return {"channel": "subscriptionResponse", "data": {"method": order.message["method"], "subscription": topic.words}}


_FORMS = Forms(
    refused=lambda order, topic: _error(f"Invalid subscription: {_shown(topic)}"),
    per_topic=_acknowledged,
)


class _Trades:
    """The trades of a block in one message; a subscription begins with past ones, newest first."""

    def __init__(self, asset: Asset, now: int) -> None:
        self._asset, self._cursor = asset, TradeCursor(asset.found, now)

    def new(self, now: int) -> Iterable[Any]:
        found = self._cursor.new_until(now)
        if found is not None:
            yield {"channel": "trades", "data": hyperliquid_rows.trades(self._asset, found)}

    def first(self, now: int) -> Iterable[Any]:
        if found := self._cursor.newest(hyperliquid_rows.RECENT):
            yield {"channel": "trades", "data": hyperliquid_rows.trades(self._asset, found)[::-1]}


class _Changing:
    """A message that is made anew once in each interval of the exchange's time, and is sent if it has changed."""

    def __init__(self, width_ms: int, now: int, form: Callable[[int], Any]) -> None:
        self._width_ms, self._form, self._at = width_ms, form, now // width_ms
        self._sent = form(self._at * width_ms)

    def new(self, now: int) -> Iterable[Any]:
        if now // self._width_ms != self._at:
            self._at = now // self._width_ms
            before, self._sent = self._sent, self._form(self._at * self._width_ms)
            if self._sent != before:
                yield self._sent

    def first(self, now: int) -> Iterable[Any]:
        return [self._sent]


def _trades(asset: Asset, now: int) -> Stream:
    made = _Trades(asset, now)
    return Stream(made.new, made.first)


def _books(asset: Asset, now: int) -> Stream:
    def whole(now: int) -> Any:
        found = top(book_at(asset.found, frame_of(now)), hyperliquid_rows.LEVELS)
        return {"channel": "l2Book", "data": hyperliquid_rows.book(asset, found, now)}

    made = _Changing(BOOK_FRAMES * FRAME_MS, now, whole)
    return Stream(made.new, made.first)


def _best(asset: Asset, now: int) -> Stream:
    time = 0

    def best(now: int) -> Any:
        nonlocal time
        time = now
        found = top(book_at(asset.found, frame_of(now)), 1)
        sides = [hyperliquid_rows.levels(asset, side) for side in (found.bids, found.asks)]
        return [side[0] if side else None for side in sides]

    def message(sides: Any) -> Any:
        return {"channel": "bbo", "data": {"coin": asset.coin, "time": time, "bbo": sides}}

    made = _Changing(FRAME_MS, now, best)
    return Stream(lambda now: map(message, made.new(now)), lambda now: map(message, made.first(now)))


def _contexts(asset: Asset, now: int) -> Stream:
    channel = "activeSpotAssetCtx" if asset.is_spot else "activeAssetCtx"

    def context(now: int) -> Any:
        return {"channel": channel, "data": {"coin": asset.coin, "ctx": hyperliquid_rows.context(asset, now)}}

    made = _Changing(_CONTEXT_MS, now, context)
    return Stream(made.new, made.first)


def _candles(asset: Asset, interval: str, now: int) -> Stream:
    if interval == "1w":
        style, turn = hyperliquid_rows.style(interval), now // _WEEK_MS

        def new_week(now: int) -> Iterable[Any]:
            nonlocal turn
            if now // _WEEK_MS != turn:
                turn = now // _WEEK_MS
                for row in candle_page(asset.found, interval, (None, None), 1, now, style):
                    yield {"channel": "candle", "data": hyperliquid_rows.candle(asset, interval, row)}

        return Stream(new_week)
    cursor = CandleCursor(asset.found, interval, now)

    def new(now: int) -> Iterable[Any]:
        for row, _, _, _ in cursor.changed_until(now):
            yield {"channel": "candle", "data": hyperliquid_rows.candle(asset, interval, row)}

    return Stream(new)


_STREAMS: dict[str, Callable[[Asset, int], Stream]] = {
    "trades": _trades,
    "l2Book": _books,
    "bbo": _best,
    "activeAssetCtx": _contexts,
}
