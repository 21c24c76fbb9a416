"""Hands closed candles to the cache: complete ones as pages, the others by asking the fetcher.

Nothing here delays the candles themselves. What waits is bounded: if too many intervals wait for the broker, the oldest
are fetched later instead, as ranges that merge. What was not handed on is lost with its owner, so each published
candle states where it begins (`Candle.owed`, `Candle.outdated`), and the next owner has it fetched.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Collection

from tickwire.bus.connection import Bus
from tickwire.errors import BrokerUnavailable, StorageError
from tickwire.model import messages, subjects
from tickwire.model.feeds import Candle, Feed
from tickwire.model.messages import CandlePage, Origin, Row
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.streamer.candles.publisher import Pending
from tickwire.streamer.candles.refetch import Refetch
from tickwire.streamer.control.feed_status import FeedStatus
from tickwire.venues.registry import grid_of

log = logs.get(__name__)

PAGE = 1000
"""Most intervals in one page."""
WAITING = 20_000
"""Intervals of one timeframe that may wait for the broker."""


class Interval:
    """`[since, until)` with its candle; without a row nothing was traded. `final`: it will not be revised."""

    __slots__ = ("final", "origin", "row", "since", "until")

    def __init__(self, since: int, until: int, row: Row | None, final: bool, origin: Origin) -> None:
        self.origin = origin
        self.final = final
        self.since = since
        self.until = until
        self.row = row


class CacheOutbox:
    """The pages and fetch requests of one market. `send` and `refetch` run beside the candles until `finish`."""

    def __init__(self, bus: Bus, market: Feed, status: FeedStatus, settle_ms: int, offered: Collection[str]) -> None:
        """`offered`: the timeframes whose candles the exchange has by REST; only these are cached."""
        self._bus = bus
        self._market = market
        self._offered = frozenset(offered)
        self._waiting: dict[str, deque[Interval]] = {}
        status.waiting = lambda: sum(map(len, self._waiting.values()))
        self._news = asyncio.Event()
        self._finishing = False
        self.added = asyncio.Event()
        """Set when something became pending; cleared by whoever waits for it."""
        self._refetch = Refetch(bus, market, status, settle_ms, self.added.set)
        self.refetch = self._refetch.run

    def observed(
        self, timeframe: str, since: int, until: int, row: Row | None, *, final: bool = True, origin: Origin = "tape"
    ) -> None:
        """Have an interval cached that was observed wholly, or several without a trade (`row` None).

        One that is not `final` is stored, but does not count as verified. `origin` as in CandlePage.
        """
        if timeframe not in self._offered:
            return
        waiting = self._waiting.setdefault(timeframe, deque())
        waiting.append(Interval(since, until, row, final, origin))
        if len(waiting) > WAITING:
            oldest = waiting.popleft()
            self.missed(timeframe, Range(oldest.since, oldest.until))
        self.added.set()
        self._news.set()

    def missed(self, timeframe: str, missing: Range, *, refresh: bool = False) -> None:
        """Have a range fetched once it has settled at the exchange; with `refresh`, even if it is cached."""
        if timeframe in self._offered:
            self._refetch.missed(timeframe, missing, refresh=refresh)

    def pending(self, timeframe: str) -> Pending:
        """What neither stream nor fetcher has accepted yet."""
        waiting = self._waiting.get(timeframe)
        owed = [each for each in (self._refetch.oldest(timeframe, refresh=False),) if each is not None]
        if waiting:
            owed.append(waiting[0].since)
        return Pending(min(owed, default=None), self._refetch.oldest(timeframe, refresh=True))

    def inherit(self, last: Candle) -> None:
        """Have fetched what was pending when an earlier owner published `last`, its last candle."""
        # The new owner files a closed `last` itself; what came after it was not pending yet.
        if last.owed is not None and last.owed < last.timestamp:
            self.missed(last.timeframe, Range(last.owed, last.timestamp))
        if last.outdated is not None and last.outdated < last.timestamp:
            self.missed(last.timeframe, Range(last.outdated, last.timestamp), refresh=True)

    def finish(self) -> None:
        """Have `send` and `refetch` hand on what they have, and return."""
        self._finishing = True
        self._news.set()
        self._refetch.finish()

    # ---- pages

    async def send(self) -> None:
        """Publish pages one at a time, and retry while the stream refuses them, until `finish`."""
        refused = Episode(log, "pages wait for the cache's stream", quiet_s=None, **self._market.fields)
        while True:
            await self._news.wait()
            self._news.clear()
            for timeframe, waiting in list(self._waiting.items()):
                while waiting:
                    batch = _contiguous(waiting)
                    try:
                        await self._send_page(timeframe, batch)
                    except (BrokerUnavailable, StorageError) as error:
                        refused.occurs(error=str(error))
                        if self._finishing:
                            # The next owner reads from the tape what is pending.
                            log.warning("pages are left to the next owner", **self._market.fields, pages=len(waiting))
                            return
                        continue
                    refused.ends()
                    # During the publish the oldest may have been handed to the fetcher.
                    while waiting and waiting[0].until <= batch[-1].until:
                        waiting.popleft()
            if self._finishing and not self._news.is_set():
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
            origin=batch[0].origin,
        )
        data = messages.encode(page)
        # The page contains its key and open time, so equal pages have equal names.
        name = hashlib.blake2b(data, digest_size=16).hexdigest()
        await self._bus.append(subjects.ohlcv(key), data, message_id=f"live.{name}")


def _contiguous(waiting: deque[Interval]) -> list[Interval]:
    """The first interval and those of its kind that follow without a gap, up to a page."""
    batch: list[Interval] = []
    for each in waiting:
        is_alike = not batch or (each.final, each.origin) == (batch[0].final, batch[0].origin)
        if batch and (each.since != batch[-1].until or not is_alike or len(batch) == PAGE):
            break
        batch.append(each)
    return batch
