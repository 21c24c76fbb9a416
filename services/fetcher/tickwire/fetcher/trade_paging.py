"""Pages through the history of a market's trades, and says what the answers prove. No I/O but through `TradeSource`.

A range `[since, until)` of the venue's time is proven if the venue has no other trades in it than those of the pages.
What a page has of its first or last millisecond may be continued on the next one; so that is proven with the next.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple, Protocol

from tickwire.archive_files.proven_pages import Proven
from tickwire.exchange.trade_history import number_of
from tickwire.model.feeds import Trade
from tickwire.model.ranges import Range

SETTLED_MS = 60_000
"""How much older than the exchange's time a trade is that is certainly in its REST API."""


class Ended(NamedTuple):
    """What is not proven of the wanted range, and why."""

    since: int
    until: int
    reason: str


class TradeSource(Protocol):
    """The history of one market, with retries. Methods raise TickwireError."""

    async def now(self) -> int:
        """The exchange's time, ms."""

    @property
    def reach_ms(self) -> int | None:
        """How far back the exchange gives trades, if it says so."""

    async def newest(self) -> list[Trade]:
        """The newest trades."""

    async def from_id(self, first: int, limit: int | None = None) -> list[Trade]:
        """Trades from an id on."""

    async def from_time(self, since: int) -> list[Trade]:
        """Trades from a time (ms) on, the oldest of these."""

    async def before_time(self, until: int) -> list[Trade]:
        """The newest trades before a time (ms)."""

    async def before_id(self, id_: str) -> list[Trade]:
        """The newest trades before the one with an id."""


async def by_id(source: TradeSource, wanted: Range) -> AsyncGenerator[Proven | Ended, None]:
    """The trades of a range where ids count up by one: an id that is missing is missing at the venue."""
    asked_at = await source.now()
    newest = await source.newest()
    if not newest or newest[-1].timestamp < wanted.since:
        until = _settled(wanted, asked_at, wanted.since) if newest else wanted.since
        yield Proven(wanted.since, until, [])
        if until < wanted.until:
            yield Ended(until, wanted.until, "the exchange has no later trades yet")
        return
    first = await _first_id(source, newest, wanted.since)
    at, held, expected = wanted.since, list[Trade](), first
    while True:
        asked_at = await source.now()
        page = await source.from_id(expected)
        if not page:
            until = _settled(wanted, asked_at, at)
            yield Proven(at, until, [each for each in held if each.timestamp < wanted.until])
            if until < wanted.until:
                yield Ended(until, wanted.until, "the exchange has no later trades yet")
            return
        page = [each for each in page if number_of(each) >= expected]
        if not page:
            yield Proven(at, at, [each for each in held if each.timestamp < wanted.until])
            yield Ended(at, wanted.until, f"the exchange repeats trades before {expected}, which were not requested")
            return
        for trade in page:
            # Some markets count from 0, others from 1.
            if number_of(trade) != expected and (expected, number_of(trade)) != (0, 1):
                # Of the milliseconds beside the hole not all are known.
                last = held[-1].timestamp if held else at
                yield Proven(at, max(at, last), held)
                after = min(trade.timestamp + 1, wanted.until)
                if after > last:
                    yield Ended(last, after, f"the exchange has no trades {expected} to {number_of(trade) - 1}")
                at, held = max(at, after), []
            if trade.timestamp >= wanted.until:
                yield Proven(at, wanted.until, held)
                return
            held.append(trade)
            expected = number_of(trade) + 1
        last = max(at, held[-1].timestamp)
        yield Proven(at, last, [each for each in held if each.timestamp < last])
        at, held = last, [each for each in held if each.timestamp >= last]


async def _first_id(source: TradeSource, newest: Sequence[Trade], since: int) -> int:
    """The id after that of the last trade before a time (ms), where the newest trades are not all before it."""
    if newest[0].timestamp < since:
        return max(number_of(each) for each in newest if each.timestamp < since) + 1
    low, high = 0, number_of(newest[0])
    while low < high:
        middle = (low + high) // 2
        page = await source.from_id(middle, 1)
        if not page or page[0].timestamp >= since:
            high = middle
        else:
            # An answer that begins earlier than requested must not be asked for again.
            low = max(middle, number_of(page[0])) + 1
    return low


async def back(source: TradeSource, wanted: Range) -> AsyncGenerator[Proven | Ended, None]:
    """The trades of a range, the latest first: pages back from a time, then from the first id of each page."""
    at, held = _settled(wanted, await source.now(), wanted.since), list[Trade]()
    if at < wanted.until:
        yield Ended(at, wanted.until, "the exchange may not have listed its newest trades yet")
    if at == wanted.since:
        return
    page = await source.before_time(at)
    while True:
        known = {each.id for each in held}
        page = [each for each in page if each.id not in known]
        if not page:
            if held:
                yield Proven(at, at, held)
            yield Ended(wanted.since, at, "the exchange has no earlier trades")
            return
        held = [*page, *held]
        first = held[0]
        if first.timestamp < wanted.since:
            yield Proven(wanted.since, at, [each for each in held if each.timestamp >= wanted.since])
            return
        # Of the first millisecond there may be more on the page before.
        since = min(at, first.timestamp + 1)
        yield Proven(since, at, [each for each in held if each.timestamp >= since])
        at, held = since, [each for each in held if each.timestamp < since]
        assert first.id is not None
        page = await source.before_id(first.id)


async def by_time(source: TradeSource, wanted: Range) -> AsyncGenerator[Proven | Ended, None]:
    """The trades of a range where an answer begins at the requested time."""
    at, held = wanted.since, list[Trade]()
    if source.reach_ms is not None and (oldest := await source.now() - source.reach_ms) > at:
        # Without a trade from the requested time on nothing would be known of later ones.
        at = min(oldest, wanted.until)
        yield Ended(wanted.since, at, "the exchange gives no earlier trades")
        if at == wanted.until:
            return
    while True:
        known = {each.id for each in held}
        page = [each for each in await source.from_time(at) if each.id not in known]
        if not page:
            yield Proven(at, at, held)
            yield Ended(at, wanted.until, "the exchange answers no later trades")
            return
        held = [*held, *page]
        last = held[-1].timestamp
        if last >= wanted.until:
            yield Proven(at, wanted.until, [each for each in held if each.timestamp < wanted.until])
            return
        yield Proven(at, last, [each for each in held if each.timestamp < last])
        at, held = last, [each for each in held if each.timestamp >= last]


PAGERS = {"by id": by_id, "back": back, "by time": by_time}


def _settled(wanted: Range, asked_at: int, since: int) -> int:
    """Up to when an answer without later trades, to a request of this time, proves that there were none."""
    return max(since, min(wanted.until, asked_at - SETTLED_MS))
