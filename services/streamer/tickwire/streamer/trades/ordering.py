"""Puts the trades of one feed into the exchange's order, each once, and decides which may be appended. No I/O.

There are two orderings behind one protocol. `OrderingById` is for exchanges whose ids count up by one: a gap shows by
itself, and trades may arrive in any order. `OrderingByContent` is for all others: only an interruption shows that
trades may be missing, and only a REST page that overlaps both sides of it proves that none is.

While a tape has no trade yet, the time up to which it is complete takes the place of its last trade.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Literal, Protocol

from msgspec import Struct

from tickwire.model.feeds import Gap, Trade

Source = Literal["live", "rest"]


class TradeRun(Struct, frozen=True, gc=False):
    """Trades to append next, in order. `gap` is what is missing before the first of them."""

    trades: list[Trade]
    received: int
    source: Source
    gap: Gap | None = None


class PageResult(Enum):
    """What a REST page proves about the missing trades."""

    COMPLETE = auto()
    """As far as is known, nothing is missing any more."""
    MORE = auto()
    """The page had missing trades; there may be more of them."""
    LAGS = auto()
    """The page ends before the trades that are already known: REST may have more later."""
    ABSENT = auto()
    """The page has later trades, but not the missing ones."""


class Ordering(Protocol):
    """The order of one feed's trades."""

    last: Trade | None
    """The last trade released for appending; all others are compared with it."""
    until: int | None
    """The time (ms, the exchange's clock) before which nothing is missing; None while that is unknown."""
    duplicates: int
    """Number of live trades that had been released before."""
    refused: list[str]
    """Reasons why live trades were refused (no usable id). The reader clears the list."""

    @property
    def waiting(self) -> int:
        """Number of trades held back until those before them arrive."""

    @property
    def missing(self) -> bool:
        """Whether trades are, or may be, missing after `last`."""

    @property
    def next_id(self) -> int | None:
        """The id of the next trade, for exchanges whose ids count up."""

    def offer(self, trades: Sequence[Trade], received: int) -> list[TradeRun]:
        """Take live trades as they arrive; returns those that can be appended now."""

    def take_page(
        self, trades: Sequence[Trade], received: int, reason: str, floor: int | None = None
    ) -> tuple[list[TradeRun], PageResult]:
        """Take a REST page in the exchange's order; returns what can be appended now and what the page proves.

        `reason` is that of the gap if the page does not adjoin the last trade. `floor` (ms) is `until` if the page was
        requested from that time on: nothing before it is missing, though no trade proves it.
        """

    def set_resolution(self, resolution_ms: int) -> None:
        """REST timestamps are no finer than this."""

    def declare_complete(self, until: int) -> None:
        """Nothing is missing before `until` (ms): the feed was watched until then, or is from then on."""

    def left_out(self, reason: str) -> None:
        """A trade after `last` could not be used. It is missing, unless REST or the feed brings it after all."""

    def pending_gap(self, end: int) -> Gap | None:
        """The gap of a trade left out before `end` (ms), to be published before the tape is declared complete.

        Each is returned once.
        """

    def skip_to(self, since: int, reason: str) -> list[TradeRun]:
        """Give up what happened before `since` (ms): an empty run with a gap, if any of it may be missing.

        Does nothing where ids count up and a last trade is known: there the next trade shows what is missing.
        """

    def interrupted(self) -> int:
        """Live trades after this call may not adjoin those before it. Returns the number of dropped held trades."""

    def resume(self) -> list[TradeRun]:
        """Nothing is missing: release the held trades."""

    def give_up(self, reason: str) -> list[TradeRun]:
        """Release the held trades after a gap. Requires at least one."""

    def drop_waiting(self) -> int:
        """Drop the held trades; they count as missing from now on. Returns how many."""


def known_until(ordering: Ordering) -> int:
    """The time (ms) up to which the feed is known. Requires a last trade or a known `until`."""
    times = [] if ordering.until is None else [ordering.until]
    return max([*times, ordering.last.timestamp] if ordering.last else times)


def gap_between(before: Trade | None, after: Trade, reason: str, until: int | None = None) -> Gap:
    """The gap between two consecutive trades of the tape. Without `before` it begins at `until`."""
    return gap_after(before, until, reason, after.timestamp, after.id)


def gap_after(before: Trade | None, until: int | None, reason: str, end: int, before_id: str | None = None) -> Gap:
    """The gap from `before`, or else from `until` (before which nothing is missing), to `end` (ms, exclusive)."""
    return Gap(
        since=before.timestamp if before else None if until is None else until - 1,
        until=end,
        after_id=before.id if before else None,
        before_id=before_id,
        reason=reason,
    )


def number_of(trade: Trade) -> int | None:
    """The id as a number; None if it is not one."""
    try:
        return int(trade.id)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
