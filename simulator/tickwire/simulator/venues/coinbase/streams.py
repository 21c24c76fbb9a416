"""Coinbase's public channels, and the dialect of its sockets. No I/O.

Source of names, cadences, fields and limits: Coinbase's documentation of Advanced Trade, "WebSocket Channels",
"WebSocket Overview" and "WebSocket Rate Limits". A recorded session has the snapshot of a subscription before its
acknowledgement, and numbers all frames of a socket by `sequence_num`, from 0 on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market.book import FRAME_MS, Side
from tickwire.simulator.market.cursors import BookCursor, TradeCursor, every
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions, decoded
from tickwire.simulator.sockets.socket import Socket
from tickwire.simulator.venues.coinbase import rows as coinbase_rows

TRADES_MS = 250
""""Market Trades Channel": the updates of so much time are batched."""
SNAPSHOT_TRADES = 100
_HEARTBEATS = "heartbeats"
_HEARTBEAT_MS = 1000
_TICKER_MS = 100
_BATCH_MS = 5000
_CANDLE_MS = 1000
_MESSAGES = {"level2": "l2_data"}
"""The channel that messages name, where it is not the one of the subscription."""


class Coinbase(Dialect):
    """The dialect of Advanced Trade. A stream's name is `market_trades:BTC-USD`, or `heartbeats:`."""

    malformed = b'{"channel":"market_trades","client_id":"","timest'

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def stream(self, name: str) -> Stream | None:
        """See Dialect.stream."""
        channel, _, id_ = name.partition(":")
        now = self._exchange.clock.now()
        if channel == _HEARTBEATS:
            return Stream(every(_HEARTBEAT_MS, now, _heartbeat))
        found = coinbase_rows.product(self._exchange, id_)
        if found is None:
            return None
        # Products in USDC have the book of those in USD, and its name.
        id_, of = found.alias or id_, found.of
        match channel:
            case "market_trades":
                trades = _Trades(id_, of, now)
                return Stream(trades.new, trades.first)
            case "level2":
                book = _Book(id_, of, now)
                return Stream(book.new, book.first)
            case "ticker" | "ticker_batch":
                ticker = _Ticker(channel, id_, of, now)
                return Stream(ticker.new, ticker.first)
            case "candles":
                candles = _Candles(id_, of)
                return Stream(every(_CANDLE_MS, now, candles.update), candles.first)
        return None

    def framed(self, socket: Socket, name: str, payload: bytes) -> bytes:
        """See Dialect.framed: numbers the frame."""
        number = socket.state.get("frames", 0)
        socket.state["frames"] = number + 1
        return payload.replace(b'"sequence_num":-1', b'"sequence_num":%d' % number, 1)

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        return msgspec.json.encode(_refusal(fault.text or "authentication failure"))

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers: one request names one channel; its products get snapshots, then it is acknowledged."""
        message = decoded(text)
        kind, channel, products = message.get("type"), message.get("channel"), message.get("product_ids") or []
        if kind not in ("subscribe", "unsubscribe") or not isinstance(channel, str) or not isinstance(products, list):
            return [msgspec.json.encode(_refusal("invalid message"))]
        names = [f"{channel}:"] if channel == _HEARTBEATS else [f"{channel}:{each}" for each in products]
        if not names or any(self.stream(name) is None for name in names):
            return [msgspec.json.encode(_refusal("failed to subscribe: channel or product_ids is invalid"))]
        answers: list[bytes] = []
        if kind == "subscribe":
            answers = subscriptions.subscribe(socket, names)
        else:
            subscriptions.unsubscribe(socket, names)
        return [*answers, self._acknowledged(socket)]

    def _acknowledged(self, socket: Socket) -> bytes:
        """Return the answer to each request: all subscriptions of the socket, by channel."""
        held: dict[str, list[str]] = {}
        for name in socket.names:
            channel, _, id_ = name.partition(":")
            held.setdefault(channel, []).append(id_ or _HEARTBEATS)
        frame = _message("subscriptions", self._exchange.clock.now(), {"subscriptions": held})
        return self.framed(socket, "", msgspec.json.encode(frame))


def _message(channel: str, now: int, *events: Any) -> dict[str, Any]:
    return {"channel": channel, "client_id": "", "timestamp": coinbase_rows.iso(now), "sequence_num": -1,
            "events": list(events)}  # fmt: skip


def _refusal(reason: str) -> dict[str, Any]:
    return {"type": "error", "message": reason}


def _heartbeat(now: int) -> Any:
    shown = coinbase_rows.iso(now)
    time = f"{shown[:10]} {shown[11:26]}000+00:00"
    return _message(_HEARTBEATS, now, {"current_time": time, "heartbeat_counter": now // _HEARTBEAT_MS})


class _Trades:
    """The trades of 250 ms in one message, the newest first; the last 100 at first."""

    def __init__(self, id_: str, found: Instrument, now: int) -> None:
        self._id, self._found, self._batch = id_, found, now // TRADES_MS
        self._cursor = TradeCursor(found, now)

    def new(self, now: int) -> Iterable[Any]:
        if now // TRADES_MS == self._batch:
            return
        self._batch = now // TRADES_MS
        found = self._cursor.new_until(now)
        if found is not None:
            yield self._message("update", found, now)

    def first(self, now: int) -> Iterable[Any]:
        found = self._cursor.newest(SNAPSHOT_TRADES)
        if found is not None:
            yield self._message("snapshot", found, now)

    def _message(self, kind: str, found: Trades, now: int) -> Any:
        rows = coinbase_rows.trades(self._id, self._found, found)
        return _message("market_trades", now, {"type": kind, "trades": rows[::-1]})


class _Book:
    """A snapshot of the whole book, then what changed."""

    def __init__(self, id_: str, found: Instrument, now: int) -> None:
        self._id, self._found, self._cursor = id_, found, BookCursor(found, now)

    def new(self, now: int) -> Iterable[Any]:
        change = self._cursor.changed_until(now)
        if change is not None:
            yield self._message("update", change.bids, change.asks)

    def first(self, now: int) -> Iterable[Any]:
        return [self._message("snapshot", self._cursor.book.bids, self._cursor.book.asks)]

    def _message(self, kind: str, bids: Side, asks: Side) -> Any:
        time = coinbase_rows.iso(self._cursor.frame * FRAME_MS)
        updates = [
            {"side": name, "event_time": time, "price_level": price, "new_quantity": size}
            for name, side in (("bid", bids), ("offer", asks))
            for price, size in coinbase_rows.levels(self._found, side)
        ]
        event = {"type": kind, "product_id": self._id, "updates": updates}
        return _message(_MESSAGES["level2"], self._cursor.frame * FRAME_MS, event)


class _Ticker:
    """The ticker when it changes; that of `ticker_batch` each five seconds, without the best prices."""

    def __init__(self, channel: str, id_: str, found: Instrument, now: int) -> None:
        self._channel, self._id, self._found = channel, id_, found
        self._width = _BATCH_MS if channel == "ticker_batch" else _TICKER_MS
        self._at = now // self._width
        self._state = self._fields(now)

    def _fields(self, now: int) -> dict[str, str]:
        fields = coinbase_rows.ticker(self._id, self._found, now)
        hidden = self._channel == "ticker_batch"
        return {name: value for name, value in fields.items() if not (hidden and name.startswith("best_"))}

    def new(self, now: int) -> Iterable[Any]:
        if now // self._width == self._at:
            return
        self._at, before = now // self._width, self._state
        self._state = self._fields(now)
        if self._state != before:
            yield _message(self._channel, now, {"type": "update", "tickers": [self._state]})

    def first(self, now: int) -> Iterable[Any]:
        return [_message(self._channel, now, {"type": "snapshot", "tickers": [self._state]})]


class _Candles:
    """The open candle of five minutes each second."""

    def __init__(self, id_: str, found: Instrument) -> None:
        self._id, self._found = id_, found

    def update(self, now: int) -> Any:
        return self._message("update", now, 1)

    def first(self, now: int) -> Iterable[Any]:
        return [self._message("snapshot", now, 100)]

    def _message(self, kind: str, now: int, count: int) -> Any:
        rows = self._found.candles.page("5m", None, now, count, now)
        order = ("start", "high", "low", "open", "close", "volume")
        found = [coinbase_rows.candle(row) for row in reversed(rows)]
        candles = [{name: each[name] for name in order} | {"product_id": self._id} for each in found]
        return _message("candles", now, {"type": kind, "candles": candles})
