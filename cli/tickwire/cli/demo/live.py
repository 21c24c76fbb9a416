"""The live part of `tickwire demo`: feeds followed, the exchange's WebSocket cut, and what is on the tape counted."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import aiohttp
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from tickwire.bus.connection import Bus
from tickwire.cli.feeds import feed_lines, feed_screens
from tickwire.cli.feeds.feed_lines import Digits
from tickwire.cli.feeds.watch import FRAME_S, HISTORY, followed_status, history
from tickwire.cli.output import render
from tickwire.client import fetch_jobs, interest
from tickwire.model import messages
from tickwire.model.feeds import Book, Candle, Feed, Status, Trades
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.process import lifecycle
from tickwire.tape.reader import TapeReader, read_tape
from tickwire.tape.sequence import TapeMessage

EXCHANGE, SYMBOL = "binance", "BNB/USDT"
TRADES_A_MINUTE = 1200
BEFORE_S = 3.0
CUT_S = 3.0
AFTER_S = 2.5
PATIENCE_S = 30.0
LINE_S = 1.0
SHOWN_TRADES = 11
SHOWN_LEVELS = 5
CHART_ROWS = 14
CHECKED = "1s"
"""Candles short enough for many of them to close meanwhile."""


@dataclass(frozen=True)
class Count:
    """Trades as they are on the tape, by their ids, against the exchange's own."""

    first: int
    last: int
    trades: int
    repaired: int
    twice: int
    missing: int
    strange: int
    """Trades on the tape that the exchange does not know, or knows otherwise."""

    @property
    def right(self) -> bool:
        """Whether each is there, once."""
        return self.trades > 0 and not (self.twice or self.missing or self.strange)

    @property
    def told(self) -> str:
        """In words."""
        of = (
            f"{render.plural(self.trades, 'trade')} of {EXCHANGE} {SYMBOL} on the tape, ids {self.first} to {self.last}"
        )
        if self.right:
            return f"{of}: none missing, none twice, all as in the exchange's own list"
        return f"{of}: {self.missing:,} missing, {self.twice:,} twice, {self.strange:,} not as the exchange has them"


def counted(taped: Iterable[Trades], truth: Iterable[dict[str, Any]]) -> Count:
    """Compare the trades of consecutive messages with the exchange's raw trades (`id`, `agg`, `price`, `amount`).

    Binance's feed is of aggregate trades: their ids count up by one, and each has the amounts of its raw trades.
    """
    known: dict[int, tuple[float, float]] = {}
    for each in truth:
        known[each["agg"]] = (each["price"], known.get(each["agg"], (0.0, 0.0))[1] + each["amount"])
    found: list[int] = []
    repaired = strange = 0
    for message in taped:
        repaired += len(message.trades) if message.source == "rest" else 0
        for trade in message.trades:
            found.append(int(trade.id or -1))
            right = known.get(found[-1])
            strange += right is None or not (trade.price == right[0] and math.isclose(trade.amount, right[1]))
    if not found:
        return Count(0, 0, 0, 0, 0, 0, 0)
    ids = set(found)
    first, last = min(ids), max(ids)
    unordered = sum(later <= earlier for earlier, later in pairwise(found))
    return Count(
        first=first,
        last=last,
        trades=len(found),
        repaired=repaired,
        twice=max(len(found) - len(ids), unordered),
        missing=last - first + 1 - len(ids),
        strange=strange,
    )


def unequal(candles: Sequence[Candle], truth: Iterable[Sequence[float]]) -> list[Candle]:
    """Those that are not as the exchange's own `[time, open, high, low, close, volume]`."""
    known = {int(row[0]): row for row in truth}
    return [
        each
        for each in candles
        if (row := known.get(each.timestamp)) is None
        or (each.open, each.high, each.low, each.close) != tuple(row[1:5])
        or not math.isclose(each.volume, row[5], rel_tol=1e-9)
    ]


@dataclass
class Scene:
    """What has been heard so far."""

    phase: str = "starting the feeds"
    trades: list[Trades] = field(default_factory=list)
    book: Book | None = None
    minute: feed_screens.Candles = field(default_factory=feed_screens.Candles)
    closed: list[Candle] = field(default_factory=list)
    statuses: deque[Status] = field(default_factory=lambda: deque(maxlen=3))
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    digits: Digits = field(default_factory=Digits)
    say: Callable[[str], None] = lambda text: None

    async def take_trades(self, taped: TapeMessage) -> None:
        """Trades; what was caught up with before the first live ones is of another day."""
        message = messages.decode(taped.data, Trades)
        if message.gap is not None:
            self.say(feed_lines.gap(message.gap))
        if (self.trades or message.source == "live") and message.trades:
            self.trades.append(message)
            await self._tell()

    async def take_book(self, taped: TapeMessage) -> None:
        """The newest book."""
        self.book = messages.decode(taped.data, Book)
        await self._tell()

    async def take_minute(self, taped: TapeMessage) -> None:
        """The candle of this minute."""
        self.minute.take(messages.decode(taped.data, Candle))
        await self._tell()

    async def take_second(self, taped: TapeMessage) -> None:
        """Candles to be compared."""
        candle = messages.decode(taped.data, Candle)
        if candle.closed and candle.complete and not candle.repeated:
            self.closed.append(candle)

    async def take_status(self, taped: TapeMessage) -> None:
        """What happened to the trades."""
        if not taped.read_back:
            status = messages.decode(taped.data, Status)
            self.statuses.append(status)
            self.say(feed_lines.status(status).plain)
            await self._tell()

    async def until(self, reached: Callable[[], bool]) -> bool:
        """Wait for something to be heard; whether it was."""
        try:
            async with asyncio.timeout(PATIENCE_S), self.changed:
                await self.changed.wait_for(reached)
        except TimeoutError:
            return False
        return True

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    @property
    def line(self) -> str:
        """All of it in one line."""
        trades = sum(len(each.trades) for each in self.trades)
        last = self.trades[-1].trades[-1] if self.trades else None
        parts = [f"{render.plural(trades, 'trade')}" + (f", last {self.digits.prices(last.price)}" if last else "")]
        if self.book is not None:
            live = feed_lines.book(self.book, self.digits).plain.partition("  ")[2].rpartition("  levels")[0]
            parts.append(live if self.book.state == "live" else "the book is resyncing")
        if self.minute.last is not None:
            parts.append(f"1m {feed_lines.candle(self.minute.last, self.digits).plain.partition('  ')[2]}")
        # The gaps between columns are for lines below each other.
        parts = [" ".join(part.split()) for part in parts]
        return " | ".join(parts)

    def render(self, width: int, height: int) -> RenderableType:
        """All of it as a picture."""
        newest = [(trade, each.source == "rest") for each in self.trades[-SHOWN_TRADES:] for trade in each.trades]
        tape = [feed_lines.trade(trade, self.digits, repaired=rest) for trade, rest in newest[-SHOWN_TRADES:]]
        tape += [Text("")] * (SHOWN_TRADES - len(tape))
        panels = Columns(
            [
                Panel(Group(*tape), title="trades", title_align="left", width=58),
                Panel(feed_screens.ladder(self.book, self.digits, SHOWN_LEVELS), title="book", title_align="left"),
            ]
        )
        said = [feed_lines.status(each) for each in self.statuses]
        room = height - SHOWN_TRADES - 8
        title = f"{EXCHANGE} {SYMBOL} 1m"
        if room >= CHART_ROWS:
            below = self.minute.render(title, self.digits, width, min(room, 20))
        else:
            below = feed_lines.candle(self.minute.last, self.digits) if self.minute.last else Text("")
        return Group(Text(f"{EXCHANGE} {SYMBOL}: {self.phase}", "bold"), panels, below, *said)


async def prepared(bus: Bus) -> None:
    """Have something to show to the left of the first live candle: the minutes before it, from the exchange."""
    job = fetch_jobs.new_id()
    key = Key(EXCHANGE, SYMBOL, "1m")
    async with fetch_jobs.followed(bus, [job]) as following:
        order = await fetch_jobs.order(bus, key, job, now_ms() - HISTORY * 60_000, None, refresh=False)
        if order.error is None:
            await following.until_ended([job], lambda job: None, asyncio.Event())


async def live(bus: Bus, gateway: str) -> bool:
    """Follow the feeds, cut the exchange's WebSocket meanwhile, count; whether all was as it should be.

    `gateway` is the simulated exchange. Raises the streamer's refusals.
    """
    scene = Scene()
    trade, book = Feed("trade", EXCHANGE, SYMBOL), Feed("book", EXCHANGE, SYMBOL)
    minute, second = (Feed("candle", EXCHANGE, SYMBOL, each) for each in ("1m", CHECKED))
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(asked(gateway))
        name = interest.subscriber("demo")
        for feed in (trade, book, minute, second):
            await stack.enter_async_context(interest.interested(bus, feed, name))
        scene.minute = feed_screens.Candles(await history(bus, minute))
        await stack.enter_async_context(followed_status(bus, trade, scene.take_status))
        following = await stack.enter_async_context(read_tape(bus, trade.public, scene.take_trades, back=0))
        await stack.enter_async_context(read_tape(bus, book.public, scene.take_book))
        await stack.enter_async_context(read_tape(bus, minute.public, scene.take_minute))
        await stack.enter_async_context(read_tape(bus, second.public, scene.take_second, back=0))
        console = render.out()
        async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
            painter = group.create_task(_paint(scene) if console.is_terminal else _write(scene))
            try:
                cut = await _play(scene, following, http)
            finally:
                painter.cancel()
        return await verdict(scene, http, cut)


async def _play(scene: Scene, following: TapeReader, http: aiohttp.ClientSession) -> float | None:
    """Before, the cut, and after: how long the trades were away (s), None where they did not come at all."""
    if not await scene.until(lambda: bool(scene.trades)):
        return None
    scene.phase = "live"
    await asyncio.sleep(BEFORE_S)
    scene.phase = f"the exchange's WebSocket is cut for {CUT_S:g} s"
    scene.say(f"cutting the exchange's WebSocket for {CUT_S:g} s")
    began = time.monotonic()
    async with http.delete("log") as response:
        response.raise_for_status()
    async with http.post("faults", json={"kind": "ws_cut", "seconds": CUT_S}) as response:
        response.raise_for_status()
    before = len(scene.trades)
    back = await scene.until(lambda: any(each.source == "rest" for each in scene.trades[before:]))
    away = time.monotonic() - began
    back = back and await scene.until(lambda: scene.trades[-1].source == "live")
    scene.phase = "live again; what was missed has been fetched" if back else "nothing came back"
    await asyncio.sleep(AFTER_S)
    await following.catch_up()
    return away


def asked(gateway: str) -> aiohttp.ClientSession:
    """A session for what the simulated exchange itself knows."""
    return aiohttp.ClientSession(f"{gateway}/_sim/")


async def verdict(scene: Scene, http: aiohttp.ClientSession, away: float | None) -> bool:
    """Print what is on the tape against what the exchange knows."""
    if away is None:
        print(f"live: no trade of {EXCHANGE} {SYMBOL} came within {PATIENCE_S:g} s")
        return False
    since = scene.trades[0].trades[0].timestamp
    truth = await _get(http, "truth/trades", symbol=SYMBOL, since=since)
    count = counted(scene.trades, truth)
    log = await _get(http, "log")
    ended = sum(each["event"] == "disconnect" for each in log)
    print(f"live: {count.told}")
    print(
        f"cut: {render.plural(ended, 'WebSocket')} ended, trades came again after {away:.1f} s; "
        f"{render.plural(count.repaired, 'trade')} that happened meanwhile were fetched by REST and put in order"
    )
    # Candles that the last run left behind are caught up with first: the truth has to go back as far.
    oldest = min((each.timestamp for each in scene.closed), default=since)
    rows = await _get(http, "truth/candles", symbol=SYMBOL, timeframe=CHECKED, since=oldest)
    wrong = unequal(scene.closed, rows)
    print(
        f"candles: {render.plural(len(scene.closed), 'candle')} of {CHECKED} closed meanwhile, "
        + ("all equal to the exchange's own" if not wrong else f"{len(wrong):,} not equal to the exchange's own")
    )
    return count.right and count.repaired > 0 and ended > 0 and bool(scene.closed) and not wrong


async def _get(http: aiohttp.ClientSession, what: str, **query: Any) -> Any:
    async with http.get(what, params=query) as response:
        response.raise_for_status()
        return await response.json()


async def _paint(scene: Scene) -> None:
    """The picture, on a terminal, until cancelled."""
    console = render.out()
    with Live(console=console, auto_refresh=False) as picture:
        while True:
            picture.update(scene.render(*console.size), refresh=True)
            await asyncio.sleep(FRAME_S)


async def _write(scene: Scene) -> None:
    """A line each second, and one for each event, until cancelled."""
    scene.say = lambda text: print(text, flush=True)
    while True:
        await asyncio.sleep(LINE_S)
        print(scene.line, flush=True)
