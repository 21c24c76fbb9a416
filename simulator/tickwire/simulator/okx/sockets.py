"""OKX's dialect on sockets: JSON orders, each channel acknowledged by itself, and the text `ping`.

Source: OKX's API documentation v5, "WebSocket, Overview" (subscribe, unsubscribe, notification, error codes).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.okx import rows as okx_rows
from tickwire.simulator.okx.streams import Channel, channel
from tickwire.simulator.sockets.dialect import Source, Subscriptions
from tickwire.simulator.sockets.socket import Socket

_encode = msgspec.json.encode
_CONNECTION = "a4d3ae55"


class Okx:
    """The dialect of OKX. A stream's name is `trades:BTC-USDT`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def named(self, path: str, query: Mapping[str, str]) -> list[str]:
        """See Dialect.named."""
        return []

    def combined(self, path: str) -> bool:
        """See Dialect.combined."""
        return False

    def source(self, name: str) -> Source | None:
        """See Dialect.source."""
        kind, _, instrument = name.partition(":")
        found = okx_rows.instrument(self._exchange, instrument)
        return None if found is None else channel(self._exchange, kind, found)

    def framed(self, socket: Socket, name: str, payload: bytes) -> bytes:
        """See Dialect.framed."""
        return payload

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        return _error(60012 if fault.code is None else fault.code, fault.text or "Illegal request")

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers."""
        if text in ("ping", b"ping"):
            return [b"pong"]
        try:
            order = msgspec.json.decode(text)
            kind, args = order["op"], [(arg["channel"], arg["instId"], arg) for arg in order["args"]]
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError):
            kind, args = "", []
        if kind not in ("subscribe", "unsubscribe") or not args:
            shown = text if isinstance(text, str) else text.decode(errors="replace")
            return [_error(60012, f"Illegal request: {shown}")]
        answers: list[bytes] = []
        for name, instrument, arg in args:
            stream = f"{name}:{instrument}"
            if not self._has(socket, name, stream):
                answers.append(_error(60018, f"Wrong URL or channel:{name},instId:{instrument} doesn't exist."))
                continue
            confirmed = _encode({"event": kind, "arg": arg, "connId": _CONNECTION})
            if kind == "unsubscribe":
                subscriptions.unsubscribe(socket, [stream])
                answers.append(confirmed)
                continue
            subscriptions.subscribe(socket, [stream])
            running = cast(Channel, subscriptions.running(socket.venue, stream))
            answers += [confirmed, *map(_encode, running.first(self._exchange.clock.now()))]
        return answers

    def _has(self, socket: Socket, name: str, stream: str) -> bool:
        return name.startswith("candle") == socket.target.endswith("business") and self.source(stream) is not None


def _error(code: int, message: str) -> bytes:
    body: dict[str, Any] = {"event": "error", "code": str(code), "msg": message, "connId": _CONNECTION}
    return _encode(body)
