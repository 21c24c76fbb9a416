"""The state of the demo's live part, and its output: a frame for the terminal, or lines."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from tickwire.cli.feeds import feed_lines, feed_screens
from tickwire.cli.feeds.feed_lines import Digits
from tickwire.cli.output import render
from tickwire.model import messages
from tickwire.model.feeds import Book, Candle, Status, Trades
from tickwire.tape.sequence import TapeMessage

EXCHANGE, SYMBOL = "binance", "BNB/USDT"
CHECKED = "1s"
"""Timeframe of the compared candles: short, so that many close during the demo."""
PATIENCE_S = 30.0
SHOWN_TRADES = 11
SHOWN_LEVELS = 5
CHART_ROWS = 14


@dataclass
class Scene:
    """The messages so far."""

    phase: str = "starting the feeds"
    trades: list[Trades] = field(default_factory=list)
    book: Book | None = None
    minute: feed_screens.CandleScreen = field(default_factory=feed_screens.CandleScreen)
    closed: list[Candle] = field(default_factory=list)
    statuses: deque[Status] = field(default_factory=lambda: deque(maxlen=3))
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    digits: Digits = field(default_factory=Digits)
    print_line: Callable[[str], None] = lambda text: None

    async def take_trades(self, taped: TapeMessage) -> None:
        """Take trades; those before the first live ones belong to an earlier run."""
        message = messages.decode(taped.data, Trades)
        if message.gap is not None:
            self.print_line(feed_lines.gap(message.gap))
        if (self.trades or message.source == "live") and message.trades:
            self.trades.append(message)
            await self._notify()

    async def take_book(self, taped: TapeMessage) -> None:
        """Take the newest book."""
        self.book = messages.decode(taped.data, Book)
        await self._notify()

    async def take_minute(self, taped: TapeMessage) -> None:
        """Take the candle of this minute."""
        self.minute.take(messages.decode(taped.data, Candle))
        await self._notify()

    async def take_second(self, taped: TapeMessage) -> None:
        """Take a candle for the comparison."""
        candle = messages.decode(taped.data, Candle)
        if candle.closed and candle.complete and not candle.repeated:
            self.closed.append(candle)

    async def take_status(self, taped: TapeMessage) -> None:
        """Take a status message of the trades."""
        if not taped.read_back:
            status = messages.decode(taped.data, Status)
            self.statuses.append(status)
            self.print_line(feed_lines.status(status).plain)
            await self._notify()

    async def until(self, reached: Callable[[], bool]) -> bool:
        """Wait until `reached()` after a message; return whether that came in time."""
        try:
            async with asyncio.timeout(PATIENCE_S), self.changed:
                await self.changed.wait_for(reached)
        except TimeoutError:
            return False
        return True

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    @property
    def line(self) -> str:
        """The state in one line."""
        trades = sum(len(each.trades) for each in self.trades)
        last = self.trades[-1].trades[-1] if self.trades else None
        parts = [f"{render.plural(trades, 'trade')}" + (f", last {self.digits.prices(last.price)}" if last else "")]
        if self.book is not None:
            live = feed_lines.book(self.book, self.digits).plain.partition("  ")[2].rpartition("  levels")[0]
            parts.append(live if self.book.state == "live" else "the book is resyncing")
        if self.minute.last is not None:
            parts.append(f"1m {feed_lines.candle(self.minute.last, self.digits).plain.partition('  ')[2]}")
        # Removes the padding that aligns columns.
        parts = [" ".join(part.split()) for part in parts]
        return " | ".join(parts)

    def render(self, width: int, height: int) -> RenderableType:
        """Draw the state."""
        newest = [(trade, each.source == "rest") for each in self.trades[-SHOWN_TRADES:] for trade in each.trades]
        tape = [feed_lines.trade(trade, self.digits, repaired=rest) for trade, rest in newest[-SHOWN_TRADES:]]
        tape += [Text("")] * (SHOWN_TRADES - len(tape))
        panels = Columns(
            [
                Panel(Group(*tape), title="trades", title_align="left", width=58),
                Panel(feed_screens.ladder(self.book, self.digits, SHOWN_LEVELS), title="book", title_align="left"),
            ]
        )
        events = [feed_lines.status(each) for each in self.statuses]
        room = height - SHOWN_TRADES - 8
        title = f"{EXCHANGE} {SYMBOL} 1m"
        if room >= CHART_ROWS:
            below = self.minute.render(title, self.digits, width, min(room, 20))
        else:
            below = feed_lines.candle(self.minute.last, self.digits) if self.minute.last else Text("")
        return Group(Text(f"{EXCHANGE} {SYMBOL}: {self.phase}", "bold"), panels, below, *events)
