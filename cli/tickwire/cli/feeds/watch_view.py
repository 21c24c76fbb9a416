"""What `tickwire watch` shows of a feed: lines, JSON, or a frame for the terminal."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from rich.console import RenderableType
from rich.text import Text

from tickwire.cli.feeds import feed_lines, feed_screens
from tickwire.cli.feeds.feed_lines import Digits
from tickwire.cli.output import consoles, encoding, render
from tickwire.model import messages
from tickwire.model.feeds import BOOK_VALID_S, Book, Candle, Feed, Status, Ticker, Trades
from tickwire.model.times import now_ms
from tickwire.tape.sequence import TapeMessage

RECENT = 20
"""Trades shown at first."""


@dataclass
class WatchView:
    """The state of a watched feed, and its output."""

    feed: Feed
    json: bool
    limit: int | None
    """End after this many lines."""
    painted: bool
    """Shown as frames rather than as lines."""
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    digits: Digits = field(default_factory=Digits)
    recent: deque[Text] | None = None
    """The last lines of earlier messages, while those are read."""
    shown: int = 0
    """Lines printed."""
    items: int = 0
    repaired: int = 0
    gaps: int = 0
    trusted: bool = True
    """Whether earlier messages on the tape may be shown as the present state."""
    status: Status | None = None
    received: int | None = None
    last_message_at: float = 0.0
    """Monotonic, s."""
    book: Book | None = None
    ticker: Ticker | None = None
    remark: str = ""
    """What else is to be said below the frame."""
    candles: feed_screens.CandleScreen = field(default_factory=feed_screens.CandleScreen)

    def __post_init__(self) -> None:
        if self.json:
            encoding.for_programs()
        self._console = consoles.out()
        self._began = now_ms()

    async def take(self, taped: TapeMessage) -> None:
        """Take a message of the feed."""
        if self.ended.done() or not (self.trusted or not taped.read_back):
            return
        self.trusted = True
        self.last_message_at = time.monotonic()
        if self.feed.kind == "candle" and self.candles.is_repeat(messages.decode(taped.data, Candle)):
            return
        lines = self._lines(taped.data)
        if self.json:
            self._print([taped.data.decode()])
        elif self.painted:
            self.changed.set()
        else:
            if taped.skipped and self.feed.kind == "trade":
                lines.insert(0, feed_lines.note("some messages are no longer on the tape", "bold red", now_ms()))
            if self.recent is not None:
                self.recent += lines
            else:
                self._print(lines)

    def hold_recent(self) -> None:
        """Hold lines back until `show_recent`."""
        self.recent = deque(maxlen=RECENT)

    def show_recent(self) -> None:
        """Print the lines that were held back."""
        if self.recent is not None:
            lines, self.recent = list(self.recent), None
            self.items, self.repaired, self.gaps = len(lines), 0, 0
            self._print(lines)

    async def take_status(self, taped: TapeMessage) -> None:
        """Take a status message of the feed."""
        if self.ended.done():
            return
        self.status = messages.decode(taped.data, Status)
        if self.painted:
            self.changed.set()
        elif self.status.at < self._began:
            return
        elif self.json:
            render.remark(feed_lines.status(self.status).plain)
        else:
            self._print([feed_lines.status(self.status)], counted=False)

    def _lines(self, data: bytes) -> list[Text]:
        """Update the state with a message; return its lines."""
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

    def _print(self, lines: Sequence[Text | str], *, counted: bool = True) -> None:
        if counted and self.limit is not None:
            lines = lines[: self.limit - self.shown]
        try:
            for each in lines:
                if isinstance(each, str):
                    print(each)
                else:
                    self._console.print(each, soft_wrap=True)
            sys.stdout.flush()
        except BrokenPipeError as error:
            # Raised where the command waits, not in the bus's own task.
            self.ended.set_exception(error)
            return
        self.shown += len(lines) if counted else 0
        if self.limit is not None and self.shown >= self.limit and not self.ended.done():
            self.ended.set_result(None)

    def _present_book(self) -> Book | None:
        """Return the book, without levels where its streamer has been silent for too long."""
        if self.book is None or time.monotonic() - self.last_message_at < BOOK_VALID_S:
            return self.book
        return msgspec.structs.replace(self.book, state="resyncing", bids=[], asks=[])

    def render(self, *, ended: bool = False) -> RenderableType:
        """Return the frame as of now; the last one when it has `ended`."""
        width, height = self._console.size
        title = str(self.feed)
        remarks: list[Text | str] = [
            Text(feed_screens.silence(self.received, now_ms()), "yellow"),
            feed_lines.status(self.status) if self.status is not None else "",
            Text(self.remark, "yellow"),
            Text("" if ended else "Ctrl-C ends", "dim"),
        ]
        if self.feed.kind == "candle":
            return feed_screens.stacked(self.candles.render(title, self.digits, width, height - 3), remarks)
        if self.feed.kind == "book":
            rows = max(1, min(feed_screens.LADDER_ROWS, (height - 8) // 2))
            body = feed_screens.ladder(self._present_book(), self.digits, rows)
        else:
            body = feed_screens.ticker(self.ticker, self.digits)
        return feed_screens.framed(body, title, remarks)
