"""OKX's channels v5: the messages of each between two moments of the exchange's clock. No I/O.

Source of names, cadences and fields: OKX's API documentation v5, "Market Data, WS" channels, as of 2025.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tickwire.simulator.market import day, rows
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of, last_update_id
from tickwire.simulator.market.cursors import AggregateCursor, BookCursor, CandleCursor
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.sockets.dialect import Stream
from tickwire.simulator.venues.okx import rows as okx_rows

TICKER_MS = 100


def channel(exchange: Exchange, name: str, instrument: Instrument) -> Stream | None:
    """Return the messages of a channel such as `trades`, from now on; None where there is no such channel."""
    made = _channel(exchange, name, instrument)
    return None if made is None else Stream(made, made.first)


def _channel(
    exchange: Exchange, name: str, instrument: Instrument
) -> _Trades | _Books | _Best | _Ticker | _Candles | _LocalCandles | None:
    now = exchange.clock.now()
    arg = {"channel": name, "instId": okx_rows.name_of(instrument)}
    match name:
        case "trades":
            return _Trades(instrument, arg, now)
        case "books":
            return _Books(instrument, arg, now)
        case "books5":
            return _Best(instrument, arg, now, 5)
        case "bbo-tbt":
            return _Best(instrument, arg, now, 1)
        case "tickers":
            return _Ticker(instrument, arg, now)
    bar = name.removeprefix("candle") if name.startswith("candle") else ""
    if bar in okx_rows.LOCAL_BARS:
        return _LocalCandles(instrument, arg, now, okx_rows.LOCAL_BARS[bar])
    interval = okx_rows.BARS.get(bar, "")
    return _Candles(instrument, arg, now, interval) if interval in instrument.intervals else None


class _Trades:
    def __init__(self, instrument: Instrument, arg: dict[str, str], now: int) -> None:
        self._instrument, self._arg = instrument, arg
        self._cursor = AggregateCursor(instrument, now)

    def __call__(self, now: int) -> Iterator[Any]:
        found = self._cursor.new_until(now)
        for row in okx_rows.matches(self._instrument, found) if found is not None else []:
            yield {"arg": self._arg, "data": [row]}

    def first(self, now: int) -> list[Any]:
        return []


class _Books:
    """A snapshot, then changes, each naming the one before; the best 400 levels, ten times a second."""

    def __init__(self, instrument: Instrument, arg: dict[str, str], now: int) -> None:
        self._instrument, self._arg = instrument, arg
        self._cursor = BookCursor(instrument, now, okx_rows.LEVELS)

    def __call__(self, now: int) -> Iterator[Any]:
        change = self._cursor.changed_until(now)
        if change is not None:
            yield self._message("update", change.bids, change.asks, last_update_id(change.frame))

    def first(self, now: int) -> list[Any]:
        return [self._message("snapshot", self._cursor.book.bids, self._cursor.book.asks, -1)]

    def _message(self, action: str, bids: Any, asks: Any, before: int) -> Any:
        data = {
            "asks": okx_rows.levels(self._instrument, asks),
            "bids": okx_rows.levels(self._instrument, bids),
            "ts": str(self._cursor.frame * FRAME_MS),
            "checksum": okx_rows.checksum(self._instrument, self._cursor.book),
            "prevSeqId": before,
            "seqId": last_update_id(self._cursor.frame),
        }
        return {"arg": self._arg, "action": action, "data": [data]}


class _Best:
    """The best levels, whole, whenever they change."""

    def __init__(self, instrument: Instrument, arg: dict[str, str], now: int, levels: int) -> None:
        self._instrument, self._arg, self._levels = instrument, arg, levels
        self._sent: Any = None

    def __call__(self, now: int) -> Iterator[Any]:
        frame = frame_of(now)
        book = rows.top(book_at(self._instrument, frame), self._levels)
        sides = {
            "asks": okx_rows.levels(self._instrument, book.asks),
            "bids": okx_rows.levels(self._instrument, book.bids),
        }
        if sides != self._sent:
            self._sent = sides
            yield self._message(frame)

    def first(self, now: int) -> list[Any]:
        return list(self(now)) if self._sent is None else [self._message(frame_of(now))]

    def _message(self, frame: int) -> Any:
        return {"arg": self._arg, "data": [{**self._sent, "instId": self._arg["instId"],
                                            "ts": str(frame * FRAME_MS), "seqId": last_update_id(frame)}]}  # fmt: skip


class _Ticker:
    """A ticker when the best prices or sizes have changed, at most every 100 ms."""

    def __init__(self, instrument: Instrument, arg: dict[str, str], now: int) -> None:
        self._instrument, self._arg, self._at = instrument, arg, now // TICKER_MS
        self._sent: Any = None

    def __call__(self, now: int) -> Iterator[Any]:
        if now // TICKER_MS == self._at:
            return
        self._at = now // TICKER_MS
        best = day.best(self._instrument, now)
        if best != self._sent:
            self._sent = best
            yield from self.first(now)

    def first(self, now: int) -> list[Any]:
        return [{"arg": self._arg, "data": [okx_rows.ticker(self._instrument, now)]}]


class _Candles:
    """The open candle while it changes, and each candle once more when it closes."""

    def __init__(self, instrument: Instrument, arg: dict[str, str], now: int, interval: str) -> None:
        self._instrument, self._arg, self._interval = instrument, arg, interval
        self._cursor = CandleCursor(instrument, interval, now)

    def __call__(self, now: int) -> Iterator[Any]:
        for row, _, _, _ in self._cursor.changed_until(now):
            yield {"arg": self._arg, "data": [okx_rows.candle(self._instrument, row, now)]}

    def first(self, now: int) -> list[Any]:
        return [
            {"arg": self._arg, "data": [okx_rows.candle(self._instrument, row, now)]}
            for row in self._instrument.candles.page(self._interval, None, None, 1, now)
        ]


class _LocalCandles:
    """The open candle of a bar by Hong Kong's time, once a second while it changes."""

    def __init__(self, instrument: Instrument, arg: dict[str, str], now: int, interval: str) -> None:
        self._instrument, self._arg, self._interval, self._at = instrument, arg, interval, now // 1_000
        self._sent: Any = None

    def __call__(self, now: int) -> Iterator[Any]:
        if now // 1_000 == self._at:
            return
        self._at = now // 1_000
        row = okx_rows.local_candle(self._instrument, self._interval, now)
        if row is not None and row != self._sent:
            self._sent = row
            yield {"arg": self._arg, "data": [row]}

    def first(self, now: int) -> list[Any]:
        row = okx_rows.local_candle(self._instrument, self._interval, now)
        return [] if row is None else [{"arg": self._arg, "data": [row]}]
