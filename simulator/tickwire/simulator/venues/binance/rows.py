"""Rows in Binance's form that REST endpoints and streams share. No I/O."""

from __future__ import annotations

from typing import Any

from tickwire.simulator.market.aggregates import Aggregates
from tickwire.simulator.market.decimal_texts import texts
from tickwire.simulator.market.generated import Units


def aggregate_trades(found: Aggregates, units: Units) -> list[dict[str, Any]]:
    """Return aggregate trades as the REST endpoint `aggTrades` writes them."""
    columns = zip(
        found.id.tolist(),
        texts(found.price, units.price_decimals),
        texts(found.amount, units.amount_decimals),
        found.first_id.tolist(),
        found.last_id.tolist(),
        found.timestamp.tolist(),
        found.sell.tolist(),
        strict=True,
    )
    return [
        {"a": id_, "p": price, "q": amount, "f": first, "l": last, "T": time, "m": sell, "M": True}
        for id_, price, amount, first, last, time, sell in columns
    ]
