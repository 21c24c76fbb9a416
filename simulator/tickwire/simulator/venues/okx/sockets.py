"""OKX's dialect on sockets: JSON orders, each channel acknowledged by itself, and the text `ping`.

Source: OKX's API documentation v5, "WebSocket, Overview" (subscribe, unsubscribe, notification, error codes).
"""

from __future__ import annotations

from typing import Any

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions, decoded
from tickwire.simulator.sockets.orders import Forms, Order, Topic, carry_out
from tickwire.simulator.sockets.socket import Socket
from tickwire.simulator.venues.okx import rows as okx_rows
from tickwire.simulator.venues.okx.streams import channel

_CONNECTION = "a4d3ae55"


class Okx(Dialect):
    """The dialect of OKX. A stream's name is `trades:BTC-USDT`."""

    malformed = b'{"arg":{"channel":"trades","inst'

    def __init__(self, exchange: Exchange, business: bool) -> None:
        """Serve the candles where `business`, else all other channels."""
        self._exchange = exchange
        self._business = business

    def stream(self, name: str) -> Stream | None:
        """See Dialect.stream."""
        kind, _, instrument = name.partition(":")
        found = okx_rows.instrument(self._exchange, instrument)
        if found is None or kind.startswith("candle") != self._business:
            return None
        return channel(self._exchange, kind, found)

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        return msgspec.json.encode(_error(60012 if fault.code is None else fault.code, fault.text or "Illegal request"))

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers."""
        if text in ("ping", b"ping"):
            return [b"pong"]
        order = _order(decoded(text))
        if order is None:
            shown = text if isinstance(text, str) else text.decode(errors="replace")
            return [msgspec.json.encode(_error(60012, f"Illegal request: {shown}"))]
        return carry_out(self, socket, order, subscriptions, _FORMS)


def _order(message: dict[str, Any]) -> Order | None:
    try:
        topics = [Topic(f"{arg['channel']}:{arg['instId']}", arg) for arg in message["args"]]
        kind = message["op"]
    except (TypeError, KeyError):
        return None
    return Order(kind == "subscribe", topics, message) if kind in ("subscribe", "unsubscribe") and topics else None


def _acknowledged(order: Order, topic: Topic) -> Any:
    return {"event": order.message["op"], "arg": topic.words, "connId": _CONNECTION}


def _refused(order: Order, topic: Topic) -> Any:
    channel, instrument = topic.words["channel"], topic.words["instId"]
    return _error(60018, f"Wrong URL or channel:{channel},instId:{instrument} doesn't exist.")


def _error(code: int, message: str) -> dict[str, Any]:
    return {"event": "error", "code": str(code), "msg": message, "connId": _CONNECTION}


_FORMS = Forms(refused=_refused, per_topic=_acknowledged)
