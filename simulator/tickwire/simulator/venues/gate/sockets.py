"""Gate's dialect on sockets: JSON requests with an id, each answered once, and a channel of pings. No I/O.

Source: "Spot WebSocket v4" and "Futures WebSocket v4" ("API Overview", "System API"); published frames of 2025 and 2026
for acknowledgements. A request with one unknown market is refused whole.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions, decoded
from tickwire.simulator.sockets.orders import Forms, Order, Topic, carry_out
from tickwire.simulator.sockets.socket import Socket
from tickwire.simulator.venues.gate.rows import SPOT
from tickwire.simulator.venues.gate.streams import made

_CONNECTION, _TRACE = "06a3248d8f02479a", "1dc9df8b7bf583c0d0e9e18079d504ec"
_END = {"requestId": _TRACE}
_LISTS = ("trades", "tickers", "book_ticker")
"""Channels whose payload is a list of markets; that of others has the parameters of one subscription."""


class Gate(Dialect):
    """The dialect of spot markets, or of the contracts of one settlement currency.

    A stream's name is its channel and its parameters: `spot.trades BTC_USDT`, `spot.candlesticks 1m BTC_USDT`.
    """

    malformed = b'{"time":1682689046,"channel":"spot.trades","event":"update","result":{"id":55'

    def __init__(self, exchange: Exchange, kind: str) -> None:
        """Serve `spot`, or contracts by their settlement currency: `usdt`, `btc`."""
        self._exchange, self._kind = exchange, kind
        self._prefix = "spot." if kind == SPOT else "futures."

    def stream(self, name: str) -> Stream | None:
        """See Dialect.stream."""
        channel, *parameters = name.split(" ")
        if not channel.startswith(self._prefix):
            return None
        return made(self._exchange, self._kind, channel, parameters)

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        error = {"code": 3 if fault.code is None else fault.code, "message": fault.text or "Server side error happened"}
        return msgspec.json.encode(self._answer({}) | {"channel": "", "event": "", "error": error, "result": None})

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers."""
        message = decoded(text)
        channel, event = str(message.get("channel", "")), message.get("event")
        if channel == f"{self._prefix}ping":
            pong = {"channel": f"{self._prefix}pong", "event": "", "result": None}
            return [msgspec.json.encode(self._answer(message) | pong)]
        payload = message.get("payload")
        if event not in ("subscribe", "unsubscribe") or not payload or not isinstance(payload, list):
            return [msgspec.json.encode(self._refusal(message, 1, "Invalid request body format"))]
        order = Order(event == "subscribe", _topics(channel, [str(each) for each in payload]), message)
        twice = [each.words for each in order.topics if each.name in socket.names and channel.endswith(".obu")]
        if order.subscribes and twice:
            return [msgspec.json.encode(self._refusal(message, 2, f"Alert sub {twice[0]}"))]
        return carry_out(self, socket, order, subscriptions, self._forms())

    def _forms(self) -> Forms:
        what = "currency pair:" if self._kind == SPOT else "contract"
        return Forms(
            refused=lambda order, topic: self._refusal(order.message, 2, f"unknown {what} {topic.words}"),
            per_request=lambda order: self._whole(order.message) | {"result": {"status": "success"}, **_END},
            whole=True,
        )

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        now = self._exchange.clock.now()
        id_ = {"id": message["id"]} if "id" in message else {}
        return {"time": now // 1000, "time_ms": now, **id_}

    def _whole(self, message: dict[str, Any]) -> dict[str, Any]:
        repeated = {name: message[name] for name in ("channel", "event", "payload") if name in message}
        return self._answer(message) | {"conn_id": _CONNECTION, "trace_id": _TRACE} | repeated

    def _refusal(self, message: dict[str, Any], code: int, reason: str) -> dict[str, Any]:
        error = {"error": {"code": code, "message": reason}, "result": {"status": "fail"}}
        return self._whole(message) | error | _END


def _topics(channel: str, payload: list[str]) -> list[Topic]:
    if channel.partition(".")[2] in _LISTS:
        return [Topic(f"{channel} {name}", name) for name in payload]
    market = payload[1] if channel.endswith(".candlesticks") and len(payload) > 1 else payload[0]
    return [Topic(" ".join([channel, *payload]), market)]
