"""Checks numbers that an exchange sends: prices, amounts, volumes. Pure.

A price is finite and above zero, an amount finite and not below zero. Only a combination of instruments (a calendar
spread; deribit's `future_combo` and `option_combo`) may trade at zero or below, because its price is a difference.
ccxt gives such a market no `BASE/QUOTE` symbol, so a symbol without `/` is one.

JSON text such as `"NaN"` and `"Infinity"` converts to a float without an error, and msgspec writes NaN as null, which
no consumer can decode. Numbers that fail here are rejected before they are ordered, built into candles or published.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

LARGEST = 1e100
"""The largest magnitude accepted: products and sums of two such numbers are still finite."""

Price = Annotated[float, Meta(gt=0, le=LARGEST)]
"""A price, checked by msgspec where a message is decoded."""
Amount = Annotated[float, Meta(ge=0, le=LARGEST)]
"""An amount, a volume, or the best price of a side that may be empty (0), checked likewise."""

CARRIED = 1e150
"""The largest magnitude in a message: sums of accepted numbers fit, and the product of two is still finite."""
Signed = Annotated[float, Meta(ge=-CARRIED, le=CARRIED)]
"""A price of any market, including combinations, in a message."""
Total = Annotated[float, Meta(ge=0, le=CARRIED)]
"""An amount or a volume in a message."""


def price(value: Any, symbol: str = "/") -> float:
    """A price of a market. Raises TypeError and ValueError if `value` cannot be one."""
    number = float(value)
    # Written so that NaN fails.
    if 0 < number <= LARGEST or ("/" not in symbol and -LARGEST <= number <= LARGEST):
        return number
    raise ValueError(f"a price of {value}")


def amount(value: Any) -> float:
    """An amount or a volume. Raises TypeError and ValueError if `value` cannot be one."""
    number = float(value)
    if 0 <= number <= LARGEST:
        return number
    raise ValueError(f"an amount of {value}")


def level(found: Any, symbol: str = "/") -> tuple[float, float]:
    """Price and amount of a level of an order book; further elements are ignored.

    Raises TypeError, ValueError, IndexError and KeyError if `found` is not a level.
    """
    return price(found[0], symbol), amount(found[1])
