"""The way of built candles into the cache: complete ones as pages, others by asking the fetcher.

Nothing here holds up the candles themselves. What waits is bounded: intervals that wait too long in too great a number
are asked of the fetcher later, as ranges, which melt together.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from nats.aio.msg import Msg

from tickwire import exchanges, logs, messages, subjects
from tickwire.bus import Bus
from tickwire.errors import BrokerUnavailable, NoSuchService, RequestTimeout, TickwireError
from tickwire.feeds import Feed, Gap
from tickwire.messages import CandlePage, FetchAccepted, FetchRequest, Job, Row
from tickwire.ranges import Range, merge
from tickwire.streamer.desk import Board
from tickwire.subjects import Key

log = logs.get(__name__)

PAGE = 1000
"""Intervals that go in one page, where so many wait."""
WAITING = 20_000
"""Intervals of one timeframe that may wait for the broker's room."""
RANGES = 500
"""Ranges of one timeframe that may wait for the fetcher; more become one that spans them."""
BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0
ATTEMPTS = 10
"""Jobs in a row that may leave something of a range missing before it is given up."""
JOB_S = 300.0
"""A job that says nothing for so long is no longer waited for: it is queued durably, and will run."""
PARTING_S = 2.0
"""How long a fetcher may take to accept what is left over when the feed stops."""


class Interval:
    """`[since, until)` with its candle; without one, nothing was traded."""

    __slots__ = ("row", "since", "until")

    def __init__(self, since: int, until: int, row: Row | None) -> None:
        self.since = since
        self.until = until
        self.row = row


@dataclass
class _Wanted:
    """What is to be fetched of one timeframe; `again`: although the cache may know it."""

    missing: list[Range] = field(default_factory=list)
    again: list[Range] = field(default_factory=list)
    due: float = 0.0
    failures: int = 0

    def add(self, ranges: Iterable[Range], *, refresh: bool) -> None:
        kept = merge([*(self.again if refresh else self.missing), *ranges])
        if len(kept) > RANGES:
            kept = [Range(kept[0].since, kept[-1].until)]
        if refresh:
            self.again = kept
        else:
            self.missing = kept

    def take(self) -> tuple[Range, bool]:
        if self.missing:
            return self.missing.pop(0), False
        return self.again.pop(0), True

    def __bool__(self) -> bool:
        return bool(self.missing or self.again)


class Caching:
    """Pages and requests of one market. `send` and `ask` run beside the candles until `end`."""

    def __init__(self, bus: Bus, market: Feed, board: Board, settle_ms: int) -> None:
        self._bus = bus
        self._market = market
        self._board = board
        self._settle_s = settle_ms / 1000
        self._offered = frozenset(exchanges.timeframes(market.exchange))
        self._pages: dict[str, deque[Interval]] = {}
        board.waiting = lambda: sum(map(len, self._pages.values()))
        self._wanted: dict[str, _Wanted] = {}
        self._to_send = asyncio.Event()
        self._to_ask = asyncio.Event()
        self._ending = asyncio.Event()
        self._alone = False

    def observed(self, timeframe: str, since: int, until: int, row: Row | None) -> None:
        """Have an interval cached that was wholly observed, or several in which nothing was traded."""
        if timeframe not in self._offered:
            return
        waiting = self._pages.setdefault(timeframe, deque())
        waiting.append(Interval(since, until, row))
        if len(waiting) > WAITING:
            oldest = waiting.popleft()
            self.missed(timeframe, Range(oldest.since, oldest.until))
        self._to_send.set()

    def missed(self, timeframe: str, missing: Range, *, refresh: bool = False) -> None:
        """Have a range fetched, once it has settled at the exchange; with `refresh`, although it was cached."""
        if timeframe not in self._offered:
            return
        wanted = self._wanted.setdefault(timeframe, _Wanted())
        if not wanted:
            wanted.due = time.monotonic() + self._settle_s
        wanted.add([missing], refresh=refresh)
        self._to_ask.set()

    def end(self) -> None:
        """Have `send` and `ask` hand over what they have, and return."""
        self._ending.set()
        self._to_send.set()
        self._to_ask.set()

    # ---- pages

    async def send(self) -> None:
        """Send pages, one at a time, again and again where the stream refuses."""
        refused = False
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            for timeframe, waiting in list(self._pages.items()):
                while waiting:
                    batch = _contiguous(waiting)
                    try:
                        await self._send_page(timeframe, batch)
                    except BrokerUnavailable as error:
                        if not refused:
                            log.warning("pages wait for the cache's stream", **self._market.fields, error=str(error))
                        refused = True
                        if self._ending.is_set():
                            # Coverage tells whoever fetches next.
                            log.warning("pages are given up", **self._market.fields, pages=len(waiting))
                            return
                        continue
                    refused = False
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
        )
        data = messages.encode(page)
        # The page says its key and its open time itself.
        name = hashlib.blake2b(data, digest_size=16).hexdigest()
        await self._bus.append(subjects.ohlcv(key), data, message_id=f"live.{name}")

    # ---- requests

    async def ask(self) -> None:
        """Have what was missed fetched, one job at a time; at the end, as far as a fetcher takes it at once."""
        while not self._ending.is_set():
            self._to_ask.clear()
            timeframe, wanted = min(
                ((name, each) for name, each in self._wanted.items() if each),
                key=lambda item: item[1].due,
                default=("", None),
            )
            pause = None if wanted is None else wanted.due - time.monotonic()
            if wanted is not None and (pause is None or pause <= 0):
                await self._fetch(timeframe, wanted)
                continue
            try:
                async with asyncio.timeout(pause):
                    await self._to_ask.wait()
            except TimeoutError:
                continue
        await self._part()

    async def _fetch(self, timeframe: str, wanted: _Wanted) -> None:
        """One job. What it leaves missing is wanted again later."""
        missing, refresh = wanted.take()
        request = self._request(timeframe, missing, refresh=refresh)
        news: asyncio.Queue[Job | None] = asyncio.Queue()

        async def on_job(message: Msg) -> None:
            news.put_nowait(messages.decode(message.data, Job))

        subscription = await self._bus.subscribe(subjects.job(str(request.id)), on_job)
        try:
            await self._bus.request("fetcher.fetch", request, FetchAccepted)
            self._alone = False
            left = await self._result(missing, news)
        except (NoSuchService, RequestTimeout, BrokerUnavailable) as error:
            if not self._alone:
                self._alone = True
                log.warning("no fetcher takes what was missed", **self._market.fields, error=str(error))
                self._board.say("gap", f"candles are incomplete and wait for a fetcher: {error}")
            wanted.failures += 1
            self._later(wanted, [missing], refresh=refresh)
            return
        except TickwireError as error:
            self._give_up(timeframe, missing, str(error))
            return
        finally:
            if self._bus.client.is_connected:
                await subscription.unsubscribe()
        if not left:
            wanted.failures = 0
            if wanted:
                wanted.due = time.monotonic()
        elif wanted.failures >= ATTEMPTS:
            wanted.failures = 0
            self._give_up(timeframe, Range(left[0].since, left[-1].until), "the fetcher could not get them")
        else:
            wanted.failures += 1
            self._later(wanted, left, refresh=refresh)

    async def _result(self, missing: Range, news: asyncio.Queue[Job | None]) -> list[Range]:
        """What the job left missing; nothing as far as is known when it is not waited for any more."""
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._ending_news(news))
            try:
                while True:
                    async with asyncio.timeout(JOB_S):
                        job = await news.get()
                    if job is None:
                        return []
                    if job.ended:
                        if job.complete:
                            self._board.repaired += 1
                            return []
                        return list(job.missing) or [missing]
            except TimeoutError:
                return []
            finally:
                watch.cancel()

    async def _ending_news(self, news: asyncio.Queue[Job | None]) -> None:
        await self._ending.wait()
        news.put_nowait(None)

    def _later(self, wanted: _Wanted, ranges: list[Range], *, refresh: bool) -> None:
        wanted.add(ranges, refresh=refresh)
        backoff: float = min(MAX_BACKOFF_S, BACKOFF_S * 2 ** min(wanted.failures - 1, 10))
        wanted.due = time.monotonic() + backoff

    def _give_up(self, timeframe: str, missing: Range, reason: str) -> None:
        log.warning("incomplete candles stay", **self._market.fields, timeframe=timeframe, reason=reason)
        self._board.say(
            "gap",
            f"{timeframe} candles are not in the cache: {reason}",
            gap=Gap(since=missing.since - 1, until=missing.until, reason=reason),
        )

    def _request(self, timeframe: str, missing: Range, *, refresh: bool) -> FetchRequest:
        return FetchRequest(
            exchange=self._market.exchange,
            symbol=self._market.symbol,
            timeframe=timeframe,
            since=missing.since,
            until=missing.until,
            refresh=refresh,
            id=uuid.uuid4().hex,
        )

    async def _part(self) -> None:
        """Hand what is left to a fetcher, if there is one."""
        for timeframe, wanted in list(self._wanted.items()):
            while wanted:
                missing, refresh = wanted.take()
                request = self._request(timeframe, missing, refresh=refresh)
                try:
                    await self._bus.request("fetcher.fetch", request, FetchAccepted, timeout_s=PARTING_S)
                except TickwireError as error:
                    log.warning("incomplete candles stay", **self._market.fields, reason=str(error))
                    return


def _contiguous(waiting: deque[Interval]) -> list[Interval]:
    """The first of them, and those that follow without a gap, up to a page."""
    batch: list[Interval] = []
    for each in waiting:
        if batch and (each.since != batch[-1].until or len(batch) == PAGE):
            break
        batch.append(each)
    return batch
