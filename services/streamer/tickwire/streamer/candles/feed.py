"""Live candles of one market, in all timeframes that are wanted.

| subject | direction | what |
|---|---|---|
| `tape.trade.<exchange>.<token>` | reads | `Trades`, from stream TRADES: what candles are built from |
| `tape.candle.<exchange>.<token>.<timeframe>` | publishes | `Candle`; public as `md.candle.…` |
| `tape.ohlcv.<exchange>.<token>.<timeframe>` | publishes | `CandlePage`: complete candles, to be cached |
| `fetcher.fetch` | asks | `FetchRequest` for what was not wholly observed |
| `md.job.<id>` | subscribes | `Job`: whether that was fetched |
| `tape.status.candle.<exchange>.<token>` | publishes | `Status`, by `FeedStatus`; public as `md.status.candle.…` |

Candles of a timeframe that divides a day are built from the trades on the tape, whoever puts them there; a new owner
goes on with the last published candle, from the message that it was built from. Others are the exchange's own.

Volumes are in base currency. A candle whose volume is not, to the last digit, that of the exchange's own row is not
cached; the fetcher is asked for that row instead. Of an interval without a trade there is a closed candle of volume 0
where the exchange's own history has one, and none where it has none.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime

import msgspec
from nats.js.api import StreamInfo

from tickwire.bus import streams
from tickwire.errors import BadRequest
from tickwire.model import messages, timeframes
from tickwire.model.feeds import Candle, Feed, Trades
from tickwire.model.ranges import Range
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.process.bulkhead import bulkhead, reason
from tickwire.streamer.candles.builder import (
    CandleBuilder,
    Ended,
    Late,
    candle_of,
    flat,
    fold,
    row_of,
)
from tickwire.streamer.candles.clock_gate import admitted, in_time
from tickwire.streamer.candles.native import NativeCandles
from tickwire.streamer.candles.outbox import CacheOutbox
from tickwire.streamer.candles.partial_candles import divides_a_day, grain_of
from tickwire.streamer.candles.publisher import CandlePublisher
from tickwire.streamer.candles.trade_tape import TradeTapeReader, position, read_back, stream_info
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.tape.writer import TapeWriter, last_message
from tickwire.venues.registry import grid_of, profile_of
from tickwire.venues.units import BASE, stated

log = logs.get(__name__)

OWED_S = 1.0
"""How long something may be owed to the cache before the tape says so, where no candle does anyway."""
QUIET = 1000
"""Intervals without a trade that are published one after another; of longer silence the exchange is asked."""
LATE_S = 1.0
"""At most one status in so long says that trades came late; all are counted in it."""


async def run(context: FeedContext) -> None:
    """Publish the candles that `context.demand` names until `context.stop`; see FeedContext for what is raised."""
    context.status.state = "starting"
    context.status.report("starting")
    settled_ms = profile_of(context.feed.exchange).candles.settled_after_ms
    caching = CacheOutbox(context.bus, context.feed, context.status, max(context.settings.settle_ms, settled_ms))
    async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
        group.create_task(caching.send())
        group.create_task(caching.ask())
        async with lifecycle.unwrapped(), asyncio.TaskGroup() as lines:
            body = CandleFeed(context, caching, lines)
            reminding = lines.create_task(body.remind())
            await body.follow()
            reminding.cancel()
        caching.end()
    context.status.state = "stopped"
    context.status.report("stopped")


class _Group:
    """Candles that are built together from one reading of the tape."""

    def __init__(self, buildings: dict[str, CandleBuilder]) -> None:
        self.buildings = buildings
        self.grain = grain_of(buildings)
        self.reading: TradeTapeReader | None = None
        self.catching_up: asyncio.Task[None] | None = None

    @property
    def position(self) -> int:
        """The sequence after which it has to be read."""
        return min(building.position for building in self.buildings.values())

    def join(self, others: dict[str, CandleBuilder]) -> None:
        """Build these from the same reading: they are as far at least."""
        both = self.buildings | others
        # What is closed by one message is published in this order.
        self.buildings = {name: both[name] for name in sorted(both, key=timeframes.duration_ms)}
        self.grain = grain_of(self.buildings)


class CandleFeed:
    def __init__(self, context: FeedContext, caching: CacheOutbox, group: asyncio.TaskGroup) -> None:
        self._context = context
        self._status = context.status
        self._units = context.units
        self._says = profile_of(context.feed.exchange).candles.quiet
        self._caching = caching
        self._group = group
        self._trades = Feed("trade", context.feed.exchange, context.feed.symbol)
        self._groups: list[_Group] = []
        """The first is the furthest; others catch up with it."""
        self._lines: dict[str, CandlePublisher] = {}
        self._publishing: dict[str, asyncio.Task[None]] = {}
        self._own: dict[str, tuple[NativeCandles, AsyncExitStack]] = {}
        self._late = 0
        self._late_said = float("-inf")

    async def follow(self) -> None:
        """Build what is wanted, as it changes, until stopped."""
        stop, demand = self._context.stop, self._context.demand
        try:
            while not stop.is_set():
                changed = demand.changed
                await self._meet(demand.timeframes)
                await _first_of(stop, changed)
                if changed is demand.changed:
                    changed.clear()
        finally:
            async with AsyncExitStack() as stack:
                for group in self._groups:
                    stack.push_async_callback(_closed, group)
                for _, own in self._own.values():
                    stack.push_async_exit(own)
        for line in self._lines.values():
            line.end()

    async def remind(self) -> None:
        """Have the tapes say what has been owed for a while, until cancelled."""
        while True:
            await self._caching.owing.wait()
            self._caching.owing.clear()
            await asyncio.sleep(OWED_S)
            for line in [*self._lines.values(), *(own.line for own, _ in self._own.values())]:
                line.remind()

    async def _meet(self, wanted: frozenset[str]) -> None:
        for timeframe in (self._lines.keys() | self._own.keys()) - wanted:
            if timeframe in self._own:
                await self._own.pop(timeframe)[1].aclose()
                self._status.troubles.pop(timeframe, None)
                continue
            self._status.built.discard(timeframe)
            (group,) = (group for group in self._groups if group.buildings.pop(timeframe, None) is not None)
            self._lines.pop(timeframe).end()
            if not group.buildings:
                self._groups.remove(group)
                await _closed(group)
            # Should it be wanted again, there must be one writer only.
            await self._publishing.pop(timeframe)
        added: dict[str, CandleBuilder] = {}
        for timeframe in sorted(wanted - self._lines.keys() - self._own.keys(), key=timeframes.duration_ms):
            usual = grid_of(self._context.feed.exchange, timeframe).opens_at is None
            if usual and divides_a_day(timeframe) and self._context.venue.rest.has.get("watchTrades"):
                self._status.built.add(timeframe)
                added[timeframe] = await self._build(timeframe)
            else:
                await self._watch(timeframe)
        if added:
            await self._follow_along(added)

    # ---- the exchange's own

    async def _watch(self, timeframe: str) -> None:
        feed = self._context.feed._replace(timeframe=timeframe)
        tape, candle = await self._tape(feed)
        own = NativeCandles(feed, self._units, tape, self._context, candle, self._caching)
        stop, stack = asyncio.Event(), AsyncExitStack()
        publishing = self._group.create_task(own.line.run())
        stack.push_async_callback(_published, own.line, publishing)
        stack.callback(own.end)
        watching = self._group.create_task(self._watched(feed, own, stop))
        stack.push_async_callback(_left, stop, watching)
        self._own[timeframe] = own, stack

    async def _watched(self, feed: Feed, own: NativeCandles, stop: asyncio.Event) -> None:
        """Have the exchange push one timeframe until `stop`; what the exchange refuses ends no other timeframe."""

        async def watched() -> None:
            async with self._context.venue.watching(feed, own):
                await stop.wait()

        def failed(error: Exception, failures: int) -> None:
            own.failed(said := reason(error))
            if failures == 1:
                log.warning("candles of the exchange failed", **feed.fields, error=said)

        await bulkhead(watched, stop, failed=failed)

    # ---- built from trades

    async def _build(self, timeframe: str) -> CandleBuilder:
        """Go on where the tape of the candles ends, or begin."""
        feed = self._context.feed._replace(timeframe=timeframe)
        info = await stream_info(self._context.bus, self._trades)
        tape, candle = await self._tape(feed, info)
        unit = None if candle is None else stated(candle.symbol, candle.volume_unit)
        # What an earlier version began to count in contracts cannot be gone on with.
        if candle is not None and candle.sequence and unit == self._units.builds:
            building = CandleBuilder.resume(candle)
        else:
            now = await self._context.venue.now()
            # Where the exchange's time is unknown, from the end of the tape on.
            target = 0 if now is None else now - now % timeframes.duration_ms(timeframe)
            back_ms = 0 if now is None else now - target
            building = CandleBuilder.begin(
                timeframe, await position(self._context.bus, self._trades, back_ms, info), target
            )
            if candle is not None and now is not None:
                self._skipped(timeframe, candle, Range(now - int(self._context.settings.repair_span_s * 1000), target))
        if candle is not None:
            self._caching.inherit(candle)
            if candle.closed:
                # Its owner may not have come to this any more.
                self._file(timeframe, candle, candle.timestamp + building.duration)
        line = CandlePublisher(
            timeframe,
            tape,
            self._status,
            lambda: self._open(building),
            lambda: self._caching.debts(timeframe),
            candle,
            self._context.settings.candle_ms,
        )
        self._lines[timeframe] = line
        self._publishing[timeframe] = self._group.create_task(line.run())
        return building

    def _skipped(self, timeframe: str, last: Candle, reach: Range) -> None:
        """Have fetched what followed the last candle, as far back as trades are: the tape does not tell it any more."""
        duration = timeframes.duration_ms(timeframe)
        since = max(last.timestamp + duration * last.closed, reach.since - reach.since % duration)
        if since < reach.until:
            self._missed(timeframe, since, reach.until)

    async def _tape(self, feed: Feed, info: StreamInfo | None = None) -> tuple[TapeWriter, Candle | None]:
        """A tape of candles, shut to earlier writers by the repetition of its last candle; that candle.

        Its sequence is 0 unless stream TRADES, of which `info` is, has what followed it.
        """
        last = await last_message(self._context.bus, streams.CANDLES, feed.tape)
        tape = TapeWriter(self._context.bus, streams.CANDLES, feed.tape, last, self._context.confirm)
        if last is None or last.data is None:
            return tape, None
        try:
            candle = messages.decode(last.data, Candle)
        except BadRequest as error:
            log.warning("the last candle cannot be read", **feed.fields, error=str(error))
            await tape.append(last.data)
            return tape, None
        wrong = self._context.venue.admission.refusal(candle.timestamp)
        if wrong is not None:
            log.warning("the last candle cannot be", **feed.fields, reason=wrong)
            await tape.append(last.data)
            return tape, None
        if info is None or not _can_resume(candle, last.time, info):
            # Published anew, it would look as if it was of the present stream.
            candle = msgspec.structs.replace(candle, sequence=0)
        await tape.append(messages.encode(msgspec.structs.replace(candle, repeated=True)))
        return tape, candle

    # ---- reading

    async def _follow_along(self, added: dict[str, CandleBuilder]) -> None:
        """Have them built with the others once they have come as far: what they read back holds up nobody."""
        group = _Group(added)
        first = self._groups[0] if self._groups else None
        if first is not None and group.position <= first.position:
            self._groups.append(group)
            group.catching_up = self._group.create_task(self._catch_up(group))
            return
        self._groups.insert(0, group)
        if first is not None:
            await _closed(first)
            first.catching_up = self._group.create_task(self._catch_up(first))
        await self._read(group)

    async def _read(self, group: _Group) -> None:
        """Go along with the trades from here on."""

        async def take(sequence: int, trades: Trades) -> None:
            await self._take(group, sequence, trades)

        group.reading = TradeTapeReader(self._context.bus, self._trades, take, self._unreadable)
        await group.reading.open(group.position + 1)

    async def _catch_up(self, group: _Group) -> None:
        """Read back until it is as far as the first, and join it; or become the first, should that go."""
        while group is not (first := self._groups[0]):
            reached = first.position
            if group.position >= reached:
                first.join(group.buildings)
                self._groups.remove(group)
                return
            said = read_back(self._context.bus, self._trades, group.position, self._unreadable)
            async with aclosing(said) as found:
                async for sequence, trades in found:
                    await self._take(group, sequence, trades)
                    if sequence >= self._groups[0].position:
                        break
                else:
                    # What the others have come to in between is not kept any more.
                    for building in group.buildings.values():
                        building.position = max(building.position, reached)
        await self._read(group)

    def _unreadable(self, reason: str) -> None:
        self._status.rejected += 1
        self._status.report("rejected", reason)

    async def _take(self, group: _Group, sequence: int, trades: Trades) -> None:
        trades = admitted(trades, self._context.venue.admission, self._unreadable)
        if not await in_time(trades, group.buildings.values(), self._context.venue, self._context.stop):
            return
        # Where the exchange's own candles are among them, those say what is live.
        if self._status.state == "starting":
            self._status.state = "live"
            self._status.report("connected")
        said = fold(group.buildings, group.grain, sequence, trades, self._units.trades or BASE)
        for timeframe, each in said:
            if isinstance(each, Ended):
                self._ended(timeframe, each, sequence)
            else:
                self._came_late(timeframe, each)
        lines = [self._lines[timeframe] for timeframe in group.buildings]
        if trades.trades:
            for line, building in zip(lines, group.buildings.values(), strict=True):
                if building.bar is not None:
                    line.change()
        if said:
            for line in lines:
                await line.room()

    def _ended(self, timeframe: str, ended: Ended, sequence: int) -> None:
        """What the message at a sequence of stream TRADES has ended."""
        if ended.bar is None:
            if ended.complete:
                self._quiet(timeframe, ended, sequence)
            else:
                self._missed(timeframe, ended.since, ended.until)
            return
        candle = self._candle(timeframe, ended.since, ended, closed=True)
        self._lines[timeframe].close(candle)
        self._file(timeframe, candle, ended.until)

    def _quiet(self, timeframe: str, ended: Ended, sequence: int) -> None:
        """Intervals without a trade: rows, or no rows, as the exchange itself has it; where unknown it is asked."""
        duration = timeframes.duration_ms(timeframe)
        says = self._says if self._units.fetches == "base" else None
        if says == "none":
            self._caching.observed(timeframe, ended.since, ended.until, None)
        elif says == "rows" and ended.close is not None and (ended.until - ended.since) // duration <= QUIET:
            bar = flat(ended.close, sequence)
            for since in range(ended.since, ended.until, duration):
                candle = self._candle(timeframe, since, ended._replace(bar=bar), closed=True)
                self._lines[timeframe].close(candle)
                self._caching.observed(timeframe, since, since + duration, row_of(candle))
        else:
            self._caching.missed(timeframe, Range(ended.since, ended.until))

    def _file(self, timeframe: str, candle: Candle, until: int) -> None:
        """Have a closed candle cached, as it is or as the exchange has it."""
        if not candle.complete:
            self._missed(timeframe, candle.timestamp, until)
        elif self._units.cacheable and stated(candle.symbol, candle.volume_unit) == "base":
            self._caching.observed(timeframe, candle.timestamp, until, row_of(candle))
        else:
            self._caching.missed(timeframe, Range(candle.timestamp, until))

    def _missed(self, timeframe: str, since: int, until: int) -> None:
        self._status.gaps += 1
        self._caching.missed(timeframe, Range(since, until))

    def _came_late(self, timeframe: str, late: Late) -> None:
        self._caching.missed(timeframe, Range(late.since, late.until), refresh=True)
        self._late += late.trades
        now = time.monotonic()
        if now - self._late_said >= LATE_S:
            at = datetime.fromtimestamp(late.since / 1000, UTC).isoformat(timespec="seconds")
            self._status.report("late", f"after the {timeframe} candle of {at} was closed", trades=self._late)
            self._late, self._late_said = 0, now

    def _open(self, building: CandleBuilder) -> Candle | None:
        if building.since is None or building.bar is None:
            return None
        ended = Ended(building.since, 0, building.bar, building.complete)
        return self._candle(building.timeframe, building.since, ended, closed=False)

    def _candle(self, timeframe: str, since: int, ended: Ended, *, closed: bool) -> Candle:
        assert ended.bar is not None
        return candle_of(
            self._context.feed._replace(timeframe=timeframe),
            since,
            ended.bar,
            closed=closed,
            complete=ended.complete,
            volume_unit=self._units.builds,
        )


def _can_resume(candle: Candle, published: datetime | None, info: StreamInfo) -> bool:
    """Whether stream TRADES still has what followed the message that a candle was built from.

    A stream that was made after the candle is another one, and its sequences say nothing.
    """
    made, state = info.created, info.state
    if made is None or published is None or published < made:
        return False
    return max(1, state.first_seq) <= candle.sequence + (not candle.closed) and 0 < candle.sequence <= state.last_seq


async def _closed(group: _Group) -> None:
    """Have it built no further."""
    if group.catching_up is not None:
        group.catching_up.cancel()
    if group.reading is not None:
        await group.reading.close()


async def _left(stop: asyncio.Event, watching: asyncio.Task[None]) -> None:
    stop.set()
    await watching


async def _published(line: CandlePublisher, publishing: asyncio.Task[None]) -> None:
    line.end()
    await publishing


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
