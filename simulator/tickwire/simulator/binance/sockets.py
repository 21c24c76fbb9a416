"""Binance's dialect on sockets: JSON orders, acknowledged by their ids.

Source: Binance's spot API documentation, "WebSocket Streams", as of 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.sockets.dialect import Source, Subscriptions
from tickwire.simulator.sockets.socket import Socket

_encode = msgspec.json.encode


class Binance:
    """The dialect of one of Binance's markets, or of a recording of one."""

    def __init__(self, source: Callable[[str], Source | None]) -> None:
        self._source = source

    def named(self, path: str, query: Mapping[str, str]) -> list[str]:
        """See Dialect.named."""
        _, _, rest = path.partition("/")
        names = query.get("streams", "") if self.combined(path) else rest
        return [name for name in names.split("/") if "@" in name]

    def combined(self, path: str) -> bool:
        """See Dialect.combined."""
        return path.partition("/")[0] == "stream"

    def source(self, name: str) -> Source | None:
        """See Dialect.source."""
        return self._source(name)

    def framed(self, socket: Socket, name: str, payload: bytes) -> bytes:
        """See Dialect.framed."""
        return b'{"stream":' + _encode(name) + b',"data":' + payload + b"}" if socket.combined else payload

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
    id_, names = order.get("id"), order.get("params") or []
    # Binance acknowledges a stream that does not exist, and sends nothing.
    orders = {"SUBSCRIBE": subscriptions.subscribe, "UNSUBSCRIBE": subscriptions.unsubscribe}
    method = order.get("method")
    if method == "LIST_SUBSCRIPTIONS":
        return {"result": list(socket.names), "id": id_}
    if method == "SET_PROPERTY" and isinstance(names, list) and names[:1] == ["combined"] and len(names) == 2:
        socket.combined = names[1] is True
    elif method == "GET_PROPERTY":
        return {"result": socket.combined, "id": id_}
    elif method not in orders:
        return {"error": {"code": 2, "msg": f"Invalid request: unknown variant `{method}`"}, "id": id_}
    elif not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        return {"error": {"code": 2, "msg": "Invalid request: missing field `params`"}, "id": id_}
    else:
        orders[method](socket, names)
    return {"result": None, "id": id_}
