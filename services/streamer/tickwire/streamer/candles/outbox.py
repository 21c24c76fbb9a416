"""The way of closed candles into the cache: complete ones as pages, others by asking the fetcher.

Nothing here holds up the candles themselves. What waits is bounded: intervals that wait too long in too great a number
are asked of the fetcher later, as ranges, which melt together. What has not been handed on yet dies with its owner, so
the tape of the candles says where it begins (`Candle.owed`, `Candle.outdated`), and the next owner has it fetched.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from typing import NamedTuple

from tickwire.bus.connection import Bus
from tickwire.errors import BrokerUnavailable, StorageError
from tickwire.exchange import opening
from tickwire.model import messages, subjects
from tickwire.model.feeds import Candle, Feed
from tickwire.model.messages import CandlePage, Row
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.streamer.candles.refetch import Refetch
from tickwire.streamer.control.feed_status import FeedStatus
from tickwire.venues.registry import grid_of

log = logs.get(__name__)

PAGE = 1000
"""Intervals that go in one page, where so many wait."""
WAITING = 20_000
"""Intervals of one timeframe that may wait for the broker's room."""


class Interval:
    """`[since, until)` with its candle; without one, nothing was traded. `final`: it is never revised."""

    __slots__ = ("final", "row", "since", "until")

    def __init__(self, since: int, until: int, row: Row | None, final: bool) -> None:
        self.final = final
        self.since = since
        self.until = until
        self.row = row


class Debts(NamedTuple):
    """Where the intervals begin that were not handed on yet (ms): those to be cached, those to be fetched anew."""

    owed: int | None = None
    outdated: int | None = None

    def cover(self, others: Debts) -> bool:
        """Whether whoever knows of these will do what the others ask for."""
        return all(
            theirs is None or (ours is not None and ours <= theirs) for ours, theirs in zip(self, others, strict=True)
        )


class CacheOutbox:
    """Pages and requests of one market. `send` and `ask` run beside the candles until `end`."""

    def __init__(self, bus: Bus, market: Feed, status: FeedStatus, settle_ms: int) -> None:
        self._bus = bus
        self._market = market
        self._offered = frozenset(opening.timeframes(market.exchange))
        self._pages: dict[str, deque[Interval]] = {}
        status.waiting = lambda: sum(map(len, self._pages.values()))
        self._to_send = asyncio.Event()
        self._ending = asyncio.Event()
        self.owing = asyncio.Event()
        """There is a debt that there was not before; to be cleared by whoever waits for that."""
        self._asking = Refetch(bus, market, status, settle_ms, self.owing.set)
        self.ask = self._asking.run

    def observed(self, timeframe: str, since: int, until: int, row: Row | None, *, final: bool = True) -> None:
        """Have an interval cached that was wholly observed, or several in which nothing was traded.

        One that is not `final` is stored and does not count as verified.
        """
        if timeframe not in self._offered:
            return
        waiting = self._pages.setdefault(timeframe, deque())
        waiting.append(Interval(since, until, row, final))
        if len(waiting) > WAITING:
            oldest = waiting.popleft()
            self.missed(timeframe, Range(oldest.since, oldest.until))
        self.owing.set()
        self._to_send.set()

    def missed(self, timeframe: str, missing: Range, *, refresh: bool = False) -> None:
        """Have a range fetched, once it has settled at the exchange; with `refresh`, although it was cached."""
        if timeframe in self._offered:
            self._asking.missed(timeframe, missing, refresh=refresh)

    def debts(self, timeframe: str) -> Debts:
        """What no stream or fetcher has accepted yet."""
        waiting = self._pages.get(timeframe)
        begins = [each for each in (self._asking.oldest(timeframe, refresh=False),) if each is not None]
        if waiting:
            begins.append(waiting[0].since)
        return Debts(min(begins, default=None), self._asking.oldest(timeframe, refresh=True))

    def inherit(self, last: Candle) -> None:
        """Have done what an earlier owner owed when it published this."""
        # A closed one is filed by whoever takes over; what is after it was not there yet.
        if last.owed is not None and last.owed < last.timestamp:
            self.missed(last.timeframe, Range(last.owed, last.timestamp))
        if last.outdated is not None and last.outdated < last.timestamp:
            self.missed(last.timeframe, Range(last.outdated, last.timestamp), refresh=True)

    def end(self) -> None:
        """Have `send` and `ask` hand over what they have, and return."""
        self._ending.set()
        self._to_send.set()
        self._asking.end()

    # ---- pages

    async def send(self) -> None:
        """Send pages, one at a time, again and again where the stream refuses."""
        refused = Episode(log, "pages wait for the cache's stream", quiet_s=None, **self._market.fields)
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            for timeframe, waiting in list(self._pages.items()):
                while waiting:
                    batch = _contiguous(waiting)
                    try:
                        await self._send_page(timeframe, batch)
                    except (BrokerUnavailable, StorageError) as error:
                        refused.occurs(error=str(error))
                        if self._ending.is_set():
                            # The tape tells the next owner.
                            log.warning("pages are given up", **self._market.fields, pages=len(waiting))
                            return
                        continue
                    refused.ends()
                    # While it waited, the oldest may have been handed to the fetcher.
                    while waiting and waiting[0].until <= batch[-1].until:
                        waiting.popleft()
            if self._ending.is_set() and not self._to_send.is_set():
                return

    async def _send_page(self, timeframe: str, batch: list[Interval]) -> None:
        key = Key(self._market.exchange, self._market.symbol, timeframe)
        page = CandlePage(
            exchange=key.exchange,
            symbol=key.symbol,
            timeframe=timeframe,
            since=batch[0].since,
            until=batch[-1].until,
            rows=[each.row for each in batch if each.row is not None],
            source="live",
            settled=None if batch[0].final else batch[0].since,
            opens_at=grid_of(key.exchange, timeframe).opens_at,
            volume_unit="base",
        )
        data = messages.encode(page)
        # The page says its key and its open time itself.
        name = hashlib.blake2b(data, digest_size=16).hexdigest()
        await self._bus.append(subjects.ohlcv(key), data, message_id=f"live.{name}")


def _contiguous(waiting: deque[Interval]) -> list[Interval]:
    """The first of them, and those of the kind that follow without a gap, up to a page."""
    batch: list[Interval] = []
    for each in waiting:
        if batch and (each.since != batch[-1].until or each.final is not batch[0].final or len(batch) == PAGE):
            break
        batch.append(each)
    return batch
