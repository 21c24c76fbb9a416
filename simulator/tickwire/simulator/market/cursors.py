"""Cursors of streams: what is new on a market since a cursor was last asked. No I/O, no protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tickwire.model import timeframes
from tickwire.simulator.market.aggregates import Aggregates, aggregates
from tickwire.simulator.market.candles import Row
from tickwire.simulator.market.exchange import Instrument

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


class AggregateCursor:
    """Aggregate trades from `now` (ms) on."""

    def __init__(self, instrument: Instrument, now: int) -> None:
        self._instrument = instrument
        self._next = instrument.history.id_at(now + 1) if instrument.history else 0

    def new_until(self, now: int) -> Aggregates | None:
        """Return the aggregate trades up to `now` since the last call; None where there are none."""
        history = self._instrument.history
        if history is None:
            return None
        first, self._next = self._next, history.id_at(now + 1)
        return aggregates(history.by_id(first, self._next)) if first < self._next else None


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
