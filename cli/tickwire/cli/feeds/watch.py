"""`tickwire watch`: a feed as it happens, on a terminal or as lines."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.feeds import feed_lines, feed_screens
from tickwire.cli.feeds.feed_lines import Digits
from tickwire.cli.output import encoding as output_encoding
from tickwire.cli.output import render
from tickwire.client import columns, interest
from tickwire.errors import BadRequest, TickwireError
from tickwire.model import messages, timeframes
from tickwire.model.feeds import BOOK_VALID_S, Book, Candle, Feed, Status, Ticker, Trades
from tickwire.model.messages import Row
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.process import lifecycle
from tickwire.process.lifecycle import Exit, until_stopped
from tickwire.tape.reader import TapeReader, read_tape
from tickwire.tape.sequence import TapeMessage

BACK = 20
"""Trades shown at first."""
HISTORY = 100
"""Candles shown at first, where the cache has them."""
FRAME_S = 0.125
"""How often a terminal is painted anew at most."""
STILL_S = 1.0
"""And at least, because ages go on."""


@dataclass
class View:
    """What has been heard of a feed, and what is shown of it."""

    feed: Feed
    json: bool
    limit: int | None
    """End after so many lines."""
    painted: bool
    """Shown as a picture rather than as lines."""
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    digits: Digits = field(default_factory=Digits)
    before: deque[Text] | None = None
    """The last lines of what was there before, while it comes."""
    shown: int = 0
    """Lines."""
    items: int = 0
    repaired: int = 0
    gaps: int = 0
    trusted: bool = True
    """Whether what was on the tape before may be shown as the present state."""
    status: Status | None = None
    received: int | None = None
    heard: float = 0.0
    """When the last message came (monotonic, s)."""
    book: Book | None = None
    ticker: Ticker | None = None
    candles: feed_screens.Candles = field(default_factory=feed_screens.Candles)

    def __post_init__(self) -> None:
        if self.json:
            output_encoding.for_programs()
        self._console = render.out()
        self._began = now_ms()

    async def take(self, taped: TapeMessage) -> None:
        """A message of the feed."""
        if self.ended.done() or not (self.trusted or not taped.read_back):
            return
        self.trusted = True
        self.heard = time.monotonic()
        if self.feed.kind == "candle" and self.candles.knows(messages.decode(taped.data, Candle)):
            return
        found = self._told(taped.data)
        if self.json:
            self._print([taped.data.decode()])
        elif self.painted:
            self.changed.set()
        else:
            if taped.skipped and self.feed.kind == "trade":
                found.insert(0, feed_lines.note("some messages are no longer on the tape", "bold red", now_ms()))
            if self.before is not None:
                self.before += found
            else:
                self._print(found)

    def begin(self) -> None:
        """What was there before is through: show the end of it."""
        if self.before is not None:
            found, self.before = list(self.before), None
            self.items, self.repaired, self.gaps = len(found), 0, 0
            self._print(found)

    async def take_status(self, taped: TapeMessage) -> None:
        """A message about the feed."""
        if self.ended.done():
            return
        self.status = messages.decode(taped.data, Status)
        if self.painted:
            self.changed.set()
        elif self.status.at < self._began:
            return
        elif self.json:
            render.say(feed_lines.status(self.status).plain)
        else:
            self._print([feed_lines.status(self.status)], counted=False)

    def _told(self, data: bytes) -> list[Text]:
        """Take in a message; its lines."""
        if self.feed.kind == "trade":
            trades = messages.decode(data, Trades)
            self.items += len(trades.trades)
            self.repaired += len(trades.trades) if trades.source == "rest" else 0
            self.gaps += trades.gap is not None
            return [] if self.json else feed_lines.trades(trades, self.digits)
        self.items += 1
        if self.feed.kind == "book":
            self.book = messages.decode(data, Book)
            self.received = self.book.received
            return [feed_lines.book(self.book, self.digits)]
        if self.feed.kind == "ticker":
            self.ticker = messages.decode(data, Ticker)
            self.received = self.ticker.received
            return [feed_lines.ticker(self.ticker, self.digits)]
        candle = messages.decode(data, Candle)
        self.received = now_ms()
        self.candles.take(candle)
        return [feed_lines.candle(candle, self.digits)]

    def _print(self, found: Sequence[Text | str], *, counted: bool = True) -> None:
        if counted and self.limit is not None:
            found = found[: self.limit - self.shown]
        try:
            for each in found:
                if isinstance(each, str):
                    print(each)
                else:
                    self._console.print(each, soft_wrap=True)
            sys.stdout.flush()
        except BrokenPipeError as error:
            # Not here, in the bus's own task, but where the command ends.
            self.ended.set_exception(error)
            return
        self.shown += len(found) if counted else 0
        if self.limit is not None and self.shown >= self.limit and not self.ended.done():
            self.ended.set_result(None)

    def _present_book(self) -> Book | None:
        """The book, without levels where its streamer has been silent for too long."""
        if self.book is None or time.monotonic() - self.heard < BOOK_VALID_S:
            return self.book
        return msgspec.structs.replace(self.book, state="resyncing", bids=[], asks=[])

    def render(self) -> RenderableType:
        """The picture as of now."""
        width, height = self._console.size
        title = str(self.feed)
        remarks: list[Text | str] = [
            Text(feed_screens.silence(self.received, now_ms()), "yellow"),
            feed_lines.status(self.status) if self.status is not None else "",
            Text("Ctrl-C ends", "dim"),
        ]
        if self.feed.kind == "candle":
            return feed_screens.stacked(self.candles.render(title, self.digits, width, height - 3), remarks)
        body = (
            feed_screens.ladder(
                self._present_book(), self.digits, max(1, min(feed_screens.LADDER_ROWS, (height - 8) // 2))
            )
            if self.feed.kind == "book"
            else feed_screens.ticker(self.ticker, self.digits)
        )
        return feed_screens.framed(body, title, remarks)


async def watch(
    stop: asyncio.Event,
    config: Path | None,
    kind: str,
    exchange: str,
    symbol: str,
    timeframe: str | None,
    depth: int | None,
    cadence: int | None,
    count: int | None,
    seconds: float | None,
    json: bool,
) -> int:
    """Show a feed until interrupted, or for so many lines or seconds."""
    feeds = arguments.feeds(kind, exchange, symbol, timeframe)
    if len(feeds) != 1:
        raise BadRequest("watch shows one feed", "name one exchange, one symbol and, for candles, one timeframe")
    if kind != "book" and (depth is not None or cadence is not None):
        raise BadRequest(f"a {kind} feed has no --depth or --cadence", "they are for books; leave them out")
    if count is not None and count < 1:
        raise BadRequest(f"--count {count} is less than 1", "leave it out to go on until Ctrl-C")
    if seconds is not None and not seconds >= 0:
        raise BadRequest(f"--for {seconds} is no time in seconds", "leave it out to go on until Ctrl-C")
    (feed,) = feeds
    painted = kind != "trade" and not json and count is None and sys.stdout.isatty()
    view = View(feed, json, count, painted)
    began = time.monotonic()
    async with connected(settings_of(config), stop) as bus:
        await until_stopped(stop, _watch(bus, view, depth, cadence, seconds))
    noun = {"trade": "trade", "candle": "update"}.get(kind, "message")
    items = view.items if view.painted or json else view.shown
    told = [f"{feed}: {render.plural(items, noun)} in {time.monotonic() - began:.0f} s"]
    if view.repaired:
        told.append(f"{view.repaired:,} of them fetched after an interruption")
    if view.gaps:
        told.append(render.plural(view.gaps, "gap"))
    render.say(", ".join(told))
    # Without an end of its own, being interrupted is how it ends.
    return Exit.INTERRUPTED if stop.is_set() and not (count is None and seconds is None) else Exit.OK


async def _watch(bus: Bus, view: View, depth: int | None, cadence: int | None, seconds: float | None) -> None:
    feed = view.feed
    name = interest.subscriber("watch")
    async with AsyncExitStack() as stack:
        report = await stack.enter_async_context(
            interest.interested(bus, feed, name, depth=depth, cadence_ms=cadence, say=render.say)
        )
        # What the tape says of a feed that did not run is of the past, not the present state.
        view.trusted = feed.kind in ("trade", "candle") or report.state in ("live", "resyncing")
        if feed.timeframe is not None:
            view.candles = feed_screens.Candles(await history(bus, feed))
        back = 1 if feed.kind != "trade" else 0 if view.json else BACK
        view.before = deque(maxlen=BACK) if feed.kind == "trade" and not view.json else None
        await stack.enter_async_context(followed_status(bus, feed, view.take_status))
        await stack.enter_async_context(read_tape(bus, feed.public, view.take, back=back))
        view.begin()
        async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
            painter = group.create_task(_paint(view)) if view.painted else None
            # Not awaited itself: a timeout would cancel it.
            await asyncio.wait({view.ended}, timeout=seconds)
            if painter is not None:
                painter.cancel()
        if view.ended.done():
            view.ended.result()


def followed_status(
    bus: Bus, feed: Feed, take: Callable[[TapeMessage], Awaitable[None]]
) -> AbstractAsyncContextManager[TapeReader]:
    """Follow what is said about a feed, the last word first."""
    return read_tape(bus, f"md.{feed.status.removeprefix('tape.')}", take)


async def history(bus: Bus, feed: Feed, count: int = HISTORY) -> list[Row]:
    """The newest candles that the cache has of a feed; none where it has none, or does not run."""
    assert feed.timeframe is not None
    since = now_ms() - count * timeframes.duration_ms(feed.timeframe)
    rows: list[Row] = []
    try:
        async for chunk in columns.chunks(bus, Key(feed.exchange, feed.symbol, feed.timeframe), since, None, None):
            rows += columns.rows_of(chunk)
    except TickwireError:
        return rows
    return rows


async def _paint(view: View) -> None:
    """Paint what changed, until cancelled."""
    with Live(console=render.out(), auto_refresh=False, screen=False) as live:
        while True:
            live.update(view.render(), refresh=True)
            await asyncio.sleep(FRAME_S)
            try:
                async with asyncio.timeout(STILL_S):
                    await view.changed.wait()
            except TimeoutError:
                continue
            view.changed.clear()
