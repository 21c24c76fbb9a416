"""Aggregate trades: consecutive trades of one taker at one time, price and side, as one. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tickwire.simulator.market.generated import Columns, Ints, Trades


@dataclass(frozen=True, slots=True)
class Aggregates(Columns):
    """Columns of consecutive aggregate trades. `first_id` and `last_id` are of the trades in each."""

    first_id: Ints
    last_id: Ints
    timestamp: Ints
    price: Ints
    amount: Ints
    sell: npt.NDArray[np.bool_]


def aggregates(trades: Trades) -> Aggregates:
    """Group trades into aggregate trades; one that is cut off has only the trades that are present."""
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
