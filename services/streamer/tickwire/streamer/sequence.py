"""Trades in the exchange's order, each once: which of those that arrive go on the tape, and when. No I/O.

Two forms behind one interface, by what the ids of an exchange are. `Counted` ids count up by one, so that a hole shows
by itself and whatever order trades arrive in can be put right. Elsewhere (`Uncounted`) only an interruption shows that
something may be missing, and only a page of REST that overlaps both sides of it shows that nothing is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from enum import Enum, auto
from itertools import groupby
from operator import attrgetter
from typing import Literal, NamedTuple, Protocol

from tickwire.feeds import Gap, Trade
from tickwire.streamer.parts import without_parts

Source = Literal["live", "rest"]

RENUMBERED_MS = 60_000
"""Trades with ids and times this far in different orders belong to different numberings."""
REMEMBERED = 4096
"""Trades whose identity is kept where ids do not count: four of the largest pages."""

_id = attrgetter("id")
_time = attrgetter("timestamp")


class Run(NamedTuple):
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
    duplicates: int
    """Trades of the live feed that had been there before."""
    malformed: int
    """Trades without a usable id."""

    @property
    def waiting(self) -> int:
        """Trades held back for what comes before them."""

    @property
    def missing(self) -> bool:
        """Whether something is, or may be, missing after `last`."""

    @property
    def next_id(self) -> int | None:
        """The id that must come next, where ids count."""

    def offer(self, trades: Sequence[Trade], received: int) -> list[Run]:
        """Live trades, as they arrive: those that go on now, with others that waited for them."""

    def page(self, trades: Sequence[Trade], received: int, reason: str) -> tuple[list[Run], Answer]:
        """A page of REST, in the exchange's order: what goes on now, and what the page proves.

        `reason` is that of the gap if the page does not adjoin what is known before it.
        """

    def interrupted(self) -> int:
        """What is offered from now on may not adjoin what was before; how many trades are no longer held."""

    def resume(self) -> list[Run]:
        """Nothing is missing: go on, with those that waited."""

    def give_up(self, reason: str) -> list[Run]:
        """Go on with those that wait, after a gap. Only while some wait."""

    def forget(self) -> int:
        """Drop those that wait; how many. They are missing from now on."""


def gap_between(before: Trade | None, after: Trade, reason: str) -> Gap:
    """The gap between two trades that are on the tape one after the other."""
    return Gap(
        since=before.timestamp if before else None,
        until=after.timestamp,
        after_id=before.id if before else None,
        before_id=after.id,
        reason=reason,
    )


def number_of(trade: Trade) -> int | None:
    """The id as a number, None where it is none."""
    try:
        return int(trade.id)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


class Counted:
    """Ids count up by one: anything may arrive in any order, and goes on when its turn comes."""

    def __init__(self, recent: Sequence[Trade] = ()) -> None:
        """`recent`: the last trades on the tape; the very last one suffices."""
        self.last = recent[-1] if recent else None
        self.duplicates = 0
        self.malformed = 0
        self._next: int | None = None
        self._ahead: dict[int, tuple[Trade, int, Source]] = {}
        self._unnumbered = False
        if self.last is not None:
            number = number_of(self.last)
            self._next = None if number is None else number + 1
            self._unnumbered = number is None

    @property
    def waiting(self) -> int:
        return len(self._ahead)

    @property
    def missing(self) -> bool:
        return bool(self._ahead)

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
                return [Run(list(trades), received, "live")]
        return self._sort_in(trades, received, "live")

    def page(self, trades: Sequence[Trade], received: int, reason: str) -> tuple[list[Run], Answer]:
        before, waited = self._next, bool(self._ahead)
        runs = self._sort_in(trades, received, "rest")
        if not self._ahead:
            # However short a page is, it may have been cut off.
            return runs, Answer.MORE if runs and not waited else Answer.COMPLETE
        if self._next != before:
            return runs, Answer.MORE
        later = any((number_of(trade) or 0) >= (before or 0) for trade in trades)
        return runs, Answer.ABSENT if later else Answer.LAGS

    def interrupted(self) -> int:
        return 0

    def resume(self) -> list[Run]:
        return []

    def give_up(self, reason: str) -> list[Run]:
        self._next = min(self._ahead)
        return self._drain(gap_between(self.last, self._ahead[self._next][0], reason))

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
        return runs


Content = tuple[int, str | None, float, float]


class Uncounted:
    """Ids, where there are any, only tell trades apart.

    A trade is known by its id. Where the feed, the tape or REST has none, it is known by (timestamp, side, price,
    amount) and how many equal ones came before it: on the same connection, or in the same page.
    """

    def __init__(self, recent: Sequence[Trade] = ()) -> None:
        """`recent`: the last trades on the tape, as many as a page of REST may hold."""
        self.last = recent[-1] if recent else None
        self.duplicates = 0
        self.malformed = 0
        self._by_id = True
        self._remembered: deque[tuple[Hashable, Trade]] = deque()
        self._known: set[Hashable] = set()
        self._held: dict[Hashable, tuple[Trade, int]] = {}
        self._anchor = 0
        """The time from which on the feed itself is whole: that of the first trades it brought."""
        self._holding = bool(recent)
        self._seen: dict[Content, int] = {}
        self._remember(self._keys(recent, {}), recent)

    @property
    def waiting(self) -> int:
        return len(self._held)

    @property
    def missing(self) -> bool:
        return self._holding

    @property
    def next_id(self) -> int | None:
        return None

    def offer(self, trades: Sequence[Trade], received: int) -> list[Run]:
        keys = self._keys(trades, self._seen)
        if self._holding:
            oldest, held_before = self._oldest, len(self._held)
            for key, trade in zip(keys, trades, strict=True):
                if key in self._known or key in self._held or trade.timestamp < oldest:
                    self.duplicates += 1
                else:
                    self._held[key] = (trade, received)
            if not held_before and self._held:
                self._anchor = min(trade.timestamp for trade, _ in self._held.values())
            return []
        fresh: Sequence[Trade] = trades
        if not (len(set(keys)) == len(keys) and self._known.isdisjoint(keys)):
            unique: dict[Hashable, Trade] = {}
            for key, trade in zip(keys, trades, strict=True):
                if key not in self._known:
                    unique.setdefault(key, trade)
            keys, fresh = list(unique), list(unique.values())
            self.duplicates += len(trades) - len(fresh)
        return self._accepted(keys, fresh, received, "live", None)

    def page(self, trades: Sequence[Trade], received: int, reason: str) -> tuple[list[Run], Answer]:
        held, oldest = self._held, self._oldest
        known = [*self._remembered, *((key, trade) for key, (trade, _) in held.items())]
        keys, trades = without_parts(self._keys(trades, {}), trades, known)
        # In one millisecond with the first trade that is remembered, there may be some from before it.
        older = keys.index(self._remembered[0][0]) if self._remembered[0][0] in keys else 0
        # Trades after the last that is also held are left to the feed, which has them or will.
        last_held = max((place for place, key in enumerate(keys) if key in held), default=-1)
        end = min((trade.timestamp for trade, _ in held.values()), default=None) if last_held < 0 else self._anchor
        overlaps = beyond = False
        found: list[tuple[Hashable, Trade, Source]] = []
        for place, (key, trade) in enumerate(zip(keys, trades, strict=True)):
            if key in held:
                found.append((key, held[key][0], "live"))
            elif place < older or key in self._known or trade.timestamp < oldest:
                overlaps = True
            elif place < last_held or end is None or trade.timestamp <= end:
                found.append((key, trade, "rest"))
            else:
                beyond = True
        reached = last_held >= 0 and trades[last_held].timestamp >= self._anchor
        gap = gap_between(self.last, found[0][1], reason) if found and not overlaps else None
        runs: list[Run] = []
        for source, group in groupby(found, key=lambda each: each[2]):
            part = list(group)
            at = max(held.pop(key)[1] for key, _, _ in part) if source == "live" else received
            runs += self._accepted([each[0] for each in part], [each[1] for each in part], at, source, gap)
            gap = None
        if reached:
            return runs + self._released(None), Answer.COMPLETE
        if runs:
            return runs, Answer.MORE
        if not held:
            return runs, Answer.COMPLETE
        return runs, Answer.ABSENT if beyond else Answer.LAGS

    def interrupted(self) -> int:
        self._seen.clear()
        self._holding = self.last is not None
        return self.forget()

    def resume(self) -> list[Run]:
        return self._released(None)

    def give_up(self, reason: str) -> list[Run]:
        first = min((trade for trade, _ in self._held.values()), key=_time)
        return self._released(gap_between(self.last, first, reason))

    def forget(self) -> int:
        dropped = len(self._held)
        self._held.clear()
        return dropped

    @property
    def _oldest(self) -> int:
        """The time of the oldest trade that is remembered: what is older is not missing."""
        return self._remembered[0][1].timestamp if self._remembered else 0

    def _released(self, gap: Gap | None) -> list[Run]:
        """Those that waited, in order of time: some may have been repeats of what was missing."""
        self._holding = False
        held, self._held = sorted(self._held.items(), key=lambda each: each[1][0].timestamp), {}
        received = max((at for _, (_, at) in held), default=0)
        return self._accepted([key for key, _ in held], [trade for _, (trade, _) in held], received, "live", gap)

    def _accepted(
        self, keys: list[Hashable], trades: Sequence[Trade], received: int, source: Source, gap: Gap | None
    ) -> list[Run]:
        if not trades:
            return []
        self._remember(keys, trades)
        self.last = trades[-1]
        return [Run(list(trades), received, source, gap)]

    def _remember(self, keys: list[Hashable], trades: Sequence[Trade]) -> None:
        self._known.update(keys)
        self._remembered.extend(zip(keys, trades, strict=True))
        while len(self._remembered) > REMEMBERED:
            self._known.discard(self._remembered.popleft()[0])

    def _keys(self, trades: Sequence[Trade], seen: dict[Content, int]) -> list[Hashable]:
        """What each trade is known by. `seen` counts equal ones among those that came the same way."""
        ids: list[Hashable] = list(map(_id, trades))
        if self._by_id and None not in ids:
            return ids
        if self._by_id:
            self._drop_ids()
        if len(seen) > REMEMBERED:
            seen.clear()
        return list(_numbered(trades, seen))

    def _drop_ids(self) -> None:
        """From now on trades are known by what they say: ids are not to be had everywhere."""
        self._by_id = False
        remembered = [trade for _, trade in self._remembered]
        self._remembered.clear()
        self._known.clear()
        self._remember(list(_numbered(remembered, self._seen if not self._holding else {})), remembered)
        held = list(self._held.values())
        keys = _numbered([trade for trade, _ in held], self._seen if self._holding else {})
        self._held = dict(zip(keys, held, strict=True))


def _numbered(trades: Iterable[Trade], seen: dict[Content, int]) -> Iterator[Hashable]:
    for trade in trades:
        content = (trade.timestamp, trade.side, trade.price, trade.amount)
        equal = seen.get(content, 0)
        seen[content] = equal + 1
        yield (*content, equal)
