"""Trades in the exchange's order, each once: which of those that arrive go on the tape, and when. No I/O.

Two orderings behind one protocol, by what the ids of an exchange are. With `OrderingById`, ids count up by one, so a
gap shows by itself and trades may arrive in any order. With `OrderingByContent`, only an interruption shows that trades
may be missing, and only a REST page that overlaps both sides of it proves that none is. Before a tape has any trade,
the time up to which it is complete takes the place of its last trade.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Literal, NamedTuple, Protocol

from tickwire.model.feeds import Gap, Trade

Source = Literal["live", "rest"]


class TradeRun(NamedTuple):
    """Trades to append next, in order. `gap` is what is missing before the first of them."""

    trades: list[Trade]
    received: int
    source: Source
    gap: Gap | None = None


class Answer(Enum):
    """What a page of REST says about the trades that are missing."""

    COMPLETE = auto()
    """Nothing is missing any more, as far as is known."""
    MORE = auto()
    """It brought some; more may follow."""
    LAGS = auto()
    """It ends before what is known from elsewhere, so asking again later may help."""
    ABSENT = auto()
    """It has what came later, and not what is missing."""


class Ordering(Protocol):
    """The order of one feed's trades."""

    last: Trade | None
    """The last trade that went on, which everything else is compared with."""
    until: int | None
    """The time (ms, the exchange's clock) before which nothing is missing; absent until it is known. See `reached`."""
    duplicates: int
    """Trades of the live feed that had been there before."""
    refused: list[str]
    """Why trades of the live feed were refused, whoever reads it clears it: they have no usable id."""

    @property
    def waiting(self) -> int:
        """Trades held back for what comes before them."""

    @property
    def missing(self) -> bool:
        """Whether something is, or may be, missing after `last`."""

    @property
    def next_id(self) -> int | None:
        """The id that must come next, where ids count."""

    def offer(self, trades: Sequence[Trade], received: int) -> list[TradeRun]:
        """Live trades, as they arrive: those that go on now, with others that waited for them."""

    def page(
        self, trades: Sequence[Trade], received: int, reason: str, floor: int | None = None
    ) -> tuple[list[TradeRun], Answer]:
        """A page of REST, in the exchange's order: what goes on now, and what the page proves.

        `reason` is that of the gap if the page does not adjoin what is known before it. `floor` is `until` where the
        page was asked for by that time: what happened before is not missing, though no trade tells so.
        """

    def coarsen(self, resolution_ms: int) -> None:
        """REST tells times no more exactly than this."""

    def reached(self, until: int) -> None:
        """Nothing is missing before `until` (ms): it was watched until then, or is from then on."""

    def left_out(self, reason: str) -> None:
        """A trade after `last` could not be used: unless the next ones bring it after all, it is missing there."""

    def owed_gap(self, end: int) -> Gap | None:
        """What was left out, to be said before the tape is complete up to `end` (ms); it is then not owed any more."""

    def forgo(self, since: int, reason: str) -> list[TradeRun]:
        """Do without what happened before `since` (ms): a gap without trades, where any of it may be missing.

        Not where ids count: there the next trade shows whether any is.
        """

    def interrupted(self) -> int:
        """What is offered from now on may not adjoin what was before; how many trades are no longer held."""

    def resume(self) -> list[TradeRun]:
        """Nothing is missing: go on, with those that waited."""

    def give_up(self, reason: str) -> list[TradeRun]:
        """Go on with those that wait, after a gap. Only while some wait."""

    def forget(self) -> int:
        """Drop those that wait; how many. They are missing from now on."""


def known_until(ordering: Ordering) -> int:
    """The time (ms) of the last that is known of a feed. Only where something is."""
    times = [] if ordering.until is None else [ordering.until]
    return max([*times, ordering.last.timestamp] if ordering.last else times)


def gap_between(before: Trade | None, after: Trade, reason: str, until: int | None = None) -> Gap:
    """The gap between two trades that are on the tape one after the other.

    Where there is none before, it begins at `until`, before which nothing is missing.
    """
    return gap_after(before, until, reason, after.timestamp, after.id)


def gap_after(before: Trade | None, until: int | None, reason: str, end: int, before_id: str | None = None) -> Gap:
    """The gap from the last trade, or else from a time before which nothing is missing, to `end` (ms, exclusive)."""
    return Gap(
        since=before.timestamp if before else None if until is None else until - 1,
        until=end,
        after_id=before.id if before else None,
        before_id=before_id,
        reason=reason,
    )


def number_of(trade: Trade) -> int | None:
    """The id as a number, None where it is none."""
    try:
        return int(trade.id)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
