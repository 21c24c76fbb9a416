"""Recognises and converts trades in ccxt's unified form (ccxt's manual, "Trade structure"). No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tickwire.model import numbers
from tickwire.model.feeds import Trade

OF_A_TRADE = frozenset({"price", "amount", "side", "timestamp"})
OF_AN_ORDER = frozenset({"status", "remaining"})
"""Orders have all fields of trades, and these."""


def is_trade(item: object) -> bool:
    """Whether it is a trade of ccxt's unified form."""
    return isinstance(item, dict) and item.keys() >= OF_A_TRADE and item.keys().isdisjoint(OF_AN_ORDER)


def are_trades(result: object) -> bool:
    """Whether it is a list of trades, judged by the newest; an empty list is not."""
    return isinstance(result, list) and len(result) > 0 and is_trade(result[-1])


_OPPOSITE: Mapping[str, Literal["buy", "sell"]] = {"buy": "sell", "sell": "buy"}


def trade(found: dict[str, Any], symbol: str, side_of: Literal["taker", "maker"] = "taker") -> Trade:
    """Convert a ccxt trade of a market, whose side is that of `side_of` (`TradeFacts.side`).

    Raises KeyError, TypeError and ValueError.
    """
    side = found.get("side")
    if side_of == "maker":
        side = _OPPOSITE.get(side or "")
    return Trade(
        id=None if found.get("id") is None else str(found["id"]),
        timestamp=int(found["timestamp"]),
        side=side if side in ("buy", "sell") else None,
        price=numbers.price(found["price"], symbol),
        amount=numbers.amount(found["amount"]),
    )
