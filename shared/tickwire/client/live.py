"""Feeds as iterators: started with the first step, followed without a hole, released at the end.

| subject | what |
|---|---|
| `streamer.start`, `streamer.stop` | the interest, renewed while it lasts |
| `md.<kind>.<exchange>.<token>[.<timeframe>]` | followed, holes read back from the tape |

A subscription is worked by a task of the client's, not by whoever iterates: an iterator may be abandoned anywhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from tickwire import interest, lifecycle, logs, messages
from tickwire.bus import Bus
from tickwire.client.mailbox import Mailbox
from tickwire.errors import TickwireError
from tickwire.feeds import BOOK_VALID_S, Book, Candle, Feed, Gap, Ticker, Trade, Trades
from tickwire.follow import Following, Taped, follow, place

log = logs.get(__name__)

WAITING = 1024
"""Messages that wait for a slow consumer here; what comes beyond waits in the connection, then on the tape."""
TTL_S = 10
"""A client that dies is forgotten after so many seconds."""
CLOCKS_MS = 60_000
"""How much earlier a trade may be on the tape than the exchange's clock says: clocks differ."""

RUNNING = ("live", "repairing", "resyncing")
"""States of a feed whose last message speaks of the present."""

T = TypeVar("T")
Items = Callable[[Taped], list[T]]


@dataclass(frozen=True)
class Start:
    """Where on the tape to begin: with the `back` newest messages, after sequence `after`, or at time `since` (ms)."""

    back: int = 1
    after: int | None = None
    since: int | None = None


class Subscriptions:
    """All subscriptions of a connection: each worked by a task in `group`."""

    def __init__(self, bus: Bus, group: asyncio.TaskGroup, name: str) -> None:
        self.bus = bus
        self.name = name
        self._group = group
        self._closing: set[asyncio.Event] = set()

    def work(self, closing: asyncio.Event, run: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Work a subscription, which ends once `closing` is set."""
        self._closing.add(closing)
        task = self._group.create_task(run)
        task.add_done_callback(lambda _: self._closing.discard(closing))
        return task

    def close(self) -> None:
        """End them all; the group waits until they have said goodbye."""
        for closing in list(self._closing):
            closing.set()


class Subscription(Generic[T]):
    """A feed, to be iterated: `async for item in client.trades(...)`.

    Leaving the loop, the block, or the client releases the feed; `async with` says exactly when, and at its beginning
    waits until the feed is followed. That, or else the first step, raises what the streamer refuses: UnknownExchange,
    UnknownSymbol, UnsupportedKind, NoSuchService where none runs. Iterate it once at a time.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        feed: Feed,
        items: Items[T],
        *,
        start: Start,
        newest_only: bool = False,
        depth: int | None = None,
        cadence_ms: int | None = None,
    ) -> None:
        self.feed = feed
        self._subscriptions = subscriptions
        self._items = items
        self._start = start
        self._depth = depth
        self._cadence_ms = cadence_ms
        self._mailbox: Mailbox[Taped] = Mailbox(1 if newest_only else WAITING, newest_only=newest_only)
        self._closing = asyncio.Event()
        self._started = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._entered = False
        self._following: Following | None = None
        self.sequence = 0
        """Of the last message of the tape that was handed on: `after=` it, one goes on where one was."""

    def _begins_late(self, since: int) -> None:
        """The tape does not go back to `since` (ms)."""

    @property
    def missed(self) -> int:
        """Messages replaced by newer ones before they were taken; for books and tickers only."""
        return self._mailbox.missed

    @property
    def read_back(self) -> int:
        """Messages that were missed live, and read from the tape."""
        return self._following.read_back if self._following else 0

    async def __aenter__(self) -> Self:
        self._entered = True
        self.open()
        await self._started.wait()
        self._mailbox.check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    def open(self) -> None:
        """Start the feed, if that was not done."""
        if self._task is None:
            self._task = self._subscriptions.work(self._closing, self._work())

    def release(self) -> None:
        """Release the feed, unless that is for the end of an `async with` block to do."""
        if not self._entered:
            self._closing.set()

    def __aiter__(self) -> AsyncIterator[T]:
        return self._each()

    async def _each(self) -> AsyncGenerator[T, None]:
        self.open()
        try:
            while batch := await self.take():
                for item in batch:
                    yield item
        finally:
            self.release()

    async def take(self) -> list[T]:
        """All that came since the last call, at least one item; empty once it was released."""
        self.open()
        while waiting := await self._mailbox.take():
            found: list[T] = []
            for taped in waiting:
                found += self._items(taped)
                self.sequence = taped.sequence
            if found:
                return found
        return []

    async def _work(self) -> None:
        try:
            async with lifecycle.unwrapped():
                await lifecycle.until_stopped(self._closing, self._follow())
        except TickwireError as error:
            self._mailbox.close(error)
        finally:
            self._mailbox.close()
            self._started.set()

    async def _follow(self) -> None:
        bus, feed, start = self._subscriptions.bus, self.feed, self._start
        wanted = interest.interested(
            bus,
            feed,
            interest.subscriber(self._subscriptions.name),
            ttl_s=TTL_S,
            depth=self._depth,
            cadence_ms=self._cadence_ms,
        )
        async with wanted as report:
            after = start.after
            if start.since is not None:
                after, whole = await place(bus, feed.public, start.since - CLOCKS_MS)
                if not whole:
                    self._begins_late(start.since)
            # What the tape says of a feed that did not run is of the past, not the present state.
            back = start.back if report.state in RUNNING else 0
            if after is not None:
                # What comes before the present may be more than waits at once.
                self._started.set()
            async with follow(bus, feed.public, self._hear, back=back, after=after) as self._following:
                self._started.set()
                await self._watch()

    async def _hear(self, taped: Taped) -> None:
        """A message of the feed."""
        await self._mailbox.put(taped)

    async def _watch(self) -> None:
        """What is to be done while the feed is followed, until cancelled."""
        await asyncio.Event().wait()


class TradeItems:
    """Trades and gaps of a feed's messages from `since` (ms) on; `gaps` keeps the gaps, `yielded` hands them on too."""

    def __init__(self, feed: Feed, since: int | None, *, yielded: bool) -> None:
        self.gaps: list[Gap] = []
        self._feed = feed
        self._since = since
        self._yielded = yielded
        self._last: Trade | None = None
        self._reached = since is None
        self.begins_late = False
        """The tape does not go back to `since`."""

    def __call__(self, taped: Taped) -> list[Trade | Gap]:
        """What one message brings."""
        message = messages.decode(taped.data, Trades)
        trades = message.trades
        found: list[Trade | Gap] = []
        if taped.skipped:
            last, first = self._last, trades[0] if trades else None
            found += self._gap(
                Gap(
                    since=last.timestamp if last else None,
                    until=first.timestamp if first else None,
                    after_id=last.id if last else None,
                    before_id=first.id if first else None,
                    reason="no longer on the tape when it was read",
                )
            )
        if message.gap is not None and (message.gap.until is None or message.gap.until > (self._since or 0)):
            found += self._gap(message.gap)
        if self.begins_late and trades:
            self.begins_late = False
            # A little earlier than asked for may be all that there is.
            if self._since is not None and trades[0].timestamp > self._since:
                reason = "the tape does not go back so far"
                found[:0] = self._gap(Gap(since=self._since, until=trades[0].timestamp, reason=reason))
        if trades:
            self._last = trades[-1]
            if not self._reached:
                trades = self._from(trades)
        return [*found, *trades] if found else list(trades)

    def _from(self, trades: list[Trade]) -> list[Trade]:
        """The trades from `since` on; the tape is in the exchange's order."""
        assert self._since is not None
        kept = [trade for trade in trades if trade.timestamp >= self._since]
        self._reached = len(kept) == len(trades)
        return kept

    def _gap(self, gap: Gap) -> list[Gap]:
        self.gaps.append(gap)
        log.warning(f"{self._feed}: trades are missing: {gap.reason}", since=gap.since, until=gap.until)
        return [gap] if self._yielded else []


class TradeSubscription(Subscription[T]):
    """Trades, each once, in the exchange's order. `gaps` names what could not be had so far."""

    def __init__(
        self, subscriptions: Subscriptions, feed: Feed, items: TradeItems, as_items: Items[T], start: Start
    ) -> None:
        super().__init__(subscriptions, feed, as_items, start=start)
        self.gaps = items.gaps
        self._trades = items

    def _begins_late(self, since: int) -> None:
        self._trades.begins_late = True


class BookSubscription(Subscription[Book]):
    """Books. Of a live one of which nothing was heard for 30 s it says itself that it is `resyncing`."""

    _last: Taped | None = None
    _heard = 0.0

    async def _hear(self, taped: Taped) -> None:
        self._last, self._heard = taped, time.monotonic()
        await super()._hear(taped)

    async def _watch(self) -> None:
        while True:
            left = self._heard + BOOK_VALID_S - time.monotonic()
            if left <= 0:
                await self._doubt()
            await asyncio.sleep(left if left > 0 else BOOK_VALID_S)

    async def _doubt(self) -> None:
        """Its streamer, or the way to it, is gone: what was heard last is not said to be the present state."""
        if self._last is None or (known := messages.decode(self._last.data, Book)).state != "live":
            return
        nothing = Book(
            exchange=known.exchange,
            symbol=known.symbol,
            state="resyncing",
            timestamp=None,
            received=int(time.time() * 1000),
        )
        self._last = Taped(self._last.sequence, messages.encode(nothing))
        await self._mailbox.put(self._last)


def book(taped: Taped) -> list[Book]:
    """A message of a book."""
    return [messages.decode(taped.data, Book)]


def ticker(taped: Taped) -> list[Ticker]:
    """A message of a ticker."""
    return [messages.decode(taped.data, Ticker)]


def candle(taped: Taped) -> list[Candle]:
    """A message of a candle."""
    return [messages.decode(taped.data, Candle)]
