"""Live candles of one market, in all timeframes that are wanted.

| subject | direction | what |
|---|---|---|
| `tape.trade.<exchange>.<token>` | reads | `Trades`, from stream TRADES: what candles are built from |
| `tape.candle.<exchange>.<token>.<timeframe>` | publishes | `Candle`; public as `md.candle.…` |
| `tape.ohlcv.<exchange>.<token>.<timeframe>` | publishes | `CandlePage`: complete candles, to be cached |
| `fetcher.fetch` | asks | `FetchRequest` for what was not wholly observed |
| `md.job.<id>` | subscribes | `Job`: whether that was fetched |
| `tape.status.candle.<exchange>.<token>` | publishes | `Status`, by the feed's board; public as `md.status.candle.…` |

Candles of a timeframe that divides a day are built from the trades on the tape, whoever puts them there; a new owner
goes on with the last published candle, from the message that it was built from. Others are the exchange's own.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import StreamInfo
from nats.js.client import JetStreamContext

from tickwire import lifecycle, logs, messages, streams, timeframes
from tickwire.bus import cancellable
from tickwire.errors import BadRequest
from tickwire.feeds import Candle, Feed, Gap, Trades
from tickwire.ranges import Range
from tickwire.streamer.building import (
    Building,
    Ended,
    Late,
    candle_of,
    divides_a_day,
    fold,
    grain_of,
    row_of,
)
from tickwire.streamer.caching import Caching
from tickwire.streamer.desk import Desk
from tickwire.streamer.lines import Line
from tickwire.streamer.owncandles import OwnCandles
from tickwire.streamer.tape import RETRY_S, Tape, last_message

log = logs.get(__name__)

MARGIN_MS = 120_000
"""How much earlier than an interval reading back begins: a tape says each minute how far it is complete."""
LATE_S = 1.0
"""At most one status in so long says that trades came late; all are counted in it."""
_UNREADABLE = Gap(since=None, until=None, reason="a message of the tape cannot be read")


async def run(desk: Desk) -> None:
    """Publish the candles that `desk.wishes` names until `desk.stop`; see Desk for what is raised."""
    desk.board.say("starting")
    caching = Caching(desk.bus, desk.feed, desk.board, desk.settings.settle_ms)
    async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
        group.create_task(caching.send())
        group.create_task(caching.ask())
        async with lifecycle.unwrapped(), asyncio.TaskGroup() as lines:
            await _Body(desk, caching, lines).follow()
        caching.end()
    desk.board.state = "stopped"
    desk.board.say("stopped")


class _Body:
    def __init__(self, desk: Desk, caching: Caching, group: asyncio.TaskGroup) -> None:
        self._desk = desk
        self._board = desk.board
        self._caching = caching
        self._group = group
        self._trades = Feed("trade", desk.feed.exchange, desk.feed.symbol).tape
        self._buildings: dict[str, Building] = {}
        self._lines: dict[str, Line] = {}
        self._publishing: dict[str, asyncio.Task[None]] = {}
        self._own: dict[str, AsyncExitStack] = {}
        self._subscription: JetStreamContext.PushSubscription | None = None
        self._reading = 0
        """Which reading of the tape is the present one: a former one may still have messages in hand."""
        self._late = 0
        self._late_said = float("-inf")

    async def follow(self) -> None:
        """Build what is wanted, as it changes, until stopped."""
        stop, wishes = self._desk.stop, self._desk.wishes
        try:
            while not stop.is_set():
                changed = wishes.changed
                await self._meet(wishes.timeframes)
                await _first_of(stop, changed)
                if changed is wishes.changed:
                    changed.clear()
        finally:
            await self._unsubscribe()
            async with AsyncExitStack() as stack:
                for own in self._own.values():
                    stack.push_async_exit(own)
        for line in self._lines.values():
            line.end()

    async def _meet(self, wanted: frozenset[str]) -> None:
        for timeframe in (self._lines.keys() | self._own.keys()) - wanted:
            if timeframe in self._own:
                await self._own.pop(timeframe).aclose()
                continue
            del self._buildings[timeframe]
            self._lines.pop(timeframe).end()
            # Should it be wanted again, there must be one writer only.
            await self._publishing.pop(timeframe)
        added = wanted - self._lines.keys() - self._own.keys()
        if added:
            # A building takes no message before those that it begins with.
            await self._unsubscribe()
        # What is closed by one message is published in this order.
        for timeframe in sorted(added, key=timeframes.duration_ms):
            if divides_a_day(timeframe) and self._desk.venue.rest.has.get("watchTrades"):
                await self._build(timeframe)
            else:
                await self._watch(timeframe)
        if not self._buildings:
            await self._unsubscribe()
        elif added:
            await self._read()

    # ---- the exchange's own

    async def _watch(self, timeframe: str) -> None:
        feed = self._desk.feed._replace(timeframe=timeframe)
        tape, candle, _ = await self._tape(feed)
        own = OwnCandles(feed, tape, self._board, candle, self._desk.settings.candle_ms)
        async with AsyncExitStack() as stack:
            publishing = self._group.create_task(own.line.run())
            stack.push_async_callback(_published, own.line, publishing)
            await stack.enter_async_context(self._desk.venue.watching(feed, own))
            self._own[timeframe] = stack.pop_all()

    # ---- built from trades

    async def _build(self, timeframe: str) -> None:
        """Go on where the tape of the candles ends, or begin."""
        feed = self._desk.feed._replace(timeframe=timeframe)
        tape, candle, published = await self._tape(feed)
        info = await self._info()
        if candle is not None and _can_resume(candle, published, info):
            building = Building.resume(candle)
            if candle.closed:
                # Its owner may not have come to this any more.
                self._file(timeframe, candle, candle.timestamp + building.duration)
        else:
            now = await self._desk.venue.now()
            target = now - now % timeframes.duration_ms(timeframe)
            building = Building.begin(timeframe, await self._position(target, now, info), target)
        line = Line(timeframe, tape, self._board, lambda: self._open(building), self._desk.settings.candle_ms)
        self._buildings[timeframe] = building
        self._lines[timeframe] = line
        self._publishing[timeframe] = self._group.create_task(line.run())

    async def _tape(self, feed: Feed) -> tuple[Tape, Candle | None, datetime | None]:
        """A tape of candles, shut to earlier writers; its last candle, and when that was published."""
        last = await last_message(self._desk.bus, streams.CANDLES, feed.tape)
        tape = Tape(self._desk.bus, streams.CANDLES, feed.tape, last, self._desk.confirm)
        if last is None or last.data is None:
            return tape, None, None
        await tape.append(last.data)
        try:
            return tape, messages.decode(last.data, Candle), last.time
        except BadRequest as error:
            log.warning("the last candle cannot be read", **feed.fields, error=str(error))
            return tape, None, None

    async def _info(self) -> StreamInfo:
        while True:
            try:
                return await cancellable(self._desk.bus.jetstream.stream_info(streams.TRADES))
            except (nats.errors.Error, nats.js.errors.Error) as error:
                log.debug("stream TRADES does not answer", **self._desk.feed.fields, error=repr(error))
            await asyncio.sleep(RETRY_S)

    async def _position(self, target: int, now: int, info: StreamInfo) -> int:
        """The sequence after which to read in order to see what happened since `target` by the exchange's clock."""
        last = await last_message(self._desk.bus, streams.TRADES, self._trades)
        if last is None or last.seq is None:
            return info.state.last_seq
        stored_since = time.time() - (now - target + MARGIN_MS) / 1000
        first = await self._first_since(stored_since)
        # In a quiet market the last message is older, and says how far the tape was complete then.
        return min(last.seq, first if first is not None else last.seq) - 1

    async def _first_since(self, stored: float) -> int | None:
        """The sequence of the market's first message that the broker stored at or after a time (s)."""
        at = datetime.fromtimestamp(stored, UTC).isoformat().replace("+00:00", "Z")
        request = json.dumps({"next_by_subj": self._trades, "start_time": at}).encode()
        while True:
            try:
                reply = await cancellable(
                    self._desk.bus.client.request(f"$JS.API.DIRECT.GET.{streams.TRADES}", request, timeout=2)
                )
                found = (reply.headers or {}).get("Nats-Sequence")
                return int(found) if found else None
            except nats.errors.Error as error:
                log.debug("stream TRADES does not answer", **self._desk.feed.fields, error=repr(error))
            await asyncio.sleep(RETRY_S)

    # ---- reading

    async def _read(self) -> None:
        """Read the tape from where the candle furthest behind needs it."""
        reading, grain = self._reading, grain_of(self._buildings)

        async def on_message(message: Msg) -> None:
            if reading == self._reading:
                await self._take(message, grain)

        start = min(building.position for building in self._buildings.values()) + 1
        while True:
            try:
                self._subscription = await cancellable(
                    self._desk.bus.ordered(self._trades, streams.TRADES, on_message, start_sequence=start)
                )
                return
            except (nats.errors.Error, nats.js.errors.Error) as error:
                log.debug("stream TRADES cannot be read yet", **self._desk.feed.fields, error=repr(error))
            await asyncio.sleep(RETRY_S)

    async def _unsubscribe(self) -> None:
        self._reading += 1
        subscription, self._subscription = self._subscription, None
        if subscription is not None and self._desk.bus.client.is_connected:
            await subscription.unsubscribe()

    async def _take(self, message: Msg, grain: int) -> None:
        try:
            trades = messages.decode(message.data, Trades)
        except BadRequest as error:
            self._board.rejected += 1
            self._board.say("rejected", str(error))
            trades = Trades(
                exchange=self._desk.feed.exchange,
                symbol=self._desk.feed.symbol,
                trades=[],
                received=0,
                gap=_UNREADABLE,
            )
        if self._board.state != "live":
            self._board.state = "live"
            self._board.say("connected")
        said = fold(self._buildings, grain, sequence_of(message.reply), trades)
        for timeframe, each in said:
            if isinstance(each, Ended):
                self._ended(timeframe, each)
            else:
                self._came_late(timeframe, each)
        if trades.trades:
            for timeframe, line in self._lines.items():
                if self._buildings[timeframe].bar is not None:
                    line.change()
        if said:
            for line in list(self._lines.values()):
                await line.room()

    def _ended(self, timeframe: str, ended: Ended) -> None:
        if ended.bar is None:
            if ended.complete:
                self._caching.observed(timeframe, ended.since, ended.until, None)
            else:
                self._missed(timeframe, ended.since, ended.until)
            return
        candle = self._candle(timeframe, ended.since, ended, closed=True)
        self._lines[timeframe].close(candle)
        self._file(timeframe, candle, ended.until)

    def _file(self, timeframe: str, candle: Candle, until: int) -> None:
        """Have a closed candle cached, as it is or as the exchange has it."""
        if candle.complete:
            self._caching.observed(timeframe, candle.timestamp, until, row_of(candle))
        else:
            self._missed(timeframe, candle.timestamp, until)

    def _missed(self, timeframe: str, since: int, until: int) -> None:
        self._board.gaps += 1
        self._caching.missed(timeframe, Range(since, until))

    def _came_late(self, timeframe: str, late: Late) -> None:
        self._caching.missed(timeframe, Range(late.since, late.until), refresh=True)
        self._late += late.trades
        now = time.monotonic()
        if now - self._late_said >= LATE_S:
            at = datetime.fromtimestamp(late.since / 1000, UTC).isoformat(timespec="seconds")
            self._board.say("late", f"after the {timeframe} candle of {at} was closed", trades=self._late)
            self._late, self._late_said = 0, now

    def _open(self, building: Building) -> Candle | None:
        if building.since is None or building.bar is None:
            return None
        ended = Ended(building.since, 0, building.bar, building.complete)
        return self._candle(building.timeframe, building.since, ended, closed=False)

    def _candle(self, timeframe: str, since: int, ended: Ended, *, closed: bool) -> Candle:
        assert ended.bar is not None
        feed = self._desk.feed
        return candle_of(
            feed.exchange, feed.symbol, timeframe, since, ended.bar, closed=closed, complete=ended.complete
        )


def _can_resume(candle: Candle, published: datetime | None, info: StreamInfo) -> bool:
    """Whether stream TRADES still has what followed the message that a candle was built from.

    A stream that was made after the candle is another one, and its sequences say nothing.
    """
    made, state = info.created, info.state
    if made is None or published is None or published < made:
        return False
    return max(1, state.first_seq) <= candle.sequence + (not candle.closed) and 0 < candle.sequence <= state.last_seq


def sequence_of(reply: str) -> int:
    """The stream sequence in the reply subject of a JetStream message, of the form with or without domain.

    Source: nats-architecture-and-design, ADR-15; nats-py's own `metadata` also parses what nobody asks for.
    """
    tokens = reply.split(".")
    return int(tokens[5] if len(tokens) == 9 else tokens[7])


async def _published(line: Line, publishing: asyncio.Task[None]) -> None:
    line.end()
    await publishing


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
