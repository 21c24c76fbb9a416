"""The state and the counters of a feed, and its status messages on `md.status`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import msgspec

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Event, Feed, FeedReport, Gap, State, Status
from tickwire.model.times import now_ms
from tickwire.observe.metrics import Lag
from tickwire.redaction import redacted
from tickwire.tape.writer import Confirm, TapeWriter, open_writer

_MAX_QUEUED = 1000


class Counters:
    """Counts the items and messages on a tape, and the updates that were conflated."""

    def __init__(self) -> None:
        self.items = 0
        self.messages = 0
        self.conflated = 0
        self.last_message: int | None = None
        self.lag_ms: int | None = None
        """When the last message was appended, ms."""

    def appended(self, items: int) -> None:
        """Count a message with so many items that was appended."""
        self.items += items
        self.messages += 1
        self.last_message = now_ms()


class FeedStatus(Counters):
    """The state and the counters of a feed, for `streamer.list` and metrics; publishes its `Status` messages."""

    def __init__(self, feed: Feed, owner: str, tape: TapeWriter) -> None:
        super().__init__()
        self.feed = feed
        self.owner = owner
        self.state: State = "starting"
        self.reason = ""
        """Why it failed, while `state` is `failed`."""
        self.troubles: dict[str, str] = {}
        """By timeframe, why its candles failed while the feed goes on."""
        self.reconnects = 0
        self.gaps = 0
        self.repaired = 0
        self.duplicates = 0
        self.rejected = 0
        self.built: set[str] = set()
        """The timeframes of candles that are built from trades: their state is that of the trades."""
        self.of_timeframe: dict[str, Counters] = {}
        """The counters of each timeframe of candles, which has its own tape; the status itself counts all of them."""
        self.waiting: Callable[[], int] = lambda: 0
        """The number of items that wait for the broker or for a repair."""
        self.receipt_lag = Lag()
        self.publish_lag = Lag()
        self._tape = tape
        self._queued: asyncio.Queue[Status | None] = asyncio.Queue()

    def report(self, event: Event, message: str = "", *, gap: Gap | None = None, trades: int = 0) -> None:
        """Queue a status for publication, in order. Dropped while very many wait for the broker."""
        if self._queued.qsize() >= _MAX_QUEUED:
            return
        self._queued.put_nowait(
            Status(
                kind=self.feed.kind,
                exchange=self.feed.exchange,
                symbol=self.feed.symbol,
                event=event,
                at=now_ms(),
                message=redacted(message),
                owner=self.owner,
                trades=trades,
                gap=gap,
            )
        )

    def failed(self, reason: str) -> None:
        """The feed's body raised; it will be retried."""
        self.state, self.reason = "failed", redacted(reason)
        self.report("failed", reason)

    def published(self, items: int, *, received: int | None = None, timestamp: int | None = None) -> None:
        """Count a message with so many items that was appended.

        Of a live message, `received` is the time of receipt and `timestamp` the exchange's time of its newest item, ms.
        """
        now = time.time()
        self.items += items
        self.messages += 1
        self.last_message = int(now * 1000)
        if received is not None:
            self.publish_lag.observe(now - received / 1000)
            if timestamp is not None:
                self.receipt_lag.observe((received - timestamp) / 1000)
                self.lag_ms = received - timestamp

    def feed_reports(self, timeframes: Iterable[str]) -> list[FeedReport]:
        """The report of the feed; for candles, one of each timeframe."""
        report = self._report()
        if self.feed.kind != "candle":
            return [report]
        return [self._of_timeframe(report, each) for each in timeframes]

    def _of_timeframe(self, report: FeedReport, timeframe: str) -> FeedReport:
        report = msgspec.structs.replace(report, timeframe=timeframe, built=timeframe in self.built)
        if timeframe not in self.troubles:
            return report
        return msgspec.structs.replace(report, state="failed", reason=self.troubles[timeframe])

    def _report(self) -> FeedReport:
        return FeedReport(
            kind=self.feed.kind,
            exchange=self.feed.exchange,
            symbol=self.feed.symbol,
            state=self.state,
            reason=self.reason if self.state == "failed" else "",
            owner=self.owner,
            items=self.items,
            messages=self.messages,
            last_message=self.last_message,
            lag_ms=self.lag_ms,
            reconnects=self.reconnects,
            gaps=self.gaps,
            repaired=self.repaired,
            duplicates=self.duplicates,
            rejected=self.rejected,
            conflated=self.conflated,
        )

    async def run(self) -> None:
        """Publish queued statuses until `end`. Raises Fenced when another owner has published one."""
        while (status := await self._queued.get()) is not None:
            await self._tape.append(messages.encode(status))

    def end(self) -> None:
        """Have `run` return after the statuses queued so far."""
        self._queued.put_nowait(None)


async def open_feed_status(bus: Bus, feed: Feed, owner: str, confirm: Confirm | None = None) -> FeedStatus:
    """The status of a feed that this instance owns now."""
    tape, _ = await open_writer(bus, streams.STATUS, feed.status, confirm)
    return FeedStatus(feed, owner, tape)
