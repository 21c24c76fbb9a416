"""What the watch loop of a feed works with: its market, its venue, its demand, and the status it reports on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Event, Feed, FeedReport, Gap, Level, State, Status
from tickwire.model.times import now_ms
from tickwire.observe.metrics import Lag
from tickwire.redaction import redacted
from tickwire.settings import StreamerSettings, TapeSettings
from tickwire.streamer.subscriptions.admission import Admission
from tickwire.streamer.trades.past_trades import PastTrades
from tickwire.tape.writer import Confirm, TapeWriter, open_writer
from tickwire.venues.units import SPOT, Units


class Diff(Struct, frozen=True, kw_only=True):
    """A change of a book as the exchange sends it: updates `first` to `last`; `previous` is the `last` before it.

    `previous` is absent where the exchange numbers without gaps.
    """

    first: int
    last: int
    timestamp: int | None
    bids: list[Level]
    asks: list[Level]
    previous: int | None = None


class BookView(Struct, frozen=True, kw_only=True):
    """A whole book as ccxt keeps it. `bids` and `asks` change under the reader: take a slice."""

    timestamp: int | None
    nonce: int | None
    bids: Any
    asks: Any


class FeedSink(Protocol):
    """Where a venue puts what a feed says. Called from the socket's reader: none of it may block or raise."""

    def take(self, items: Sequence[Any], received: int) -> None:
        """What one frame said.

        trade: `feeds.Trade`, in the exchange's order; book: `Diff` or `BookView`; ticker: dicts with some of
        Ticker's fields; candle: `feeds.Candle` as the exchange makes it.
        """

    def connected(self) -> None:
        """From now on, what happens arrives; what happened before may be missing."""

    def disconnected(self, reason: str) -> None:
        """Nothing arrives until `connected` is called again."""

    def rejected(self, reason: str) -> None:
        """A message that may have concerned the feed could not be used."""

    def left_out(self, reason: str) -> None:
        """An item of the feed, or its time, could not be used: of trades and candles, one is missing."""


class FeedVenue(Protocol):
    """One opened exchange, shared by the feeds of this process."""

    exchange: str
    rest: Any
    """The opened ccxt.pro exchange: for its REST."""
    sequential_ids: bool
    """Whether trade ids of a symbol are integers that count up by one, so that a hole shows by itself."""
    has_diffs: bool
    """Whether books arrive as changes, rather than whole as ccxt keeps them."""
    snapshots: asyncio.Lock
    """Held by whoever fetches a snapshot of a book: they weigh much, and a repair is not to wait behind many."""

    async def now(self) -> int | None:
        """The exchange's clock, ms, compared anew where that is a minute ago; None while its time is unknown."""

    past: PastTrades
    """Its past trades by REST."""
    admission: Admission
    """Which trades and candles have a time that can be right there."""

    def clock(self) -> int | None:
        """The exchange's clock, ms, as it is known without asking; None while its time is unknown."""

    async def answers(self, feed: Feed, since: int) -> bool:
        """Whether the exchange answers, on the feed's sockets, what it was asked at or after `since`.

        That is of the monotonic clock, ms (`ccxt_patches.monotonic_ms`).

        Then the sink has all that it said before. A socket may be silent for long before it is known to be broken.
        """

    def watching(self, feed: Feed, sink: FeedSink) -> AbstractAsyncContextManager[None]:
        """Have the feed pushed into `sink` within the block; unsubscribe at the exchange on leaving it."""

    async def resubscribe(self, feed: Feed, reason: str) -> None:
        """Have a feed that is watched subscribed anew; its sink is told that it was disconnected."""


@dataclass
class Demand:
    """What the subscribers of a feed want of it, all together. `changed` is set anew with each change."""

    depth: int
    cadence_ms: int
    deltas: bool = False
    timeframes: frozenset[str] = frozenset()
    delta_subscribers: frozenset[str] = frozenset()
    """Who wants deltas."""
    delta_joins: int = 0
    """How many delta_subscribers have joined so far: each needs a snapshot."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def update(self, other: Demand) -> None:
        """What is wanted from now on; whoever waits for a change is told of one."""
        joined = len(other.delta_subscribers - self.delta_subscribers)
        before = (self.depth, self.cadence_ms, self.deltas, self.timeframes)
        self.depth, self.cadence_ms, self.deltas = other.depth, other.cadence_ms, other.deltas
        self.timeframes, self.delta_subscribers = other.timeframes, other.delta_subscribers
        self.delta_joins += joined
        if joined or before != (self.depth, self.cadence_ms, self.deltas, self.timeframes):
            changed, self.changed = self.changed, asyncio.Event()
            changed.set()


_MOST_UNSAID = 1000


class Counters:
    """What is counted of a tape: items and messages on it, updates not published by themselves."""

    def __init__(self) -> None:
        self.items = 0
        self.messages = 0
        self.conflated = 0
        self.last_message: int | None = None
        """When the last message was put there, ms."""

    def appended(self, items: int) -> None:
        """Count a message that is on the tape, with so many items."""
        self.items += items
        self.messages += 1
        self.last_message = now_ms()


class FeedStatus(Counters):
    """A feed's state and counts, for `streamer.list`, and its status on `md.status`."""

    def __init__(self, feed: Feed, owner: str, tape: TapeWriter) -> None:
        super().__init__()
        self.feed = feed
        self.owner = owner
        self.state: State = "starting"
        self.reason = ""
        """Why it failed, while it is `failed`."""
        self.troubles: dict[str, str] = {}
        """Timeframes of candles that failed by themselves, and why."""
        self.reconnects = 0
        self.gaps = 0
        self.repaired = 0
        self.duplicates = 0
        self.rejected = 0
        self.built: set[str] = set()
        """Timeframes of candles that are built from trades: their state is that of the trades."""
        self.of_timeframe: dict[str, Counters] = {}
        """Of candles, whose timeframes have a tape each; the status's own counts are those of all of them."""
        self.waiting: Callable[[], int] = lambda: 0
        """How many items wait for the broker or for a repair."""
        self.receipt_lag = Lag()
        self.publish_lag = Lag()
        self._tape = tape
        self._to_say: asyncio.Queue[Status | None] = asyncio.Queue()

    def report(self, event: Event, message: str = "", *, gap: Gap | None = None, trades: int = 0) -> None:
        """Publish a status in due course, in order; not while very many wait for the broker to come back."""
        if self._to_say.qsize() >= _MOST_UNSAID:
            return
        self._to_say.put_nowait(
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
        """The feed's body ended with an error; it is tried again."""
        self.state, self.reason = "failed", redacted(reason)
        self.report("failed", reason)

    def published(self, items: int, *, received: int | None = None, timestamp: int | None = None) -> None:
        """Count a message that is on the tape, with so many items.

        Of a live one, `received` is when it came and `timestamp` the exchange's time of its newest item, both ms.
        """
        self.appended(items)
        if received is not None:
            self.publish_lag.observe(time.time() - received / 1000)
            if timestamp is not None:
                self.receipt_lag.observe((received - timestamp) / 1000)

    def feed_reports(self, timeframes: Iterable[str]) -> list[FeedReport]:
        """The feed as it is now; of candles, one report for each timeframe."""
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
            reconnects=self.reconnects,
            gaps=self.gaps,
            repaired=self.repaired,
            duplicates=self.duplicates,
            rejected=self.rejected,
            conflated=self.conflated,
        )

    async def run(self) -> None:
        """Publish statuses until `end`. Raises Fenced when another owner has published one."""
        while (status := await self._to_say.get()) is not None:
            await self._tape.append(messages.encode(status))

    def end(self) -> None:
        """Have `run` return after what was said."""
        self._to_say.put_nowait(None)


async def open_feed_status(bus: Bus, feed: Feed, owner: str, confirm: Confirm | None = None) -> FeedStatus:
    """The status of a feed that this instance now owns."""
    tape, _ = await open_writer(bus, streams.STATUS, feed.status, confirm)
    return FeedStatus(feed, owner, tape)


@dataclass(frozen=True)
class FeedContext:
    """All that a feed's body needs.

    A body runs until `stop` is set, then finishes what it accepted and returns. It raises Fenced when another owner
    has taken over, and typed errors of `tickwire.errors` when the feed cannot go on.
    """

    feed: Feed
    """Without timeframe."""
    bus: Bus
    venue: FeedVenue
    settings: StreamerSettings
    demand: Demand
    status: FeedStatus
    stop: asyncio.Event
    confirm: Confirm | None = None
    tape: TapeSettings = field(default_factory=TapeSettings)
    units: Units = SPOT
    """Those of the market's numbers."""
