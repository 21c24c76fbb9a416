"""Orders trades whose ids count up by one. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from tickwire.model.feeds import Gap, Trade
from tickwire.streamer.trades.ordering import (
    PageResult,
    Source,
    TradeRun,
    gap_after,
    gap_between,
    known_until,
    number_of,
)
from tickwire.streamer.trades.renumbering import FAR, RENUMBERED_MS, SLACK_MS, Arrived, BackwardIds, FarAhead

_RENUMBERED = "the exchange renumbers its trades"

_id = attrgetter("id")


class OrderingById:
    """Holds back each trade until all lower ids have been released.

    An id that is far ahead and unconfirmed blocks nothing: it is refused if later trades continue the old numbering,
    and accepted if they continue from it.
    """

    def __init__(self, recent: Sequence[Trade] = (), until: int | None = None) -> None:
        """`recent`: the last trades on the tape; one suffices. `until`: see `Ordering`."""
        self.last = recent[-1] if recent else None
        self.until = until
        self.duplicates = 0
        self.refused: list[str] = []
        number = number_of(self.last) if self.last is not None else None
        self._next = None if number is None else number + 1
        self._last_has_no_number = self.last is not None and number is None
        self._ahead: dict[int, Arrived] = {}
        self._far_ahead = FarAhead()
        self._backward = BackwardIds()
        self._compared_ms = 0
        """Timestamp of the last trade with which those ahead were compared."""
        self._left_out: str | None = None
        """Why a trade after `last` could not be used."""
        self._first_unknown = False
        """Whether trades may be missing before the first one that arrives, because of an interruption."""
        self.interrupted()

    @property
    def waiting(self) -> int:
        return len(self._ahead)

    @property
    def missing(self) -> bool:
        return bool(self._ahead) or self._first_unknown

    @property
    def next_id(self) -> int | None:
        return self._next

    # ---- live trades and REST pages

    def offer(self, trades: Sequence[Trade], received: int) -> list[TradeRun]:
        expected = self._next
        if expected is None and trades and not (self._first_unknown or self._last_has_no_number):
            expected = number_of(trades[0])
        if trades and expected is not None and not (self._ahead or self._far_ahead.arrived or self._backward.trades):
            try:
                if len(trades) == 1:
                    as_expected = int(trades[0].id) == expected  # type: ignore[arg-type]
                else:
                    as_expected = list(map(int, map(_id, trades))) == list(range(expected, expected + len(trades)))
            except (TypeError, ValueError):
                as_expected = False
            if as_expected:
                self._next = expected + len(trades)
                self.last = trades[-1]
                self._left_out = None
                return [TradeRun(list(trades), received, "live")]
        return self._sort_in(trades, received, "live")

    def take_page(
        self, trades: Sequence[Trade], received: int, reason: str, floor: int | None = None
    ) -> tuple[list[TradeRun], PageResult]:
        waited = bool(self._ahead)
        if self._first_unknown and floor is not None:
            # From `floor` on the page is whole.
            trades = [trade for trade in trades if trade.timestamp >= floor]
            numbers = [number for number in map(number_of, trades) if number is not None]
            if numbers:
                self._begin(min([*numbers, *self._ahead]))
        before = self._next
        runs = self._sort_in(trades, received, "rest")
        if not self._ahead:
            # However short the page is, it may have been cut off.
            return runs, PageResult.MORE if runs and not waited else PageResult.COMPLETE
        if runs:
            return runs, PageResult.MORE
        has_later = any((number_of(trade) or 0) >= (before or 0) for trade in trades)
        return runs, PageResult.ABSENT if has_later else PageResult.LAGS

    def set_resolution(self, resolution_ms: int) -> None:
        # Ids are compared, not times.
        pass

    def _sort_in(self, trades: Sequence[Trade], received: int, source: Source) -> list[TradeRun]:
        runs: list[TradeRun] = []
        gap: Gap | None = None
        for trade in trades:
            number = number_of(trade)
            if number is None:
                self.refused.append("the id of a trade is not a number")
                continue
            arrived = Arrived(trade, received, source)
            if self._first_unknown:
                if trade.timestamp < (self.until or 0):
                    self.duplicates += source == "live"
                else:
                    self._ahead.setdefault(number, arrived)
                continue
            if self._next is None:
                self._next = number
                if self._last_has_no_number:
                    gap = gap_between(self.last, trade, "the ids before it do not count up")
            if self._next in self._ahead and (self._far_ahead or number < self._next):
                # Compare with the last trade of this batch, not with the last one before it.
                runs += self._drain(gap)
                gap = None
            gap = self._place(number, arrived) or gap
        return runs + self._drain(gap)

    def _place(self, number: int, arrived: Arrived) -> Gap | None:
        """Put one trade among those ahead, or drop it; the gap if it proves a new numbering."""
        assert self._next is not None
        live = arrived.source == "live"
        gap: Gap | None = None
        if number < self._next and live and self._backward.add(number, arrived, self.last):
            gap = gap_between(self.last, self._backward.trades[self._backward.first].trade, _RENUMBERED)
            self._next = self._backward.first
            self._ahead = dict(self._backward.trades)
            self._backward.clear()
            return gap
        if self._far_ahead.is_confirmed_by(number, arrived.source):
            gap = self._accept_far_ahead()
        if number < self._next or number in self._ahead or (self._far_ahead and number == self._far_ahead.number):
            self.duplicates += live
        elif live or not self._is_of_older_numbering(arrived.trade):
            self._ahead[number] = arrived
        return gap

    def _accept_far_ahead(self) -> Gap | None:
        """Continue from the trade far ahead, which is confirmed now."""
        found = self._far_ahead.take()
        if found is None:
            return None
        self._next, self._ahead[found[0]] = found
        return gap_between(self.last, found[1].trade, _RENUMBERED)

    def _is_of_older_numbering(self, trade: Trade) -> bool:
        return self.last is not None and trade.timestamp < self.last.timestamp - RENUMBERED_MS

    def _drain(self, gap: Gap | None) -> list[TradeRun]:
        """Release the trades that are next, one run for each change of source."""
        runs: list[TradeRun] = []
        ahead, number = self._ahead, self._next
        while number is not None and number in ahead:
            trade, received, source = ahead.pop(number)
            number += 1
            if runs and runs[-1].source == source:
                runs[-1].trades.append(trade)
                if received != runs[-1].received:
                    runs[-1] = msgspec.structs.replace(runs[-1], received=received)
            else:
                runs.append(TradeRun([trade], received, source, None if runs else gap))
        self._next = number
        if runs:
            self.last = runs[-1].trades[-1]
            self._left_out = None
            self._backward.clear()
            self._refuse_contradicted(self.last)
        return runs

    def _refuse_contradicted(self, last: Trade) -> None:
        """Refuse held trades with higher ids than `last` that are earlier than it."""
        if self._far_ahead.is_contradicted_by(last):
            self._refuse(self._far_ahead.take())
        if self._ahead and last.timestamp >= self._compared_ms + SLACK_MS:
            self._compared_ms = last.timestamp
            for number, arrived in list(self._ahead.items()):
                if arrived.source == "live" and arrived.trade.timestamp < last.timestamp - SLACK_MS:
                    self._refuse((number, self._ahead.pop(number)))

    def _refuse(self, refused: tuple[int, Arrived] | None) -> None:
        if refused is not None:
            number, arrived = refused
            self.refused.append(
                f"a trade of id {number}, far ahead of {self._next}, which nothing confirms: {arrived.trade}"
            )

    # ---- what is missing

    def declare_complete(self, until: int) -> None:
        self.until = max(until, self.until or until)

    def left_out(self, reason: str) -> None:
        # The next trade shows the gap; until then it is unknown whether one is missing.
        self._left_out = self._left_out or reason

    def pending_gap(self, end: int) -> Gap | None:
        reason, self._left_out = self._left_out, None
        return None if reason is None else gap_after(self.last, self.until, reason, end)

    def skip_to(self, since: int, reason: str) -> list[TradeRun]:
        if not self._first_unknown:
            return []
        since = min([since, *(each.trade.timestamp for each in self._ahead.values())])
        if known_until(self) >= since:
            return []
        gap = gap_after(None, self.until, reason, since)
        self.until = since
        return [TradeRun([], 0, "rest", gap)]

    def interrupted(self) -> int:
        self._first_unknown = self.last is None and self.until is not None
        self._backward.clear()
        return 0

    def resume(self) -> list[TradeRun]:
        self._first_unknown = False
        return []

    def give_up(self, reason: str) -> list[TradeRun]:
        while self._ahead:
            first = min(self._ahead)
            if self._is_believed(first):
                gap = gap_between(self.last, self._ahead[first].trade, reason, self.until)
                self._begin(first)
                return self._drain(gap)
            self._refuse(self._far_ahead.replace(first, self._ahead.pop(first)))
        return []

    def _is_believed(self, number: int) -> bool:
        """Whether the lowest held id is near, came by REST, or has another one close after it."""
        if self._next is None or number - self._next <= FAR or self._ahead[number].source == "rest":
            return True
        return any(0 < other - number <= FAR for other in self._ahead)

    def _begin(self, number: int) -> None:
        self._next = number
        self._first_unknown = False

    def drop_waiting(self) -> int:
        dropped = len(self._ahead)
        self._ahead.clear()
        return dropped
