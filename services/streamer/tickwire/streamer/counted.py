"""The order of trades whose ids count up by one. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from tickwire.feeds import Gap, Trade
from tickwire.streamer.sequence import Answer, Run, Source, gap_after, gap_between, known_until, number_of

RENUMBERED_MS = 60_000
"""Trades with ids and times this far in different orders belong to different numberings."""

_id = attrgetter("id")


class Counted:
    """Ids count up by one: anything may arrive in any order, and goes on when its turn comes."""

    def __init__(self, recent: Sequence[Trade] = (), until: int | None = None) -> None:
        """`recent`: the last trades on the tape; the very last one suffices. `until`: see `Ordering`."""
        self.last = recent[-1] if recent else None
        self.until = until
        self.duplicates = 0
        self.malformed = 0
        self._next: int | None = None
        self._ahead: dict[int, tuple[Trade, int, Source]] = {}
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

    def offer(self, trades: Sequence[Trade], received: int) -> list[Run]:
        expected = self._next
        if trades and expected is not None and not self._ahead:
            try:
                as_expected = list(map(int, map(_id, trades))) == list(range(expected, expected + len(trades)))
            except (TypeError, ValueError):
                as_expected = False
            if as_expected:
                self._next = expected + len(trades)
                self.last = trades[-1]
                self._left_out = None
                return [Run(list(trades), received, "live")]
        return self._sort_in(trades, received, "live")

    def page(
        self, trades: Sequence[Trade], received: int, reason: str, floor: int | None = None
    ) -> tuple[list[Run], Answer]:
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

    def reached(self, until: int) -> None:
        self.until = max(until, self.until or until)

    def left_out(self, reason: str) -> None:
        # The next trade shows the hole; until it comes, nobody knows.
        self._left_out = self._left_out or reason

    def owed_gap(self, end: int) -> Gap | None:
        reason, self._left_out = self._left_out, None
        return None if reason is None else gap_after(self.last, self.until, reason, end)

    def forgo(self, since: int, reason: str) -> list[Run]:
        if not self._holding:
            return []
        since = min([since, *(trade.timestamp for trade, _, _ in self._ahead.values())])
        if known_until(self) >= since:
            return []
        gap = gap_after(None, self.until, reason, since)
        self.until = since
        return [Run([], 0, "rest", gap)]

    def interrupted(self) -> int:
        self._holding = self.last is None and self.until is not None
        return 0

    def resume(self) -> list[Run]:
        self._holding = False
        return []

    def give_up(self, reason: str) -> list[Run]:
        first = min(self._ahead)
        gap = gap_between(self.last, self._ahead[first][0], reason, self.until)
        self._begin(first)
        return self._drain(gap)

    def _begin(self, number: int) -> None:
        self._next = number
        self._holding = False

    def forget(self) -> int:
        dropped = len(self._ahead)
        self._ahead.clear()
        return dropped

    def _sort_in(self, trades: Sequence[Trade], received: int, source: Source) -> list[Run]:
        runs: list[Run] = []
        gap: Gap | None = None
        for trade in trades:
            number = number_of(trade)
            if number is None:
                self.malformed += 1
                continue
            if self._holding:
                if trade.timestamp < (self.until or 0):
                    self.duplicates += source == "live"
                else:
                    self._ahead.setdefault(number, (trade, received, source))
                continue
            if self._next is None:
                self._next = number
                if self._unnumbered:
                    gap = gap_between(self.last, trade, "the ids before it do not count up")
            if number < self._next and source == "live" and self._renumbered(trade):
                runs += self._drain(gap)
                self._ahead.clear()
                gap = gap_between(self.last, trade, "the exchange numbers its trades anew")
                self._next = number
            if number < self._next or number in self._ahead:
                self.duplicates += source == "live"
            elif source == "live" or not self._of_another_numbering(trade):
                self._ahead[number] = (trade, received, source)
        return runs + self._drain(gap)

    def _renumbered(self, trade: Trade) -> bool:
        return self.last is not None and trade.timestamp > self.last.timestamp + RENUMBERED_MS

    def _of_another_numbering(self, trade: Trade) -> bool:
        return self.last is not None and trade.timestamp < self.last.timestamp - RENUMBERED_MS

    def _drain(self, gap: Gap | None) -> list[Run]:
        """Those whose turn it is, one run for each change of source."""
        runs: list[Run] = []
        ahead, number = self._ahead, self._next
        while number is not None and number in ahead:
            trade, received, source = ahead.pop(number)
            number += 1
            if runs and runs[-1].source == source:
                runs[-1].trades.append(trade)
                if received != runs[-1].received:
                    runs[-1] = runs[-1]._replace(received=received)
            else:
                runs.append(Run([trade], received, source, None if runs else gap))
        self._next = number
        if runs:
            self.last = runs[-1].trades[-1]
            self._left_out = None
        return runs
