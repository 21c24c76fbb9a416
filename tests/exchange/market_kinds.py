"""A market of each kind, as far as parsers of candles read it."""

from __future__ import annotations

from typing import Any


def market(kind: str) -> dict[str, Any]:
    """`kind`: spot, linear or inverse."""
    spot = kind == "spot"
    return {
        "id": "BTC", "symbol": "BTC/USD", "type": "spot" if spot else "swap", "spot": spot, "contract": not spot,
        "linear": kind == "linear", "inverse": kind == "inverse",
    }  # fmt: skip
