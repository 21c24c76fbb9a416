"""One feed on a real broker: a scripted exchange, the feed's task, and what subscribers see of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from nats.aio.msg import Msg

from support.hearing import Heard, hearing
from support.live import Seen
from support.trading import ANY_TIME, START, Rest
from tape.places import owned, place_of
from tape.slots import owning, slot_tape
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.errors import Fenced
from tickwire.exchange.admission import Admission
from tickwire.exchange.past_trades import PastTrades
from tickwire.model import messages
from tickwire.model.feeds import Book, Candle, Feed, Status, Ticker, Trades
from tickwire.model.messages import CandlePage
from tickwire.settings import StreamerSettings, TapeSettings
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.control.feed_status import FeedStatus, open_feed_status
from tickwire.streamer.control.feed_venue import FeedSink
from tickwire.streamer.control.minute_marks import MinuteMarks
from tickwire.tape.writer import Confirm
from tickwire.venues.profile import TradeFacts
from tickwire.venues.registry import profile_of
from tickwire.venues.units import SPOT, Units

PUBLIC: dict[str, type[Any]] = {"trade": Trades, "book": Book, "ticker": Ticker, "candle": Candle}


class ScriptedVenue:
    """An exchange that the test plays: it lends out the sinks of its feeds, and answers as the test says."""

    def __init__(
        self,
        rest: Any = None,
        *,
        exchange: str = "binance",
        sequential_ids: bool = True,
        has_diffs: bool = True,
        silent: bool = False,
        clock: Callable[[], int | None] = lambda: START + 3_600_000,
        admission: Admission = ANY_TIME,
    ) -> None:
        self.rest = Rest() if rest is None else rest
        self.exchange = exchange
        self.sequential_ids = sequential_ids
        self.has_diffs = has_diffs
        self.silent = silent
        """Whether the sockets do not answer."""
        self.clock = clock
        self.admission = admission
        self.snapshots = asyncio.Lock()
        self.minutes = MinuteMarks()
        facts = profile_of(exchange).trades if sequential_ids else TradeFacts(resolution_ms=1)
        self.past: Any = PastTrades(self.rest, facts, lambda: self.clock())
        self.sinks: dict[str | None, FeedSink] = {}
        """Of the feeds that are watched, by timeframe."""
        self.asked: list[int] = []
        """From when on (ms, our clock) an answer of the sockets was to be."""
        self.lent: FeedSink | None = None
        """The sink of the feed that was watched last."""
        self.watched, self.left, self.resubscribed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def now(self) -> int | None:
        """The exchange's clock, ms."""
        return self.clock()

    async def answering(self, feeds: Collection[Feed], since: int) -> Collection[Feed]:
        """All of these feeds, or none."""
        self.asked.append(since)
        return () if self.silent else feeds

    @asynccontextmanager
    async def watching(self, feed: Feed, sink: FeedSink) -> AsyncIterator[None]:
        """Lend the sink to the test."""
        assert feed.exchange == self.exchange
        self.sinks[feed.timeframe] = self.lent = sink
        self.watched.set()
        try:
            yield
        finally:
            del self.sinks[feed.timeframe]
            self.left.set()

    async def resubscribe(self, feed: Feed, reason: str) -> None:
        self.resubscribed.set()

    async def sink(self) -> FeedSink:
        """The sink of the feed, once it is watched."""
        await within(self.watched.wait())
        assert self.lent is not None
        return self.lent


async def within(wait: Awaitable[Any], timeout_s: float = 60) -> Any:
    """Its result, which must come soon."""
    async with asyncio.timeout(timeout_s):
        return await wait


class Witness(Seen):
    """What anyone can see of a feed: trades on the tape or public candles, pages for the cache, statuses."""

    def __init__(self) -> None:
        super().__init__()
        self.candles: list[Candle] = []
        self.pages: list[CandlePage] = []
        self.statuses: list[Status] = []

    def keep(self, kept: list[Any], type_: type[Any]) -> Callable[[Msg], Awaitable[None]]:
        """A callback of a subscription that appends to one of the lists."""

        async def take(message: Msg) -> None:
            kept.append(messages.decode(message.data, type_))
            self.changed()

        return take

    def closed(self, timeframe: str = "1m") -> list[Candle]:
        """Closed candles in the order they came."""
        return [each for each in self.candles if each.closed and each.timeframe == timeframe]

    def open(self, timeframe: str = "1m") -> list[Candle]:
        """States of open candles in the order they came."""
        return [each for each in self.candles if not each.closed and each.timeframe == timeframe]

    def events(self) -> list[str]:
        """The events of the statuses."""
        return [status.event for status in self.statuses]

    def said(self, event: str) -> list[Status]:
        """Statuses of this event."""
        return [each for each in self.statuses if each.event == event]

    def shown(self) -> str:
        texts = [(each.event, each.message) for each in self.statuses]
        return f"{self.messages[-3:]} {self.candles[-5:]} {self.pages[-3:]} {texts}"


@asynccontextmanager
async def witness(bus: Bus, feed: Feed) -> AsyncIterator[Witness]:
    """What is seen of a feed: of trades from the tape's beginning, of candles in every timeframe of every market."""
    seen = Witness()
    if feed.kind == "trade":
        subscriptions = [
            await bus.subscribe(feed.status.replace("tape.", "md.", 1), seen.keep(seen.statuses, Status)),
            await bus.subscribe_ordered(place_of(feed).subject, place_of(feed).stream, seen.take),
        ]
    else:
        subscriptions = [
            await bus.subscribe("md.candle.>", seen.keep(seen.candles, Candle)),
            await bus.subscribe("md.status.candle.>", seen.keep(seen.statuses, Status)),
            await bus.subscribe_ordered("ohlcv.>", streams.OHLCV, seen.keep(seen.pages, CandlePage)),
        ]
    await bus.client.flush()
    yield seen
    for subscription in subscriptions:
        await subscription.unsubscribe()


class Running:
    """A feed at work, its venue, and its messages and statuses."""

    def __init__(
        self, context: FeedContext, venue: Any, task: asyncio.Task[None], public: Heard[Any], statuses: Heard[Status]
    ) -> None:
        self.context = context
        self.venue = venue
        self.task = task
        self.public = public
        self.statuses = statuses
        self.over = False
        """Whether the test knows that it ended."""

    @property
    def sink(self) -> FeedSink:
        """The sink that the venue has lent out, or had."""
        assert self.venue.lent is not None
        sink: FeedSink = self.venue.lent
        return sink

    @property
    def state(self) -> str:
        """The state in `streamer.list`."""
        return self.context.status.state

    async def counted(self, reached: Callable[[FeedStatus], object]) -> None:
        """Wait until its counters say so: what is seen may not be acknowledged to the feed yet."""
        async with asyncio.timeout(60):
            while not reached(self.context.status):
                await asyncio.sleep(0.01)

    def want(self, *timeframes: str) -> None:
        """Change the demand, as the service does."""
        demand = self.context.demand
        demand.timeframes = frozenset(timeframes)
        changed, demand.changed = demand.changed, asyncio.Event()
        changed.set()

    async def stop(self) -> None:
        """Have it finish, as the service does. Raises what it ended with."""
        self.context.stop.set()
        await within(asyncio.shield(self.task), 100)

    async def ended(self) -> BaseException | None:
        """What it ended with by itself."""
        self.over = True
        await within(asyncio.wait({self.task}))
        return self.task.exception()

    async def said(self, event: str) -> Status:
        """The first status with this event."""
        return await self.statuses.first(lambda status: status.event == event)


@asynccontextmanager
async def running(
    bus: Bus,
    run: Callable[[FeedContext], Awaitable[None]],
    feed: Feed,
    *,
    venue: Any = None,
    settings: StreamerSettings | None = None,
    owner: str = "one",
    demand: Demand | None = None,
    tape: TapeSettings | None = None,
    units: Units = SPOT,
    confirm: Confirm = owned,
) -> AsyncIterator[Running]:
    """A feed within the block; stopped at its end, unless it ended by itself: then an error but Fenced is raised."""
    subject = "md.candle.>" if feed.kind == "candle" else feed.public
    async with AsyncExitStack() as stack:
        public = await stack.enter_async_context(hearing(bus, subject, PUBLIC[feed.kind]))
        statuses = await stack.enter_async_context(hearing(bus, f"md.status.{feed.path}", Status))
        # Not earlier: opening a feed's statuses fences the owner before.
        made = partial(
            FeedContext,
            feed=feed,
            bus=bus,
            venue=ScriptedVenue(exchange=feed.exchange) if venue is None else venue,
            settings=settings or StreamerSettings(),
            demand=demand or Demand(depth=20, cadence_ms=100),
            status=await open_feed_status(bus, feed, owner),
            stop=asyncio.Event(),
            confirm=confirm,
            tape=tape or TapeSettings(),
            units=units,
        )
        # The trades of which candles are built are written by the test: it is the owner of the slot.
        context, task = await owning(slot_tape(bus, feed, confirm) if feed.kind != "candle" else None, made, run)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        reporting = group.create_task(context.status.run())
        body = Running(context, context.venue, task, public, statuses)
        try:
            yield body
            if not task.done():
                await body.stop()
            elif not body.over and not task.cancelled() and not isinstance(task.exception(), Fenced):
                task.result()
            context.status.end()
            await reporting
        finally:
            task.cancel()
            reporting.cancel()
            await asyncio.wait({task, reporting})


def body(
    bus: Bus,
    run: Callable[[FeedContext], Awaitable[None]],
    feed: Feed,
    demand: Demand | None = None,
    venue: Any = None,
    tape: TapeSettings | None = None,
    **settings: Any,
) -> AbstractAsyncContextManager[Running]:
    """The same for books and tickers: each change is published at once, unless `demand` or `settings` differ."""
    return running(
        bus,
        run,
        feed,
        venue=venue,
        settings=StreamerSettings(**settings),
        demand=demand or Demand(depth=20, cadence_ms=0),
        tape=tape,
        confirm=owned,
    )
