"""The order book of a generated market: a pure function of the last trade and the time.

The book changes in frames of 100 ms, the cadence of Binance's fastest depth stream, and each frame counts for
sixteen update ids, so that a diff over any frames has `U` = the earlier frame's last id + 1 and `u` = its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tickwire.simulator.market.exchange import Instrument
from tickwire.simulator.market.generated import Ints, uniform

FRAME_MS = 100
_UPDATES = 16

Side = tuple[Ints, Ints]
"""Prices, best first, and their sizes, in the market's units."""


@dataclass(frozen=True, slots=True)
class Book:
    """Both sides of one frame; empty before the first trade and where only candles are played."""

    bids: Side
    asks: Side


def frame_of(now: int) -> int:
    """Return the frame that is in force at `now` (ms)."""
    return now // FRAME_MS


def last_update_id(frame: int) -> int:
    """Return the update id of the last change in a frame."""
    return frame * _UPDATES


def time_of_update(update: int) -> int:
    """Return when (ms) the frame with this last update id began."""
    return update // _UPDATES * FRAME_MS


def book_at(instrument: Instrument, frame: int) -> Book:
    """Return the book of a frame; its best prices are around the last trade before the frame began."""
    history = instrument.history
    nothing = (np.empty(0, np.int64), np.empty(0, np.int64))
    if history is None:
        return Book(nothing, nothing)
    end = history.id_at(frame * FRAME_MS)
    last = history.by_id(end - 1, end)
    if not len(last):
        return Book(nothing, nothing)
    step = instrument.units.price_step
    # A seller hits the bid; a buyer pays the ask, one step above it.
    bid = int(last.price[0]) - (0 if last.sell[0] else step)
    away = np.arange(instrument.levels, dtype=np.int64) * step
    bids, asks = bid - away, bid + step + away
    bids = bids[bids > 0]
    return Book((bids, _sizes(instrument, bids // step, frame)), (asks, _sizes(instrument, asks // step, frame)))


def _sizes(instrument: Instrument, level: Ints, frame: int) -> Ints:
    # Each level changes its size every 20 frames, each at its own time.
    turn = (frame + level * 7) // 20
    lots = 1 + (uniform(instrument.key, level * 1_000_003 + turn) * 5_000).astype(np.int64)
    return lots * instrument.units.amount_step


def changes(before: Side, after: Side) -> Side:
    """Return the levels that differ between two frames, with their new sizes; 0 for removed levels."""
    if np.array_equal(before[0], after[0]):
        # The price has not moved, which is the common case of quiet markets.
        places = np.flatnonzero(before[1] != after[1])
        return after[0][places], after[1][places]
    gone = np.setdiff1d(before[0], after[0])
    _, old, new = np.intersect1d(before[0], after[0], assume_unique=True, return_indices=True)
    changed = new[before[1][old] != after[1][new]]
    added = np.flatnonzero(~np.isin(after[0], before[0], assume_unique=True))
    places = np.sort(np.concatenate([changed, added]))
    return (
        np.concatenate([after[0][places], gone]),
        np.concatenate([after[1][places], np.zeros(len(gone), np.int64)]),
    )
