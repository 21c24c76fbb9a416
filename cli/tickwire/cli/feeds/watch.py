"""`tickwire watch`: subscribes to a feed and shows it (`watch_view.py`) until it ends."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.arguments import FeedNames
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.feeds import feed_screens
from tickwire.cli.feeds.watch_view import RECENT, WatchView
from tickwire.cli.output import consoles, render
from tickwire.client import columns, interest
from tickwire.client.history import fetched
from tickwire.errors import BadRequest, NotCached, TickwireError
from tickwire.model import timeframes
from tickwire.model.feeds import Feed
from tickwire.model.messages import Row
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.process import lifecycle
from tickwire.process.lifecycle import Exit, until_stopped
from tickwire.tape.reader import TapeReader, read_tape
from tickwire.tape.sequence import TapeMessage
from tickwire.task_group import TaskGroup

HISTORY = 100
"""Candles shown at first, where the cache has them."""
FRAME_S = 0.125
"""The shortest pause between two frames on a terminal."""
STILL_S = 1.0
"""The longest pause between two frames, because they show ages."""


@dataclass(frozen=True)
class WatchOptions:
    """Which feed to watch, the parameters of a book, and when to end."""

    names: FeedNames
    depth: int | None = None
    cadence: int | None = None
    count: int | None = None
    seconds: float | None = None
    json: bool = False

    def feed(self) -> Feed:
        """Check the options; return the feed. Raises BadRequest."""
        feeds, kind = arguments.feeds(*self.names), self.names.kind
        if len(feeds) != 1:
            raise BadRequest("watch shows one feed", "name one exchange, one symbol and, for candles, one timeframe")
        if kind != "book" and (self.depth is not None or self.cadence is not None):
            raise BadRequest(f"a {kind} feed has no --depth or --cadence", "they are for books; leave them out")
        if self.count is not None and self.count < 1:
            raise BadRequest(f"--count {self.count} is less than 1", "leave it out to continue until Ctrl-C")
        if self.seconds is not None and not self.seconds >= 0:
            raise BadRequest(f"--for {self.seconds} is no time in seconds", "leave it out to continue until Ctrl-C")
        return feeds[0]


async def watch(stop: asyncio.Event, config: Path | None, options: WatchOptions) -> int:
    """Show a feed until interrupted, or for `count` lines or `seconds`."""
    feed = options.feed()
    painted = feed.kind != "trade" and not options.json and options.count is None and sys.stdout.isatty()
    view = WatchView(feed, options.json, options.count, painted)
    began = time.monotonic()
    async with connected(settings_of(config), stop) as bus:
        await until_stopped(stop, _watch(bus, view, options))
    noun = {"trade": "trade", "candle": "update"}.get(feed.kind, "message")
    items = view.items if view.painted or options.json else view.shown
    summary = [f"{feed}: {render.plural(items, noun)} in {time.monotonic() - began:.0f} s"]
    if view.repaired:
        summary.append(f"{view.repaired:,} of them fetched after an interruption")
    if view.gaps:
        summary.append(render.plural(view.gaps, "gap"))
    render.remark(", ".join(summary))
    # Without --count and --for, Ctrl-C is the regular end.
    endless = options.count is None and options.seconds is None
    return Exit.INTERRUPTED if stop.is_set() and not endless else Exit.OK


async def _watch(bus: Bus, view: WatchView, options: WatchOptions) -> None:
    feed = view.feed
    name = interest.subscriber("watch")
    request = interest.start_request(feed, name, depth=options.depth, cadence_ms=options.cadence)
    async with AsyncExitStack() as stack:
        report = await stack.enter_async_context(interest.interested(bus, request, report=render.remark))
        # The book or ticker that a stopped feed left on the tape is not the present state.
        view.trusted = feed.kind in ("trade", "candle") or report.state in ("live", "resyncing")
        if feed.timeframe is not None:
            view.candles = feed_screens.CandleScreen(await history(bus, feed), feed.timeframe)
        back = 1
        if feed.kind == "trade":
            back = 0 if view.json else RECENT
            if not view.json:
                view.hold_recent()
        await stack.enter_async_context(read_status(bus, feed, view.take_status))
        await stack.enter_async_context(read_tape(bus, feed.public, view.take, back=back))
        view.show_recent()
        async with lifecycle.unwrapped(), TaskGroup() as group:
            beside = [group.create_task(_paint(view))] if view.painted else []
            if view.painted and feed.timeframe is not None:
                beside.append(group.create_task(_fetch_history(bus, view)))
            # Waited for in a set: a timeout must not cancel the future.
            await asyncio.wait({view.ended}, timeout=options.seconds)
            for each in beside:
                each.cancel()
        if view.ended.done():
            view.ended.result()


def read_status(
    bus: Bus, feed: Feed, take: Callable[[TapeMessage], Awaitable[None]]
) -> AbstractAsyncContextManager[TapeReader]:
    """Read the status messages of a feed, from the newest on."""
    return read_tape(bus, f"md.{feed.status.removeprefix('tape.')}", take)


async def _fetch_history(bus: Bus, view: WatchView) -> None:
    """Fetch the candles before the live ones, and show them; where that fails the frame says why."""
    feed = view.feed
    assert feed.timeframe is not None
    key = Key(feed.exchange, feed.symbol, feed.timeframe)
    try:
        found = (await fetched(bus, [key], begin_of(feed), None, progress=False))[key]
        if isinstance(found, TickwireError):
            raise found
    except TickwireError as error:
        view.remark = f"earlier candles are not fetched: {error}"
    view.candles.add_history(await history(bus, feed))
    view.changed.set()


def begin_of(feed: Feed, count: int = HISTORY) -> int:
    """Return the time (ms) from which a feed's candles are shown."""
    assert feed.timeframe is not None
    return now_ms() - count * timeframes.duration_ms(feed.timeframe)


async def history(bus: Bus, feed: Feed, count: int = HISTORY) -> list[Row]:
    """Return the newest cached candles of a feed. Print a remark where the cache does not give them."""
    assert feed.timeframe is not None
    since = begin_of(feed, count)
    rows: list[Row] = []
    try:
        async for chunk in columns.chunks(bus, Key(feed.exchange, feed.symbol, feed.timeframe), since, None, None):
            rows += columns.rows_of(chunk)
    except NotCached:
        # The usual case of a feed that was just started.
        pass
    except TickwireError as error:
        render.remark(f"earlier candles are not shown: {error}")
    return rows


async def _paint(view: WatchView) -> None:
    """Paint a frame after each change, until cancelled; the last one stays on the terminal."""
    with consoles.painting(consoles.out(), lambda: view.render(ended=True)) as live:
        while True:
            live.update(view.render(), refresh=True)
            await asyncio.sleep(FRAME_S)
            if await lifecycle.pause(view.changed, STILL_S):
                view.changed.clear()
