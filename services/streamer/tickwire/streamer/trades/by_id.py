"""The order of trades whose ids count up by one. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from tickwire.model.feeds import Gap, Trade
from tickwire.streamer.trades.ordering import Answer, Source, TradeRun, gap_after, gap_between, known_until, number_of

RENUMBERED_MS = 60_000
"""Trades with ids and times this far in different orders belong to different numberings."""

FAR = 10_000
"""An id that is so much ahead, ten pages of REST, is not believed by itself: it would make all real trades after it
old. Another that follows it, or REST, confirms it."""
SLACK_MS = 1000
"""Ids and times have one order. A trade this much later than another, with a lower id, contradicts it."""
FOLLOWERS = 3
"""Trades in a row, of lower ids and later times than the last one, that show that the ids went back."""
_ANEW = "the exchange numbers its trades anew"

_id = attrgetter("id")


class _Arrived(NamedTuple):
    """A trade that waits for its turn."""

    trade: Trade
    received: int
    source: Source


class OrderingById:
    """Ids count up by one: anything may arrive in any order, and goes on when its turn comes.

    An id far ahead that nothing confirms moves nothing: it is refused when later trades go on in the old numbering, and
    believed when they go on from it.
    """

    def __init__(self, recent: Sequence[Trade] = (), until: int | None = None) -> None:
        """`recent`: the last trades on the tape; the very last one suffices. `until`: see `Ordering`."""
        self.last = recent[-1] if recent else None
        self.until = until
        self.duplicates = 0
        self.refused: list[str] = []
        self._next: int | None = None
        self._ahead: dict[int, _Arrived] = {}
        self._doubted: tuple[int, _Arrived] | None = None
        """One that was far ahead and not confirmed in time."""
        self._contrary: list[tuple[int, _Arrived]] = []
        """Of lower ids and later times than the last one, in a row."""
        self._compared = 0
        """Up to which time of the last trade those ahead were compared with it."""
        self._unnumbered = False
        self._left_out: str | None = None
        """Why a trade after `last` could not be used."""
        if self.last is not None:
            number = number_of(self.last)
            self._next = None if number is None else number + 1
            self._unnumbered = number is None
        self._holding = False
        """Whether the first trade may not be the first, because of an interruption before it."""
        self.interrupted()

    @property
    def waiting(self) -> int:
        return len(self._ahead)

    @property
    def missing(self) -> bool:
        return bool(self._ahead) or self._holding

    @property
    def next_id(self) -> int | None:
        return self._next

    def offer(self, trades: Sequence[Trade], received: int) -> list[TradeRun]:
        expected = self._next
        if trades and expected is not None and not (self._ahead or self._doubted or self._contrary):
            try:
                as_expected = list(map(int, map(_id, trades))) == list(range(expected, expected + len(trades)))
            except (TypeError, ValueError):
                as_expected = False
            if as_expected:
                self._next = expected + len(trades)
                self.last = trades[-1]
                self._left_out = None
                return [TradeRun(list(trades), received, "live")]
        return self._sort_in(trades, received, "live")

    def page(
        self, trades: Sequence[Trade], received: int, reason: str, floor: int | None = None
    ) -> tuple[list[TradeRun], Answer]:
        waited = bool(self._ahead)
        if self._holding and floor is not None:
            # From there on the page is whole.
            trades = [trade for trade in trades if trade.timestamp >= floor]
            there = [number for number in map(number_of, trades) if number is not None]
            if there:
                self._begin(min([*there, *self._ahead]))
        before = self._next
        runs = self._sort_in(trades, received, "rest")
        if not self._ahead:
            # However short a page is, it may have been cut off.
            return runs, Answer.MORE if runs and not waited else Answer.COMPLETE
        if runs:
            return runs, Answer.MORE
        later = any((number_of(trade) or 0) >= (before or 0) for trade in trades)
        return runs, Answer.ABSENT if later else Answer.LAGS

    def coarsen(self, resolution_ms: int) -> None:
        # Ids are compared, not times.
        pass

    def reached(self, until: int) -> None:
        self.until = max(until, self.until or until)

    def left_out(self, reason: str) -> None:
        # The next trade shows the hole; until it comes, nobody knows.
        self._left_out = self._left_out or reason

    def owed_gap(self, end: int) -> Gap | None:
        reason, self._left_out = self._left_out, None
        return None if reason is None else gap_after(self.last, self.until, reason, end)

    def forgo(self, since: int, reason: str) -> list[TradeRun]:
        if not self._holding:
            return []
        since = min([since, *(each.trade.timestamp for each in self._ahead.values())])
        if known_until(self) >= since:
            return []
        gap = gap_after(None, self.until, reason, since)
        self.until = since
        return [TradeRun([], 0, "rest", gap)]

    def interrupted(self) -> int:
        self._holding = self.last is None and self.until is not None
        self._contrary.clear()
        return 0

    def resume(self) -> list[TradeRun]:
        self._holding = False
        return []

    def give_up(self, reason: str) -> list[TradeRun]:
        while self._ahead:
            first = min(self._ahead)
            if self._is_believed(first):
                return self._go_on(first, reason)
            self._doubt(first, self._ahead.pop(first))
        return []

    def _is_believed(self, number: int) -> bool:
        """Whether the lowest id that waits is confirmed: not far ahead, by REST, or by another that follows it."""
        if self._next is None or number - self._next <= FAR or self._ahead[number].source == "rest":
            return True
        return any(0 < other - number <= FAR for other in self._ahead)

    def _doubt(self, number: int, arrived: _Arrived) -> None:
        if self._doubted is not None:
            self._refuse(*self._doubted)
        self._doubted = number, arrived

    def _refuse(self, number: int, arrived: _Arrived) -> None:
        self.refused.append(
            f"a trade of id {number}, far ahead of {self._next}, which nothing confirms: {arrived.trade}"
        )

    def _go_on(self, number: int, reason: str) -> list[TradeRun]:
        """From one that waits, after a gap."""
        gap = gap_between(self.last, self._ahead[number].trade, reason, self.until)
        self._begin(number)
        return self._drain(gap)

    def _begin(self, number: int) -> None:
        self._next = number
        self._holding = False

    def forget(self) -> int:
        dropped = len(self._ahead)
        self._ahead.clear()
        return dropped

    def _sort_in(self, trades: Sequence[Trade], received: int, source: Source) -> list[TradeRun]:
        runs: list[TradeRun] = []
        gap: Gap | None = None
        for trade in trades:
            number = number_of(trade)
            if number is None:
                self.refused.append("the id of a trade is not a number")
                continue
            arrived = _Arrived(trade, received, source)
            if self._holding:
                if trade.timestamp < (self.until or 0):
                    self.duplicates += source == "live"
                else:
                    self._ahead.setdefault(number, arrived)
                continue
            if self._next is None:
                self._next = number
                if self._unnumbered:
                    gap = gap_between(self.last, trade, "the ids before it do not count up")
            if self._next in self._ahead and self._looks_back(number):
                # What it is compared with is the last trade by now, not the last one before this batch.
                runs += self._drain(gap)
                gap = None
            if number < self._next and source == "live" and self._is_contrary(number, arrived):
                self._ahead.clear()
                self._ahead.update(self._contrary)
                gap = gap_between(self.last, self._contrary[0][1].trade, _ANEW)
                self._next = self._contrary[0][0]
                self._contrary = []
                continue
            if self._doubted is not None and self._confirms(number, source, self._doubted[0]):
                gap = gap_between(self.last, self._doubted[1].trade, _ANEW)
                self._next = self._doubted[0]
                self._ahead[self._next] = self._doubted[1]
                self._doubted = None
            if number < self._next or number in self._ahead or (self._doubted and number == self._doubted[0]):
                self.duplicates += source == "live"
            elif source == "live" or not self._of_another_numbering(trade):
                self._ahead[number] = arrived
        return runs + self._drain(gap)

    def _looks_back(self, number: int) -> bool:
        """Whether a trade of this id is compared with the last one."""
        return self._doubted is not None or number < (self._next or 0)

    def _confirms(self, number: int, source: Source, doubted: int) -> bool:
        return 0 < number - doubted <= FAR or (number == doubted and source == "rest")

    def _is_contrary(self, number: int, arrived: _Arrived) -> bool:
        """Whether the ids went back: by a trade much later than the last, or several somewhat later in a row."""
        if self.last is None or arrived.trade.timestamp <= self.last.timestamp + SLACK_MS:
            return False
        if self._contrary and self._contrary[-1][0] + 1 != number:
            self._contrary = []
        self._contrary.append((number, arrived))
        return len(self._contrary) >= FOLLOWERS or arrived.trade.timestamp > self.last.timestamp + RENUMBERED_MS

    def _refuse_contradicted(self) -> None:
        """Of those that wait, the ones whose ids are contradicted by the last trade: it is later."""
        last = self.last
        if last is None:
            return
        if self._doubted is not None and last.timestamp > self._doubted[1].trade.timestamp:
            self._refuse(*self._doubted)
            self._doubted = None
        if self._ahead and last.timestamp >= self._compared + SLACK_MS:
            self._compared = last.timestamp
            for number, arrived in list(self._ahead.items()):
                if arrived.source == "live" and arrived.trade.timestamp < last.timestamp - SLACK_MS:
                    self._refuse(number, self._ahead.pop(number))

    def _of_another_numbering(self, trade: Trade) -> bool:
        return self.last is not None and trade.timestamp < self.last.timestamp - RENUMBERED_MS

    def _drain(self, gap: Gap | None) -> list[TradeRun]:
        """Those whose turn it is, one run for each change of source."""
        runs: list[TradeRun] = []
        ahead, number = self._ahead, self._next
        while number is not None and number in ahead:
            trade, received, source = ahead.pop(number)
            number += 1
            if runs and runs[-1].source == source:
                runs[-1].trades.append(trade)
                if received != runs[-1].received:
                    runs[-1] = runs[-1]._replace(received=received)
            else:
                runs.append(TradeRun([trade], received, source, None if runs else gap))
        self._next = number
        if runs:
            self.last = runs[-1].trades[-1]
            self._left_out = None
            self._contrary.clear()
            self._refuse_contradicted()
        return runs
