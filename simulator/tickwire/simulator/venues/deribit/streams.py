"""Deribit's public channels v2, and the dialect of its sockets (JSON-RPC). No I/O.

Source of names, cadences, fields and errors: Deribit's API documentation v2, "Subscriptions", "Subscription
Management", "Session Management" (heartbeats) and "RPC error codes".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market.book import FRAME_MS
from tickwire.simulator.market.cursors import BookCursor, CandleCursor, TradeCursor, every
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions, decoded
from tickwire.simulator.sockets.orders import Forms, Order, Topic, carry_out
from tickwire.simulator.sockets.socket import Socket
from tickwire.simulator.venues.deribit import rows as deribit_rows

_INTERVALS = ("100ms", "agg2")
_INTERVAL_MS = 100
_RAW = "raw"
"""The interval that needs a key."""
_HEARTBEAT = "heartbeat:"
_LEAST_HEARTBEAT_S = 10


class Deribit(Dialect):
    """The dialect of the one socket. A stream's name is its channel: `trades.BTC-PERPETUAL.100ms`."""

    malformed = b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.100ms","data":[{"'

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def stream(self, name: str) -> Stream | None:
        """See Dialect.stream."""
        now = self._exchange.clock.now()
        if name.startswith(_HEARTBEAT):
            return Stream(every(1000 * int(name.removeprefix(_HEARTBEAT)), now, _beat))
        kind, *words = name.removeprefix("chart.").split(".")
        found = deribit_rows.instrument(self._exchange, words[0]) if words else None
        if found is None:
            return None
        match kind, words[1:]:
            case "trades", [resolution] if name.startswith("chart.") and resolution in deribit_rows.RESOLUTIONS:
                made: Any = _CandleStream(found, name, now)
            case "trades", [interval] if interval in _INTERVALS:
                made = _TradeStream(found, name, now)
            case "book", [interval] if interval in _INTERVALS:
                made = _BookStream(found, name, now)
            case "ticker", [interval] if interval in _INTERVALS:
                made = _ChangingStream(found, name, now, deribit_rows.ticker)
            case "quote", []:
                made = _ChangingStream(found, name, now, _quote)
            case _:
                return None
        return Stream(made.new, made.first)

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        return msgspec.json.encode(refusal({}, fault.code or 11050, fault.text or "bad_request"))

    def excess(self, socket: Socket) -> bytes | None:
        """See Dialect.excess."""
        return msgspec.json.encode(refusal({}, 10028, "too_many_requests"))

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers."""
        message = decoded(text)
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        match str(message.get("method")).removeprefix("public/"):
            case "subscribe" | "unsubscribe" as method:
                return self._ordered(socket, method, params.get("channels"), message, subscriptions)
            case "unsubscribe_all":
                subscriptions.unsubscribe(socket, [each for each in socket.names if not each.startswith(_HEARTBEAT)])
                answer: Any = "ok"
            case "set_heartbeat":
                seconds = params.get("interval")
                if not isinstance(seconds, int) or seconds < _LEAST_HEARTBEAT_S:
                    data = {"param": "interval", "reason": f"value must be at least {_LEAST_HEARTBEAT_S}"}
                    return [msgspec.json.encode(refusal(message, -32602, "Invalid params", data))]
                self._beats(socket, subscriptions, f"{_HEARTBEAT}{seconds}")
                answer = "ok"
            case "disable_heartbeat":
                self._beats(socket, subscriptions)
                answer = "ok"
            case "test":
                answer = {"version": "1.2.26"}
            case "get_time":
                answer = self._exchange.clock.now()
            case _:
                return [msgspec.json.encode(refusal(message, -32601, "Method not found"))]
        return [msgspec.json.encode(_result(message, answer, self._exchange.clock.now()))]

    def _ordered(
        self, socket: Socket, method: str, channels: Any, message: dict[str, Any], subscriptions: Subscriptions
    ) -> list[bytes]:
        if not channels or not isinstance(channels, list):
            data = {"param": "channels", "reason": "value required"}
            return [msgspec.json.encode(refusal(message, -32602, "Invalid params", data))]
        if method == "subscribe" and any(str(each).endswith(f".{_RAW}") for each in channels):
            reason = "raw_subscriptions_not_available_for_unauthorized"
            return [msgspec.json.encode(refusal(message, 13778, reason))]
        known = channels if method == "subscribe" else [each for each in channels if each in socket.names]
        order = Order(method == "subscribe", [Topic(str(each)) for each in known], message)
        # The result names the channels that exist; others are passed over in silence ("public/unsubscribe").
        now = self._exchange.clock.now()
        forms = Forms(
            refused=lambda order, topic: None,
            per_request=lambda order: _result(message, [topic.name for topic in order.topics], now),
        )
        return carry_out(self, socket, order, subscriptions, forms)

    def _beats(self, socket: Socket, subscriptions: Subscriptions, *name: str) -> None:
        """Begin to send heartbeats, or end it."""
        subscriptions.unsubscribe(socket, [each for each in socket.names if each.startswith(_HEARTBEAT)])
        if name:
            subscriptions.subscribe(socket, list(name))


def _beat(now: int) -> Any:
    return {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}}


def _result(message: dict[str, Any], result: Any, now: int) -> Any:
    return {"jsonrpc": "2.0", "id": message.get("id"), "result": result} | timing(now)


def timing(now: int) -> dict[str, Any]:
    """Return the fields at the end of every answer, given the exchange's time (ms)."""
    return {"testnet": False, "usIn": now * 1000, "usOut": now * 1000 + 184, "usDiff": 184}


def refusal(message: dict[str, Any], code: int | str, reason: str, data: Any = None) -> Any:
    """Return an error answer to a message."""
    id_ = {"id": message["id"]} if "id" in message else {}
    return {"jsonrpc": "2.0", **id_, "error": {"code": code, "message": reason, "data": data}}


def _notification(channel: str, data: Any) -> Any:
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


class _TradeStream:
    """The trades of 100 ms in one notification."""

    def __init__(self, found: Instrument, channel: str, now: int) -> None:
        self._found, self._channel, self._at = found, channel, now // _INTERVAL_MS
        self._cursor = TradeCursor(found, now)

    def new(self, now: int) -> Iterable[Any]:
        if now // _INTERVAL_MS == self._at:
            return
        self._at = now // _INTERVAL_MS
        found = self._cursor.new_until(now)
        if found is not None:
            before = deribit_rows.price_before(self._found, int(found.id[0]))
            rows = deribit_rows.trades(self._found, found, before)
            yield _notification(self._channel, rows)

    def first(self, now: int) -> Iterable[Any]:
        return ()


class _BookStream:
    """A snapshot of all levels, then changes, each with the id of the one before."""

    def __init__(self, found: Instrument, channel: str, now: int) -> None:
        self._found, self._channel = found, channel
        self._cursor = BookCursor(found, now)

    def new(self, now: int) -> Iterable[Any]:
        change = self._cursor.changed_until(now)
        if change is None:
            return
        sides = {
            "bids": deribit_rows.changed(self._found, change.book.bids, change.bids),
            "asks": deribit_rows.changed(self._found, change.book.asks, change.asks),
        }
        yield self._message("change", sides, {"prev_change_id": deribit_rows.change_id(change.frame)})

    def first(self, now: int) -> Iterable[Any]:
        sides = {
            name: [["new", *level] for level in deribit_rows.side(self._found, of)]
            for name, of in (("bids", self._cursor.book.bids), ("asks", self._cursor.book.asks))
        }
        return [self._message("snapshot", sides, {})]

    def _message(self, kind: str, sides: dict[str, Any], chain: dict[str, int]) -> Any:
        frame = self._cursor.frame
        data = {"type": kind, "timestamp": frame * FRAME_MS, "instrument_name": deribit_rows.name_of(self._found)}
        return _notification(self._channel, data | {"change_id": deribit_rows.change_id(frame)} | chain | sides)


def _quote(found: Instrument, now: int) -> dict[str, Any]:
    return {"timestamp": now, "instrument_name": deribit_rows.name_of(found), **deribit_rows.best(found, now)}


class _ChangingStream:
    """The whole state every 100 ms in which it changes."""

    def __init__(self, found: Instrument, channel: str, now: int, state: Callable[[Instrument, int], Any]) -> None:
        self._found, self._channel, self._state, self._at = found, channel, state, now // _INTERVAL_MS
        self._sent = state(found, now)

    def new(self, now: int) -> Iterable[Any]:
        if now // _INTERVAL_MS == self._at:
            return
        self._at = now // _INTERVAL_MS
        before, self._sent = self._sent, self._state(self._found, now)
        if {**before, "timestamp": 0} != {**self._sent, "timestamp": 0}:
            yield _notification(self._channel, self._sent)

    def first(self, now: int) -> Iterable[Any]:
        return [_notification(self._channel, self._sent)]


class _CandleStream:
    """The candle that is open, whenever it changed; one without trades is flat. Nothing says that it is closed."""

    def __init__(self, found: Instrument, channel: str, now: int) -> None:
        self._found, self._channel = found, channel
        self._cursor = CandleCursor(found, deribit_rows.RESOLUTIONS[channel.rpartition(".")[2]], now)

    def new(self, now: int) -> Iterable[Any]:
        for row, _, _, _ in self._cursor.changed_until(now):
            yield _notification(self._channel, deribit_rows.candle(self._found, row, now))

    def first(self, now: int) -> Iterable[Any]:
        return ()
