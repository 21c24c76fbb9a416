"""Aggregate trades: consecutive trades of one taker at one time, price and side, as one. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tickwire.simulator.candles import texts
from tickwire.simulator.market import Ints, Trades, Units


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Columns of consecutive aggregate trades. `first_id` and `last_id` are of the trades in each."""

    id: Ints
    first_id: Ints
    last_id: Ints
    timestamp: Ints
    price: Ints
    amount: Ints
    sell: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, part: slice) -> Aggregates:
        return Aggregates(*(getattr(self, name)[part] for name in self.__slots__))


def aggregates(trades: Trades) -> Aggregates:
    """The aggregate trades that these trades make up; of one that is cut, as much as is there."""
    starts = np.flatnonzero(np.diff(trades.agg, prepend=trades.agg[:1] - 1))
    ends = np.append(starts[1:], len(trades)) - 1 if len(starts) else starts
    return Aggregates(
        id=trades.agg[starts],
        first_id=trades.id[starts],
        last_id=trades.id[ends],
        timestamp=trades.timestamp[starts],
        price=trades.price[starts],
        amount=np.add.reduceat(trades.amount, starts) if len(starts) else trades.amount,
        sell=trades.sell[starts],
    )


def rows(found: Aggregates, units: Units) -> list[dict[str, Any]]:
    """As Binance's REST endpoint `aggTrades` writes them."""
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
