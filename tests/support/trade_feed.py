"""A body of a trade feed on a real broker, with a venue whose every word the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nats.aio.msg import Msg

from support.trading import ANY_TIME, START, Rest
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Status, Trade, Trades
from tickwire.settings import StreamerSettings
from tickwire.streamer.control.feed_context import Desk, Sink, Venue, Wishes, open_board
from tickwire.streamer.subscriptions.admission import Admission
from tickwire.streamer.trades import feed as trades
from tickwire.streamer.trades.past_trades import PastTrades
from tickwire.venues.profile import TradeFacts
from tickwire.venues.registry import profile_of

FEED = Feed("trade", "binance", "BTC/USDT")
QUICK = StreamerSettings(repair_s=1.0, settle_ms=0)


@dataclass
class ScriptedVenue:
    """An exchange that the test plays: it pushes into `sink`, and `rest` answers as told."""

    rest: Rest = field(default_factory=Rest)
    counted: bool = True
    has_diffs: bool = True
    snapshots: asyncio.Lock = field(default_factory=asyncio.Lock)
    exchange: str = "binance"
    clock: Callable[[], int | None] = lambda: START + 3_600_000
    admission: Admission = ANY_TIME
    past: PastTrades = field(init=False)
    sink: Sink | None = None
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    silent: bool = False
    asked: list[int] = field(default_factory=list)
    """From when on (ms, our clock) an answer of the sockets was to be."""

    def __post_init__(self) -> None:
        facts = profile_of(self.exchange).trades if self.counted else TradeFacts(resolution_ms=1)
        self.past = PastTrades(self.rest, facts, self.clock)

    async def answers(self, feed: Feed, since: int) -> bool:
        """Whether the sockets answer."""
        assert feed == FEED
        self.asked.append(since)
        return not self.silent

    async def now(self) -> int | None:
        """The exchange's clock."""
        return self.clock()

    @asynccontextmanager
    async def watching(self, feed: Feed, sink: Sink) -> AsyncIterator[None]:
        """Lend the sink to the test."""
        assert feed == FEED
        self.sink = sink
        self.opened.set()
        try:
            yield
        finally:
            self.closed.set()

    async def resubscribe(self, feed: Feed, reason: str) -> None:
        """Nobody asks for that."""


class Witness:
    """Reads a feed's tape and its public statuses as they come."""

    def __init__(self) -> None:
        self.messages: list[Trades] = []
        self.statuses: list[Status] = []
        self._news = asyncio.Event()

    async def tape(self, message: Msg) -> None:
        """A message of stream TRADES."""
        self.messages.append(messages.decode(message.data, Trades))
        self._news.set()

    async def status(self, message: Msg) -> None:
        """A public status."""
        self.statuses.append(messages.decode(message.data, Status))
        self._news.set()

    @property
    def trades(self) -> list[Trade]:
        """All trades so far."""
        return [each for message in self.messages for each in message.trades]

    @property
    def ids(self) -> list[int]:
        """Their ids."""
        return [int(each.id or -1) for each in self.trades]

    @property
    def gaps(self) -> list[Gap]:
        """All gaps so far."""
        return [message.gap for message in self.messages if message.gap is not None]

    def events(self) -> list[str]:
        """What was said."""
        return [status.event for status in self.statuses]

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for news that make it true."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def witness(bus: Bus, feed: Feed = FEED) -> AsyncIterator[Witness]:
    """One for a feed, from the tape's beginning."""
    seen = Witness()
    status = await bus.subscribe(feed.status.replace("tape.", "md.", 1), seen.status)
    tape = await bus.subscribe_ordered(feed.tape, streams.TRADES, seen.tape)
    await bus.client.flush()
    yield seen
    await tape.unsubscribe()
    await status.unsubscribe()


@dataclass
class Running:
    """A body that runs."""

    desk: Desk
    venue: ScriptedVenue
    sink: Sink
    task: asyncio.Task[None]

    @property
    def state(self) -> str:
        """As the board shows it."""
        return self.desk.board.state

    async def stop(self) -> None:
        """As its service would."""
        self.desk.stop.set()
        async with asyncio.timeout(100):
            await self.task


@asynccontextmanager
async def running(
    bus: Bus, venue: ScriptedVenue, settings: StreamerSettings = QUICK, owner: str = "one"
) -> AsyncIterator[Running]:
    """A body within the block, connected; stopped at its end unless it ended before."""
    board = await open_board(bus, FEED, owner)
    desk = Desk(FEED, bus, venue, settings, Wishes(depth=20, cadence_ms=100), board, asyncio.Event())
    async with asyncio.TaskGroup() as group:
        speaking = group.create_task(board.run())
        task = asyncio.create_task(trades.run(desk))
        opened = asyncio.ensure_future(venue.opened.wait())
        try:
            await asyncio.wait({task, opened}, return_when=asyncio.FIRST_COMPLETED)
            assert venue.sink is not None, "the body ended before it watched"
            venue.sink.connected()
            body = Running(desk, venue, venue.sink, task)
            yield body
            if not task.done():
                await body.stop()
            board.end()
            await speaking
        finally:
            opened.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            speaking.cancel()


@dataclass
class Followed:
    """A body that runs on a venue that is not scripted."""

    desk: Desk
    task: asyncio.Task[None]

    @property
    def state(self) -> str:
        """As the board shows it."""
        return self.desk.board.state


@asynccontextmanager
async def following(
    bus: Bus, venue: Venue, symbol: str, settings: StreamerSettings = QUICK
) -> AsyncIterator[tuple[Followed, Witness]]:
    """A body on an opened venue within the block, and what is seen of its feed."""
    feed = Feed("trade", venue.exchange, symbol)
    board = await open_board(bus, feed, "one")
    desk = Desk(feed, bus, venue, settings, Wishes(depth=20, cadence_ms=100), board, asyncio.Event())
    async with witness(bus, feed) as seen, asyncio.TaskGroup() as group:
        speaking = group.create_task(board.run())
        task = group.create_task(trades.run(desk))
        try:
            yield Followed(desk, task), seen
            desk.stop.set()
            async with asyncio.timeout(20):
                await task
            board.end()
            await speaking
        finally:
            task.cancel()
            speaking.cancel()
