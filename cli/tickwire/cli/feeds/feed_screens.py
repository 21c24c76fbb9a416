"""Draws feeds for a terminal: a book as a ladder, a ticker as a panel, candles as a chart. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tickwire.cli.feeds import feed_lines
from tickwire.cli.feeds.feed_lines import Digits
from tickwire.cli.output import render
from tickwire.model.feeds import Book, Candle, Level, Ticker
from tickwire.model.messages import Row

BAR_CELLS = 24
LADDER_ROWS = 10
"""Levels a side, where the terminal is high enough."""
KEPT = 500
"""Candles kept for the chart."""
STALE_MS = 5_000
"""After this time without a message a feed is shown as silent."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """Draw a bar for a share between 0 and 1, in eighths of a cell; at least one eighth above 0."""
    eighths = max(1 if share > 0 else 0, round(min(1.0, share) * cells * 8))
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def silence(received: int | None, now: int) -> str:
    """Return how long a feed has been silent at `now` (ms); empty where it is not silent."""
    if received is None:
        return "nothing yet"
    return "" if now - received < STALE_MS else f"nothing for {render.age(now - received)}"


def ladder(message: Book | None, digits: Digits, rows: int = LADDER_ROWS) -> RenderableType:
    """Draw asks above bids, with the spread between them and a bar for each amount.

    Without a live book, return the reason instead.
    """
    if message is None:
        return Text("waiting for the book", "yellow")
    if message.state != "live":
        return Text("resyncing: there is no valid book", "yellow")
    asks, bids = message.asks[:rows], message.bids[:rows]
    most = max((amount for _, amount in (*asks, *bids)), default=0.0)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for justify in ("right", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    # Formatted once before, so that all have the decimals of the longest.
    for price, amount in (*asks, *bids):
        digits.prices(price)
        digits.amounts(amount)

    def add(level: Level, style: str) -> None:
        share = level[1] / most if most > 0 else 0.0
        table.add_row(
            Text(digits.prices(level[0]), style), digits.amounts(level[1]), Text(f"{bar(share):<{BAR_CELLS}}", style)
        )

    for level in reversed(asks):
        add(level, "red")
    table.add_row(Text("spread", "dim"), Text(feed_lines.spread(message).partition(" ")[0], "bold"), "")
    for level in bids:
        add(level, "green")
    return table


def ticker(message: Ticker | None, digits: Digits) -> RenderableType:
    """Draw best prices, the last price, and the last 24 hours."""
    if message is None:
        return Text("waiting for the ticker", "yellow")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(justify="right", no_wrap=True)
    moved = feed_lines.change(message)
    last = "-" if message.last is None else digits.prices(message.last)
    table.add_row("last", Text(last, "bold"))
    if moved is not None:
        table.add_row("24 h", Text(f"{moved:+.2f} %", "green" if moved >= 0 else "red"))
    for name, price, amount, style in (
        ("ask", message.ask, message.ask_amount, "red"),
        ("bid", message.bid, message.bid_amount, "green"),
    ):
        if price is not None:
            size = "" if amount is None else f"{digits.amounts(amount)} x "
            table.add_row(name, Text.assemble(size, (digits.prices(price), style)))
    prices = {"mid": message.mid, "mark": message.mark, "open": message.open, "high": message.high, "low": message.low}
    for name, value in prices.items():
        if value is not None:
            table.add_row(name, digits.prices(value))
    for name, value in (("volume", message.volume), ("quote volume", message.quote_volume)):
        if value is not None:
            table.add_row(name, render.number(value))
    return table


class CandleScreen:
    """The newest candles of a feed, including the open one: cached history, then live updates."""

    def __init__(self, history: Sequence[Row] = (), timeframe: str | None = None) -> None:
        self._rows: dict[int, Row] = {row[0]: row for row in history}
        self._timeframe = timeframe
        self.last: Candle | None = None

    def is_repeat(self, message: Candle) -> bool:
        """Return whether a new owner of the feed repeats a closed candle that was shown before."""
        last = self.last
        return message.closed and message.repeated and last is not None and last.timestamp >= message.timestamp

    def add_history(self, rows: Sequence[Row]) -> None:
        """Add closed candles that were fetched meanwhile; they replace what was seen of them."""
        for row in rows:
            if self.last is None or row[0] < self.last.timestamp:
                self._rows[row[0]] = row

    def take(self, message: Candle) -> None:
        """Take a candle; an incomplete closed one does not replace an earlier row."""
        if self.last is None or message.timestamp >= self.last.timestamp:
            self.last = message
        if not message.complete and message.closed and message.timestamp in self._rows:
            return
        self._rows[message.timestamp] = (
            message.timestamp,
            message.open,
            message.high,
            message.low,
            message.close,
            message.volume,
        )
        while len(self._rows) > KEPT:
            del self._rows[min(self._rows)]

    @property
    def rows(self) -> list[Row]:
        """The candles in order of time."""
        return [self._rows[key] for key in sorted(self._rows)]

    def render(self, title: str, digits: Digits, width: int, height: int) -> RenderableType:
        """Draw a chart that fits, and the newest candle as a line."""
        # Imported here, because it takes half a second that other feeds do not need.
        from tickwire.cli.output import chart

        rows = self.rows
        if not rows:
            return Text("waiting for the first candle", "yellow")
        drawn = Text.from_ansi(
            chart.candles(title, rows, max(30, width), max(8, height - 2), timeframe=self._timeframe)
        )
        drawn.no_wrap = True
        return Group(drawn, feed_lines.candle(self.last, digits) if self.last else Text(""))


def framed(body: RenderableType, title: str, remarks: Sequence[Text | str]) -> RenderableType:
    """Draw a body in a panel with a title, and remarks below."""
    return stacked(Panel(body, title=title, title_align="left", expand=False), remarks)


def stacked(body: RenderableType, remarks: Sequence[Text | str]) -> RenderableType:
    """Draw a body, and remarks below."""
    return Group(body, *(each for each in remarks if each))
