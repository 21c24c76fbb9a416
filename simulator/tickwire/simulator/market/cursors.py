"""Cursors of streams: what is new on a market since a cursor was last asked. No I/O, no protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tickwire.model import timeframes
from tickwire.simulator.market.aggregates import Aggregates, aggregates
from tickwire.simulator.market.book import Book, Side, book_at, changes, frame_of
from tickwire.simulator.market.candles import Row
from tickwire.simulator.market.exchange import Instrument
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import top

Source = Callable[[int], Iterator[Any]]
"""Called with the exchange's time (ms): returns the messages since the last call."""


def every(width_ms: int, now: int, form: Callable[[int], Any]) -> Source:
    """Return a source that yields `form(now)` once in each interval of `width_ms` of the exchange's time."""
    before = now // width_ms

    def events(now: int) -> Iterator[Any]:
        nonlocal before
        if now // width_ms != before:
            before = now // width_ms
            yield form(now)

    return events


class TradeCursor:
    """Trades from `now` (ms) on."""

    def __init__(self, instrument: Instrument, now: int) -> None:
        self._history = instrument.history
        self._next = instrument.history.id_at(now + 1) if instrument.history else 0

    def new_until(self, now: int) -> Trades | None:
        """Return the trades up to `now` since the last call; None where there are none."""
        if self._history is None:
            return None
        first, self._next = self._next, self._history.id_at(now + 1)
        return self._history.by_id(first, self._next) if first < self._next else None

    def newest(self, count: int) -> Trades | None:
        """Return the last `count` trades before those that are new; None where only candles are played."""
        if self._history is None:
            return None
        return self._history.by_id(max(self._history.first_id, self._next - count), self._next)


class AggregateCursor:
    """Aggregate trades from `now` (ms) on."""

    def __init__(self, instrument: Instrument, now: int) -> None:
        self._trades = TradeCursor(instrument, now)

    def new_until(self, now: int) -> Aggregates | None:
        """Return the aggregate trades up to `now` since the last call; None where there are none."""
        found = self._trades.new_until(now)
        return None if found is None else aggregates(found)


class BookChange(NamedTuple):
    """The frame and book before a change, and the changed levels of each side; size 0 removes a level."""

    frame: int
    book: Book
    bids: Side
    asks: Side


class BookCursor:
    """`book` of `frame`: its best `levels`, or all. A change is of `frames` frames of 100 ms."""

    def __init__(self, instrument: Instrument, now: int, levels: int | None = None, frames: int = 1) -> None:
        self._instrument, self._levels, self._frames = instrument, levels, frames
        self._go_to(self._frame_at(now))

    def changed_until(self, now: int) -> BookChange | None:
        """Go to the frame in force at `now` (ms); return what changed, None if that is the frame of the last call."""
        frame = self._frame_at(now)
        if frame == self.frame:
            return None
        before, book = self.frame, self.book
        self._go_to(frame)
        return BookChange(before, book, changes(book.bids, self.book.bids), changes(book.asks, self.book.asks))

    def _frame_at(self, now: int) -> int:
        return frame_of(now) // self._frames * self._frames

    def _go_to(self, frame: int) -> None:
        self.frame = frame
        whole = book_at(self._instrument, frame)
        self.book = whole if self._levels is None else top(whole, self._levels)


class CandleCursor:
    """The open candle four times a second while it changes, and each candle once more when it closes."""

    def __init__(self, instrument: Instrument, interval: str, now: int) -> None:
        self._instrument = instrument
        self._interval = interval
        self._now = now
        self._sent: Any = None

    def changed_until(self, now: int) -> Iterator[tuple[Row, int, int, bool]]:
        """Yield (kline as REST has it, ids of its first and last trade, whether it is closed), oldest first."""
        if now // 250 == self._now // 250:
            return
        before, self._now = self._now, now
        opened = timeframes.open_of(self._interval, now)
        since = min(opened, timeframes.open_of(self._interval, before))
        until = timeframes.next_open(self._interval, opened)
        for row, first, last in self._instrument.candles.numbered(self._interval, since, until, now):
            closed = int(row[6]) < now and int(row[0]) < opened
            if closed or row != self._sent:
                self._sent = row
                yield row, first, last, closed
