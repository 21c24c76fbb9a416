"""Numbers of a market, integers in its units, as decimal texts. No I/O."""

from __future__ import annotations

from typing import Any

import numpy as np

from tickwire.simulator.market.generated import Ints


def texts(values: Ints, decimals: int) -> list[str]:
    """Return integers in units of 10**-decimals as texts with at least eight decimals, as Binance writes them.

    `decimals` is below zero where the unit is ten or more.
    """
    if decimals <= 0:
        return [f"{value}.00000000" for value in (values * 10**-decimals).tolist()]
    pad = "0" * (8 - decimals)
    width = decimals + 1
    padded = [f"{value:0{width}d}" for value in values.tolist()]
    return [f"{text[:-decimals]}.{text[-decimals:]}{pad}" for text in padded]


def text(value: int, decimals: int) -> str:
    """Return one number as `texts` writes it."""
    return texts(np.array([value]), decimals)[0]


def short(number: Any) -> str:
    """Return a decimal text without trailing zeros."""
    text = str(number)
    return text.rstrip("0").rstrip(".") if "." in text else text
