"""Binance's dialect on sockets: JSON orders, acknowledged by their ids.

Source: Binance's spot API documentation, "WebSocket Streams", as of 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market.cursors import Source
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions
from tickwire.simulator.sockets.socket import Socket

_encode = msgspec.json.encode


class Binance(Dialect):
    """The dialect of one of Binance's markets, or of a recording of one."""

    malformed = b'{"e":"trade","E":17'

    def __init__(self, source: Callable[[str], Source | None]) -> None:
        self._source = source

    def opened(self, socket: Socket, query: Mapping[str, str], subscriptions: Subscriptions) -> list[bytes]:
        """Subscribe to the streams that the socket's URL names; with `/stream` each message has its stream's name."""
        path = socket.target.partition("/ws/")[2]
        combined = socket.state["combined"] = socket.target.endswith("/stream")
        names = [name for name in (query.get("streams", "") if combined else path).split("/") if "@" in name]
        return subscriptions.subscribe(socket, names) if names else []

    def stream(self, name: str) -> Stream | None:
        """See Dialect.stream."""
        source = self._source(name)
        return None if source is None else Stream(source)

    def framed(self, socket: Socket, name: str, payload: bytes) -> bytes:
        """See Dialect.framed."""
        return b'{"stream":' + _encode(name) + b',"data":' + payload + b"}" if socket.state["combined"] else payload

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        code = 2 if fault.code is None else fault.code
        return _encode({"error": {"code": code, "msg": fault.text or "Internal error"}})

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers."""
        return [_encode(_answer(socket, text, subscriptions))]


def _answer(socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> dict[str, Any]:
    try:
        order = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return {"error": {"code": 3, "msg": f"Invalid JSON: {error}"}}
    order = order if isinstance(order, dict) else {}
    id_, names, method = order.get("id"), order.get("params") or [], order.get("method")
    if method == "LIST_SUBSCRIPTIONS":
        return {"result": list(socket.names), "id": id_}
    if method == "SET_PROPERTY" and isinstance(names, list) and names[:1] == ["combined"] and len(names) == 2:
        socket.state["combined"] = names[1] is True
    elif method == "GET_PROPERTY":
        return {"result": socket.state["combined"], "id": id_}
    elif method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
        return {"error": {"code": 2, "msg": f"Invalid request: unknown variant `{method}`"}, "id": id_}
    elif not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        return {"error": {"code": 2, "msg": "Invalid request: missing field `params`"}, "id": id_}
    elif method == "UNSUBSCRIBE":
        subscriptions.unsubscribe(socket, names)
    elif subscriptions.full(socket, len(names)):
        return {"error": {"code": 2, "msg": "Invalid request: too many streams"}, "id": id_}
    else:
        # Binance acknowledges a stream that does not exist, and sends nothing.
        subscriptions.subscribe(socket, names)
    return {"result": None, "id": id_}
