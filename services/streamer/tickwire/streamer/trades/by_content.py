"""Orders trades whose ids, where there are any, only tell them apart. No I/O."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import NamedTuple

from tickwire.model.feeds import Gap, Trade
from tickwire.streamer.trades import sides
from tickwire.streamer.trades.content_identity import Identity
from tickwire.streamer.trades.memory import RestContents, TradeMemory
from tickwire.streamer.trades.ordering import PageResult, Source, TradeRun, gap_after, known_until
from tickwire.venues.dialect import DropAggregated

SHORT = 20
"""Fewer trades than any exchange's page holds: a shorter page was not cut off."""

_time = attrgetter("timestamp")


class _LeftOut(NamedTuple):
    """A trade could not be used, after this trade or else after this time (ms)."""

    before: Trade | None
    until: int | None
    reason: str


class _Matched(NamedTuple):
    """A REST page compared with the trades on the tape and those held back.

    `found`: the trades that it releases, with their keys and sources. `overlaps`: the page adjoins the tape.
    `has_later`: it has trades later than those missing. `reaches_held`: it reaches the first trade that is held back.
    """

    found: list[tuple[Hashable, Trade, Source]]
    overlaps: bool
    has_later: bool
    reaches_held: bool


class OrderingByContent:
    """Holds back live trades after an interruption until REST has filled in what is missing before them.

    Trades are told apart by the keys of `Identity`.
    """

    def __init__(
        self,
        recent: Sequence[Trade] = (),
        until: int | None = None,
        identity: Identity | None = None,
        drop_aggregated: DropAggregated | None = None,
        *,
        sides_known: bool = True,
    ) -> None:
        """`recent`: the last trades on the tape, as many as a REST page may hold. `until`: see `Ordering`.

        `drop_aggregated`: see `Dialect`. `sides_known`: whether REST pages give the takers' sides.
        """
        self._sides_known = sides_known
        self._drop_aggregated = drop_aggregated
        self.last = recent[-1] if recent else None
        self.until = until
        self.duplicates = 0
        self.refused: list[str] = []
        self.identity = identity or Identity()
        self.memory = TradeMemory()
        self._held: dict[Hashable, tuple[Trade, int]] = {}
        """Live trades held back, with the time of receipt (ms)."""
        self._holds = bool(recent) or until is not None
        self._first_held_ms = 0
        """Timestamp of the first trades held back: from then on the feed itself is whole."""
        self._left_out: _LeftOut | None = None
        self._connections = 0
        self._from_rest = RestContents()
        self._settle_ids(recent)
        self.memory.add(self.identity.of_page(recent), recent, None)

    @property
    def waiting(self) -> int:
        return len(self._held)

    @property
    def missing(self) -> bool:
        return self._holds

    @property
    def next_id(self) -> int | None:
        return None

    # ---- live trades

    def offer(self, trades: Sequence[Trade], received: int) -> list[TradeRun]:
        if self._from_rest and any(self._has_other_id_by_rest(trade) for trade in trades):
            self._switch_to_content()
        self._settle_ids(trades)
        keys = self.identity.of_live(trades)
        if self._holds:
            self._hold(keys, trades, received)
            return []
        known = self.memory.keys
        fresh: Sequence[Trade] = trades
        if not (len(set(keys)) == len(keys) and known.isdisjoint(keys)):
            unique: dict[Hashable, Trade] = {}
            for key, trade in zip(keys, trades, strict=True):
                if key not in known:
                    unique.setdefault(key, trade)
            keys, fresh = list(unique), list(unique.values())
            self.duplicates += len(trades) - len(fresh)
        return self._release(keys, fresh, received, "live", None)

    def _hold(self, keys: Sequence[Hashable], trades: Sequence[Trade], received: int) -> None:
        oldest, was_empty = self._oldest_ms, not self._held
        for key, trade in zip(keys, trades, strict=True):
            if key in self.memory.keys or key in self._held or trade.timestamp < oldest:
                self.duplicates += 1
            else:
                self._held[key] = (trade, received)
        if was_empty and self._held:
            self._first_held_ms = min(trade.timestamp for trade, _ in self._held.values())

    # ---- REST pages

    def take_page(
        self, trades: Sequence[Trade], received: int, reason: str, floor: int | None = None
    ) -> tuple[list[TradeRun], PageResult]:
        if not self._sides_known:
            trades = sides.as_known(trades, self._all_known())
        if self.identity.differs(trades, self._all_known()):
            self._switch_to_content()
        self._settle_ids(trades)
        page = self._match(trades, floor)
        gap = None
        if page.found and not page.overlaps:
            _, first, source = page.found[0]
            gap = self._gap_before(first, source, self.last if floor is None else None, reason, self.until)
        runs: list[TradeRun] = []
        for source, group in groupby(page.found, key=itemgetter(2)):
            part = list(group)
            at = max(self._held.pop(key)[1] for key, _, _ in part) if source == "live" else received
            runs += self._release([each[0] for each in part], [each[1] for each in part], at, source, gap)
            gap = None
        if page.reaches_held:
            return runs + self._release_held(None), PageResult.COMPLETE
        if runs:
            return runs, PageResult.MORE
        if not self._held:
            # An empty page proves nothing: it lacks the last trade, too, from whose time on it was requested.
            return runs, PageResult.COMPLETE if page.overlaps or not self.memory else PageResult.LAGS
        return runs, PageResult.ABSENT if page.has_later else PageResult.LAGS

    def _match(self, trades: Sequence[Trade], floor: int | None) -> _Matched:
        """Find the trades of a page that are missing, or held back, and what the page proves."""
        identity, held, memory = self.identity, self._held, self.memory
        oldest = identity.time(self._oldest_ms if floor is None else floor)
        first_held = identity.time(self._first_held_ms)
        # A page as short as this was not cut off, however few of its trades are left without aggregates.
        overlaps, has_later = floor is not None and len(trades) < SHORT, False
        known = [*((each.key, each.trade) for each in memory), *((key, trade) for key, (trade, _) in held.items())]
        keys = identity.of_page(trades)
        if self._drop_aggregated is not None:
            keys, trades = self._drop_aggregated(keys, trades, known)
        # In the millisecond of the oldest remembered trade, the page may have trades from before it.
        older = keys.index(memory.oldest.key) if memory.oldest is not None and memory.oldest.key in keys else 0
        # Trades after the last held one are left to the feed, which has them or will have them.
        last_held = max((place for place, key in enumerate(keys) if key in held), default=-1)
        end = min((trade.timestamp for trade, _ in held.values()), default=None) if last_held < 0 else first_held
        found: list[tuple[Hashable, Trade, Source]] = []
        for place, (key, trade) in enumerate(zip(keys, trades, strict=True)):
            if key in held:
                found.append((key, held[key][0], "live"))
            elif place < older or key in memory.keys or trade.timestamp < oldest:
                overlaps = True
            elif place < last_held or end is None or trade.timestamp <= end:
                found.append((key, trade, "rest"))
            else:
                has_later = True
        reaches_held = last_held >= 0 and trades[last_held].timestamp >= first_held
        return _Matched(found, overlaps, has_later, reaches_held)

    def set_resolution(self, resolution_ms: int) -> None:
        if resolution_ms > self.identity.resolution_ms:
            self.identity.resolution_ms = resolution_ms
            if not self.identity.by_id:
                self._switch_to_content()

    # ---- what is missing

    def declare_complete(self, until: int) -> None:
        self.until = max(until, self.until or until)

    def left_out(self, reason: str) -> None:
        if self._left_out is None:
            self._left_out = _LeftOut(self.last, self.until, reason)

    def pending_gap(self, end: int) -> Gap | None:
        left_out, self._left_out = self._left_out, None
        return None if left_out is None else gap_after(*left_out, end)

    def skip_to(self, since: int, reason: str) -> list[TradeRun]:
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
        self._holds = self.last is not None or self.until is not None
        return self.drop_waiting()

    def resume(self) -> list[TradeRun]:
        return self._release_held(None)

    def give_up(self, reason: str) -> list[TradeRun]:
        first = min((trade for trade, _ in self._held.values()), key=_time)
        return self._release_held(self._gap_before(first, "live", self.last, reason, self.until))

    def drop_waiting(self) -> int:
        dropped = len(self._held)
        self._held.clear()
        return dropped

    @property
    def _oldest_ms(self) -> int:
        """Timestamp of the oldest remembered trade: nothing before it is missing."""
        oldest = self.memory.oldest
        return oldest.trade.timestamp if oldest is not None else self.until or 0

    # ---- releasing

    def _release_held(self, gap: Gap | None) -> list[TradeRun]:
        """Release the held trades in order of time: some may have been repetitions of missing ones."""
        self._holds = False
        held, self._held = sorted(self._held.items(), key=lambda each: each[1][0].timestamp), {}
        received = max((at for _, (_, at) in held), default=0)
        return self._release([key for key, _ in held], [trade for _, (trade, _) in held], received, "live", gap)

    def _release(
        self, keys: list[Hashable], trades: Sequence[Trade], received: int, source: Source, gap: Gap | None
    ) -> list[TradeRun]:
        if not trades:
            return []
        if self._left_out is not None and not self._holds:
            # Trades missing between two connections may have come before it: its place is not known more closely.
            before, until, reason = self._left_out
            gap = self._gap_before(trades[0], source, before, reason, until)
            self._left_out = None
        self.memory.add(keys, trades, self._connections if source == "live" else None)
        if source == "rest" and self.identity.shared is None and self.identity.by_id:
            self._from_rest.add(map(self.identity.content, trades))
        self.last = trades[-1]
        return [TradeRun(list(trades), received, source, gap)]

    def _gap_before(self, first: Trade, source: Source, last: Trade | None, reason: str, until: int | None) -> Gap:
        """The gap between two consecutive trades of the tape. REST may have cut the time of `first`: what is missing
        before it may have happened until the end of that coarser time."""
        end = first.timestamp + (self.identity.resolution_ms - 1 if source == "rest" else 0)
        return gap_after(last, until, reason, end, first.id)

    # ---- identity

    def _all_known(self) -> Iterator[Trade]:
        yield from (each.trade for each in self.memory)
        yield from (trade for trade, _ in self._held.values())

    def _has_other_id_by_rest(self, trade: Trade) -> bool:
        return self.identity.content(trade) in self._from_rest and trade.id not in self.memory.keys

    def _settle_ids(self, trades: Sequence[Trade]) -> None:
        if self.identity.lacks_ids(trades):
            self._switch_to_content()

    def _switch_to_content(self) -> None:
        """Tell trades apart by content from now on: not all have ids, or ids are not the same live and by REST."""
        held = list(self._held.values())
        keys, held_keys = self.identity.switch_to_content(
            [each.trade for each in self.memory],
            [each.trade for each in self.memory if each.connection == self._connections],
            [trade for trade, _ in held],
        )
        self.memory.rekey(keys)
        self._from_rest.clear()
        # A trade held back under another id may be on the tape.
        self._held = {key: each for key, each in zip(held_keys, held, strict=True) if key not in self.memory.keys}
