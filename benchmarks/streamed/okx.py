"""The stand-in's OKX: markets, time, and channel `trades`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any


def event(market: str, number: int, at: int) -> bytes:
    """Return a message of the channel `trades` as OKX writes it; price and amount follow from the number."""
    return (
        b'{"arg":{"channel":"trades","instId":"%s"},"data":[{"instId":"%s","tradeId":"%d","px":"%d.%02d","sz":"0.%05d",'
        b'"side":"%s","ts":"%d","count":"1"}]}'
        % (
            market.encode(),
            market.encode(),
            number,
            60_000 + number % 7,
            number % 100,
            number % 99_999 + 1,
            b"buy" if number % 3 else b"sell",
            at,
        )
    )


def answer(path: str, kind: str, bases: Sequence[str]) -> dict[str, Any]:
    """Return an answer of REST; without trades."""
    rows: list[dict[str, str]] = []
    if path.endswith("/time"):
        rows = [{"ts": str(int(time.time() * 1000))}]
    elif path.endswith("/instruments") and kind == "SPOT":
        rows = [
            {"instType": "SPOT", "instId": f"{base}-USDT", "baseCcy": base, "quoteCcy": "USDT", "state": "live",
             "tickSz": "0.01", "lotSz": "0.00001", "minSz": "0.00001"}
            for base in bases
        ]  # fmt: skip
    return {"code": "0", "msg": "", "data": rows}


def ordered(text: str, streams: set[str]) -> list[str]:
    """Change the subscriptions of a socket, `trades:BTC-USDT`, as it orders; what is answered."""
    if text == "ping":
        return ["pong"]
    order = json.loads(text)
    for arg in order["args"]:
        name = f"{arg['channel']}:{arg['instId']}"
        (streams.add if order["op"] == "subscribe" else streams.discard)(name)
    return [json.dumps({"event": order["op"], "arg": arg}) for arg in order["args"]]
