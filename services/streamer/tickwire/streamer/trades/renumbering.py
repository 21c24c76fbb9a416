"""Tells a wrong id from a new numbering, for exchanges whose trade ids count up by one. No I/O.

Ids and timestamps have one order. A trade that contradicts it has a wrong id, or the exchange renumbers its trades.
"""

from __future__ import annotations

from typing import NamedTuple

from tickwire.model.feeds import Trade
from tickwire.streamer.trades.ordering import Source

RENUMBERED_MS = 60_000
"""Trades whose ids and times are in opposite order and this far apart belong to different numberings."""
FAR = 10_000
"""An id that is this far ahead, ten REST pages, is not believed by itself: it would make all real trades after it look
old. A trade that follows it, or REST, confirms it."""
SLACK_MS = 1000
"""A trade with a lower id that is this much later than another one contradicts it."""
FOLLOWERS = 3
"""This many trades in a row with lower ids and later times prove that the numbering went back."""


class Arrived(NamedTuple):
    """A trade that waits for the ones before it."""

    trade: Trade
    received: int
    source: Source


class BackwardIds:
    """Collects live trades with lower ids and later times than the last one, until they prove a new numbering."""

    def __init__(self) -> None:
        self.trades: dict[int, Arrived] = {}
        """By id, each one above the id before it."""

    def add(self, number: int, arrived: Arrived, last: Trade | None) -> bool:
        """Take a trade whose id is lower than expected; whether the numbering is now proven to have gone back."""
        if last is None or arrived.trade.timestamp <= last.timestamp + SLACK_MS:
            return False
        if self.trades and number - 1 != next(reversed(self.trades)):
            self.trades.clear()
        self.trades[number] = arrived
        return len(self.trades) >= FOLLOWERS or arrived.trade.timestamp > last.timestamp + RENUMBERED_MS

    @property
    def first(self) -> int:
        """The lowest id. Requires a trade."""
        return next(iter(self.trades))

    def clear(self) -> None:
        """Forget them: a trade of the old numbering came."""
        self.trades.clear()

    def __bool__(self) -> bool:
        return bool(self.trades)


class FarAhead:
    """One trade whose id is far ahead and was not confirmed in time. `number` is 0 while there is none."""

    def __init__(self) -> None:
        self.number = 0
        self.arrived: Arrived | None = None

    def __bool__(self) -> bool:
        return self.arrived is not None

    def replace(self, number: int, arrived: Arrived) -> tuple[int, Arrived] | None:
        """Remember this trade; returns the one remembered before, which is to be refused."""
        before = self.take()
        self.number, self.arrived = number, arrived
        return before

    def is_confirmed_by(self, number: int, source: Source) -> bool:
        """Whether a trade with this id confirms the remembered one: it follows it closely, or REST has the same id."""
        if self.arrived is None:
            return False
        return 0 < number - self.number <= FAR or (number == self.number and source == "rest")

    def is_contradicted_by(self, last: Trade) -> bool:
        """Whether a released trade with a lower id is later than the remembered one."""
        return self.arrived is not None and last.timestamp > self.arrived.trade.timestamp

    def take(self) -> tuple[int, Arrived] | None:
        """Return the remembered trade and forget it."""
        found = None if self.arrived is None else (self.number, self.arrived)
        self.number, self.arrived = 0, None
        return found
