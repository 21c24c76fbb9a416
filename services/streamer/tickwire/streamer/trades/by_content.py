"""The order of trades whose ids, where there are any, only tell them apart. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from tickwire.model.feeds import Gap, Trade
from tickwire.streamer.trades.aggregates import without_parts
from tickwire.streamer.trades.content_identity import Identity
from tickwire.streamer.trades.ordering import Answer, Source, TradeRun, gap_after, gap_between, known_until

REMEMBERED = 4096
"""Trades whose identity is kept: four of the largest pages."""
SHORT = 20
"""Fewer trades than any exchange's page holds: one as short was not cut off."""

_time = attrgetter("timestamp")


class _Taped(NamedTuple):
    """A trade of the tape. `connection` is that which brought it, None where it was none of this order's."""

    key: Hashable
    trade: Trade
    connection: int | None


class OrderingByContent:
    """Ids, where there are any, only tell trades apart: see `Identity` for what each is known by."""

    def __init__(
        self, recent: Sequence[Trade] = (), until: int | None = None, identity: Identity | None = None
    ) -> None:
        """`recent`: the last trades on the tape, as many as a page of REST may hold. `until`: see `Ordering`."""
        self.last = recent[-1] if recent else None
        self.until = until
        self.duplicates = 0
        self.refused: list[str] = []
        self.identity = identity or Identity()
        self._remembered: deque[_Taped] = deque()
        self._known: set[Hashable] = set()
        self._held: dict[Hashable, tuple[Trade, int]] = {}
        self._left_out: tuple[Trade | None, int | None, str] | None = None
        """After which trade, or after which time, one could not be used, and why."""
        self._anchor = 0
        """The time from which on the feed itself is whole: that of the first trades it brought."""
        self._holding = bool(recent) or until is not None
        self._connections = 0
        self._repaired: dict[Hashable, None] = {}
        """What REST brought since the last interruption, while it is not known whether ids are shared."""
        self._settle_ids(recent)
        self._remember(self.identity.of_page(recent), recent, None)

    @property
    def waiting(self) -> int:
        return len(self._held)

    @property
    def missing(self) -> bool:
        return self._holding

    @property
    def next_id(self) -> int | None:
        return None

    def offer(self, trades: Sequence[Trade], received: int) -> list[TradeRun]:
        if self._repaired and any(self._is_repaired(trade) for trade in trades):
            self._drop_ids()
        self._settle_ids(trades)
        keys = self.identity.of_live(trades)
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

    def page(
        self, trades: Sequence[Trade], received: int, reason: str, floor: int | None = None
    ) -> tuple[list[TradeRun], Answer]:
        if self.identity.differs(trades, self._all_known()):
            self._drop_ids()
        self._settle_ids(trades)
        identity, held = self.identity, self._held
        oldest, anchor = identity.time(self._oldest if floor is None else floor), identity.time(self._anchor)
        # However few are left without parts, a page as short as this was not cut off.
        short = floor is not None and len(trades) < SHORT
        known = [
            *((each.key, each.trade) for each in self._remembered),
            *((key, trade) for key, (trade, _) in held.items()),
        ]
        keys, trades = without_parts(identity.of_page(trades), trades, known)
        # In one millisecond with the first trade that is remembered, there may be some from before it.
        first = self._remembered[0].key if self._remembered else None
        older = keys.index(first) if first in keys else 0
        # Trades after the last that is also held are left to the feed, which has them or will.
        last_held = max((place for place, key in enumerate(keys) if key in held), default=-1)
        end = min((trade.timestamp for trade, _ in held.values()), default=None) if last_held < 0 else anchor
        overlaps, beyond = short, False
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
        reached = last_held >= 0 and trades[last_held].timestamp >= anchor
        gap = None
        if found and not overlaps:
            gap = gap_between(self.last if floor is None else None, found[0][1], reason, self.until)
        runs: list[TradeRun] = []
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
            # An empty page proves nothing: it lacks the last trade, too, from whose time on it was asked for.
            return runs, Answer.COMPLETE if overlaps or not self._remembered else Answer.LAGS
        return runs, Answer.ABSENT if beyond else Answer.LAGS

    def coarsen(self, resolution_ms: int) -> None:
        if resolution_ms > self.identity.resolution_ms:
            self.identity.resolution_ms = resolution_ms
            if not self.identity.by_id:
                self._drop_ids()

    def reached(self, until: int) -> None:
        self.until = max(until, self.until or until)

    def left_out(self, reason: str) -> None:
        if self._left_out is None:
            self._left_out = self.last, self.until, reason

    def owed_gap(self, end: int) -> Gap | None:
        owed, self._left_out = self._left_out, None
        return None if owed is None else gap_after(*owed, end)

    def forgo(self, since: int, reason: str) -> list[TradeRun]:
        since = min([since, *(trade.timestamp for trade, _ in self._held.values())])
        known = known_until(self)
        if known >= since:
            return []
        before = self.last if self.last and self.last.timestamp == known else None
        gap = gap_after(before, self.until, reason, since)
        self.until = since
        return [TradeRun([], 0, "rest", gap)]

    def interrupted(self) -> int:
        self.identity.reconnected()
        self._connections += 1
        self._repaired.clear()
        self._holding = self.last is not None or self.until is not None
        return self.forget()

    def resume(self) -> list[TradeRun]:
        return self._released(None)

    def give_up(self, reason: str) -> list[TradeRun]:
        first = min((trade for trade, _ in self._held.values()), key=_time)
        return self._released(gap_between(self.last, first, reason, self.until))

    def forget(self) -> int:
        dropped = len(self._held)
        self._held.clear()
        return dropped

    @property
    def _oldest(self) -> int:
        """The time of the oldest trade that is remembered: what is older is not missing."""
        return self._remembered[0].trade.timestamp if self._remembered else self.until or 0

    def _released(self, gap: Gap | None) -> list[TradeRun]:
        """Those that waited, in order of time: some may have been repeats of what was missing."""
        self._holding = False
        held, self._held = sorted(self._held.items(), key=lambda each: each[1][0].timestamp), {}
        received = max((at for _, (_, at) in held), default=0)
        return self._accepted([key for key, _ in held], [trade for _, (trade, _) in held], received, "live", gap)

    def _accepted(
        self, keys: list[Hashable], trades: Sequence[Trade], received: int, source: Source, gap: Gap | None
    ) -> list[TradeRun]:
        if not trades:
            return []
        if self._left_out is not None and not self._holding:
            # What was missing between two connections may have come before: the place is not known more closely.
            before, until, why = self._left_out
            gap = gap_between(before, trades[0], why, until)
            self._left_out = None
        self._remember(keys, trades, self._connections if source == "live" else None)
        if source == "rest" and self.identity.shared is None and self.identity.by_id:
            self._repaired.update(dict.fromkeys(map(self.identity.content, trades)))
            while len(self._repaired) > REMEMBERED:
                del self._repaired[next(iter(self._repaired))]
        self.last = trades[-1]
        return [TradeRun(list(trades), received, source, gap)]

    def _remember(self, keys: list[Hashable], trades: Sequence[Trade], connection: int | None) -> None:
        self._known.update(keys)
        self._remembered.extend(_Taped(key, trade, connection) for key, trade in zip(keys, trades, strict=True))
        while len(self._remembered) > REMEMBERED:
            self._known.discard(self._remembered.popleft().key)

    def _all_known(self) -> Iterator[Trade]:
        yield from (each.trade for each in self._remembered)
        yield from (trade for trade, _ in self._held.values())

    def _is_repaired(self, trade: Trade) -> bool:
        return self.identity.content(trade) in self._repaired and trade.id not in self._known

    def _settle_ids(self, trades: Sequence[Trade]) -> None:
        if self.identity.lacks_ids(trades):
            self._drop_ids()

    def _drop_ids(self) -> None:
        """From now on trades are known by what they say: ids are not to be had everywhere, or not the same."""
        taped, held = list(self._remembered), list(self._held.values())
        told = [each.trade for each in taped if each.connection == self._connections]
        keys, waiting = self.identity.by_content([each.trade for each in taped], told, [trade for trade, _ in held])
        self._known = set(keys)
        self._remembered = deque(each._replace(key=key) for key, each in zip(keys, taped, strict=True))
        self._repaired.clear()
        # One that is held under another id may be on the tape.
        self._held = {key: each for key, each in zip(waiting, held, strict=True) if key not in self._known}
