"""Having the fetcher fetch what candles lack: what was missed settles, then goes to it as ranges, one job at a time.

What waits is bounded: ranges melt together.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from nats.aio.msg import Msg

from tickwire.bus import graceful_close
from tickwire.bus.connection import Bus
from tickwire.errors import BrokerUnavailable, NoSuchService, RequestTimeout, TickwireError
from tickwire.model import messages, subjects
from tickwire.model.feeds import Feed, Gap
from tickwire.model.messages import FetchAccepted, FetchRequest, Job
from tickwire.model.ranges import Range, merge
from tickwire.observe import logs
from tickwire.streamer.control.feed_status import FeedStatus

log = logs.get(__name__)

RANGES = 500
"""Ranges of one timeframe that may wait for the fetcher; more become one that spans them."""
BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0
ATTEMPTS = 10
"""Jobs in a row that may leave something of a range missing before it is given up."""
JOB_S = 300.0
"""A job that says nothing for so long is asked for again: where it was done, that costs a look at what is cached."""
PARTING_S = 2.0
"""How long a fetcher may take to accept what is left over when the feed stops."""


class _Settling(NamedTuple):
    due: float
    missing: Range
    refresh: bool


@dataclass
class _Wanted:
    """What is to be fetched of one timeframe; `again`: although the cache may know it."""

    settling: deque[_Settling] = field(default_factory=deque)
    """What the exchange may not have yet, in the order in which it will."""
    missing: list[Range] = field(default_factory=list)
    again: list[Range] = field(default_factory=list)
    asking: tuple[Range, bool] | None = None
    """What a fetcher is being asked for, until it has accepted that."""
    due: float = 0.0
    failures: int = 0

    def settle(self, now: float) -> None:
        """Take in what has settled by now."""
        while self.settling and (self.settling[0].due <= now or len(self.settling) > RANGES):
            settled = self.settling.popleft()
            self.add([settled.missing], refresh=settled.refresh)

    def add(self, ranges: Iterable[Range], *, refresh: bool) -> None:
        """Have them asked for when `due`."""
        kept = merge([*(self.again if refresh else self.missing), *ranges])
        if len(kept) > RANGES:
            kept = [Range(kept[0].since, kept[-1].until)]
        if refresh:
            self.again = kept
        else:
            self.missing = kept

    def take(self) -> tuple[Range, bool]:
        """The next to ask for."""
        self.asking = (self.missing.pop(0), False) if self.missing else (self.again.pop(0), True)
        return self.asking

    @property
    def next_due(self) -> float:
        """When there is something to do."""
        if self.missing or self.again:
            return self.due
        return self.settling[0].due if self.settling else float("inf")

    def oldest(self, *, refresh: bool) -> int | None:
        """Where the oldest range begins that no fetcher has accepted."""
        begins = [each.missing.since for each in self.settling if each.refresh == refresh]
        begins += [each.since for each in (self.again if refresh else self.missing)[:1]]
        if self.asking is not None and self.asking[1] == refresh:
            begins.append(self.asking[0].since)
        return min(begins, default=None)

    def __bool__(self) -> bool:
        return bool(self.missing or self.again)


class Refetch:
    """The requests of one market. `run` works beside the candles until `end`.

    `owes` is called whenever something is to be asked for that was not before.
    """

    def __init__(self, bus: Bus, market: Feed, status: FeedStatus, settle_ms: int, owes: Callable[[], None]) -> None:
        self._bus = bus
        self._market = market
        self._status = status
        self._settle_s = settle_ms / 1000
        self._owes = owes
        self._wanted: dict[str, _Wanted] = {}
        self._news = asyncio.Event()
        self._ending = asyncio.Event()
        self._alone = False

    def missed(self, timeframe: str, missing: Range, *, refresh: bool) -> None:
        """Have a range fetched, once it has settled at the exchange; with `refresh`, although it was cached."""
        wanted = self._wanted.setdefault(timeframe, _Wanted())
        wanted.settling.append(_Settling(time.monotonic() + self._settle_s, missing, refresh))
        self._news.set()
        self._owes()

    def oldest(self, timeframe: str, *, refresh: bool) -> int | None:
        """Where the oldest range begins that no fetcher has accepted."""
        wanted = self._wanted.get(timeframe)
        return None if wanted is None else wanted.oldest(refresh=refresh)

    def end(self) -> None:
        """Have `run` hand over what it has, and return."""
        self._ending.set()
        self._news.set()

    async def run(self) -> None:
        """Have what was missed fetched, one job at a time; at the end, as far as a fetcher takes it at once."""
        while not self._ending.is_set():
            self._news.clear()
            now = time.monotonic()
            for each in self._wanted.values():
                if not each:
                    each.due = now
                each.settle(now)
            timeframe, wanted = min(self._wanted.items(), key=lambda item: item[1].next_due, default=("", None))
            if wanted is not None and wanted and wanted.due <= now:
                await self._fetch(timeframe, wanted)
                continue
            due = float("inf") if wanted is None else wanted.next_due
            try:
                async with asyncio.timeout(None if due == float("inf") else max(0.0, due - now)):
                    await self._news.wait()
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
            wanted.asking = None
            left = await self._result(missing, news)
        except (NoSuchService, RequestTimeout, BrokerUnavailable) as error:
            if not self._alone:
                self._alone = True
                log.warning("no fetcher takes what was missed", **self._market.fields, error=str(error))
                self._status.report("gap", f"candles are incomplete and wait for a fetcher: {error}")
            wanted.failures += 1
            self._later(wanted, [missing], refresh=refresh)
            return
        except TickwireError as error:
            self._give_up(timeframe, missing, str(error))
            return
        finally:
            wanted.asking = None
            await graceful_close.unsubscribe(self._bus.client, subscription)
        if not left:
            wanted.failures = 0
            wanted.due = time.monotonic()
        elif wanted.failures >= ATTEMPTS:
            wanted.failures = 0
            self._give_up(timeframe, Range(left[0].since, left[-1].until), "the fetcher could not get them")
        else:
            wanted.failures += 1
            self._later(wanted, left, refresh=refresh)

    async def _result(self, missing: Range, news: asyncio.Queue[Job | None]) -> list[Range]:
        """What the job left missing: all of it, as far as is known, where the job says nothing."""
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
                            self._status.repaired += 1
                            return []
                        return list(job.missing) or [missing]
            except TimeoutError:
                log.warning("a job says nothing", **self._market.fields, since=missing.since, until=missing.until)
                return [missing]
            finally:
                watch.cancel()

    async def _ending_news(self, news: asyncio.Queue[Job | None]) -> None:
        await self._ending.wait()
        news.put_nowait(None)

    def _later(self, wanted: _Wanted, ranges: list[Range], *, refresh: bool) -> None:
        wanted.add(ranges, refresh=refresh)
        backoff: float = min(MAX_BACKOFF_S, BACKOFF_S * 2 ** min(wanted.failures - 1, 10))
        wanted.due = time.monotonic() + backoff
        self._owes()

    def _give_up(self, timeframe: str, missing: Range, reason: str) -> None:
        log.warning("incomplete candles stay", **self._market.fields, timeframe=timeframe, reason=reason)
        self._status.report(
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
        """Hand what is left to a fetcher, if there is one; what is left then, the tape says to the next owner."""
        for timeframe, wanted in list(self._wanted.items()):
            wanted.settle(float("inf"))
            while wanted:
                missing, refresh = wanted.take()
                request = self._request(timeframe, missing, refresh=refresh)
                try:
                    await self._bus.request("fetcher.fetch", request, FetchAccepted, timeout_s=PARTING_S)
                except TickwireError as error:
                    log.warning("incomplete candles stay", **self._market.fields, reason=str(error))
                    return
