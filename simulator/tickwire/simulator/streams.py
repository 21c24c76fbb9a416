"""Binance's market streams: what each has to say between two moments of the exchange's clock. No I/O.

Source of names, cadences and fields: Binance's spot API documentation, "WebSocket Streams", as of 2025.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from tickwire.model import timeframes
from tickwire.simulator import tickers
from tickwire.simulator.aggregates import Aggregates, aggregates, rows
from tickwire.simulator.book import FRAME_MS, Side, book_at, changes, frame_of, last_update_id
from tickwire.simulator.candles import INTERVALS, Row, texts
from tickwire.simulator.dialect import Source
from tickwire.simulator.exchange import Exchange, Instrument

_NAME = re.compile(r"([a-z0-9_]+)@(trade|aggTrade|kline|depth|miniTicker|ticker|bookTicker)(\w*)(?:@(100|1000)ms)?\Z")
_ALL = re.compile(r"!(miniTicker|ticker)@arr\Z")


def source(exchange: Exchange, name: str) -> Source | None:
    """What a stream such as `btcusdt@trade` says from now on; None where there is no such stream."""
    now = exchange.clock.now()
    if found := _ALL.match(name):
        form = tickers.stream_mini if found[1] == "miniTicker" else tickers.stream_day
        return every(1_000, now, lambda at: [form(each, at) for each in exchange.instruments.values()])
    found = _NAME.match(name)
    instrument = exchange.instruments.get(found[1].upper()) if found else None
    if found is None or instrument is None:
        return None
    kind, detail, cadence = found[2], found[3], found[4]
    if kind == "depth" and detail in ("", "5", "10", "20"):
        width = int(cadence or 1_000)
        return _partial(instrument, now, width, int(detail)) if detail else Depth(instrument, now, width)
    if cadence:
        return None
    if kind == "kline" and detail[:1] == "_" and detail[1:] in instrument.intervals and detail[1:] in INTERVALS:
        return Klines(instrument, detail[1:], now)
    if detail:
        return None
    match kind:
        case "trade":
            return _Trades(instrument, now)
        case "aggTrade":
            return Aggregated(instrument, now)
        case "ticker":
            return every(1_000, now, lambda at: tickers.stream_day(instrument, at))
        case "miniTicker":
            return every(1_000, now, lambda at: tickers.stream_mini(instrument, at))
        case "bookTicker":
            return _Best(instrument, now)
    return None


def every(width_ms: int, now: int, form: Callable[[int], Any]) -> Source:
    before = now // width_ms

    def events(now: int) -> Iterator[Any]:
        nonlocal before
        if now // width_ms != before:
            before = now // width_ms
            yield form(now)

    return events


class _Trades:
    def __init__(self, instrument: Instrument, now: int) -> None:
        self._instrument = instrument
        self._next = instrument.tape.id_at(now + 1) if instrument.tape else 0

    def __call__(self, now: int) -> Iterator[Any]:
        tape, units = self._instrument.tape, self._instrument.units
        if tape is None:
            return
        end = tape.id_at(now + 1)
        if end == self._next:
            return
        trades = tape.by_id(self._next, end)
        self._next = end
        columns = zip(
            trades.id.tolist(),
            texts(trades.price, units.price_decimals),
            texts(trades.amount, units.amount_decimals),
            trades.timestamp.tolist(),
            trades.sell.tolist(),
            strict=True,
        )
        symbol = self._instrument.id
        for id_, price, amount, time, sell in columns:
            yield {"e": "trade", "E": time, "s": symbol, "t": id_, "p": price, "q": amount, "T": time, "m": sell,
                   "M": True}  # fmt: skip


class Aggregated:
    """Aggregate trades as they happen."""

    def __init__(self, instrument: Instrument, now: int) -> None:
        self._instrument = instrument
        self._next = instrument.tape.id_at(now + 1) if instrument.tape else 0

    def found(self, now: int) -> Aggregates | None:
        """Those since it was last called, if any."""
        tape = self._instrument.tape
        if tape is None:
            return None
        first, self._next = self._next, tape.id_at(now + 1)
        return aggregates(tape.by_id(first, self._next)) if first < self._next else None

    def __call__(self, now: int) -> Iterator[Any]:
        found = self.found(now)
        for row in rows(found, self._instrument.units) if found is not None else []:
            yield {"e": "aggTrade", "E": row["T"], "s": self._instrument.id} | row


class Depth:
    """Differences of the book, each from where the one before ended."""

    def __init__(self, instrument: Instrument, now: int, width_ms: int) -> None:
        self._instrument = instrument
        self._frames = width_ms // FRAME_MS
        self._at = self._frame(now)
        self._book = book_at(instrument, self._at)

    def _frame(self, now: int) -> int:
        return frame_of(now) // self._frames * self._frames

    def __call__(self, now: int) -> Iterator[Any]:
        frame = self._frame(now)
        if frame == self._at:
            return
        before, self._book = self._book, book_at(self._instrument, frame)
        first, self._at = last_update_id(self._at) + 1, frame
        yield {
            "e": "depthUpdate",
            "E": frame * FRAME_MS,
            "s": self._instrument.id,
            "U": first,
            "u": last_update_id(frame),
            "b": levels(self._instrument, changes(before.bids, self._book.bids)),
            "a": levels(self._instrument, changes(before.asks, self._book.asks)),
        }


def levels(instrument: Instrument, side: Side, limit: int | None = None) -> list[tuple[str, str]]:
    """(price, size) of the best levels, as texts."""
    prices = texts(side[0][:limit], instrument.units.price_decimals)
    return list(zip(prices, texts(side[1][:limit], instrument.units.amount_decimals), strict=True))


def _partial(instrument: Instrument, now: int, width_ms: int, limit: int) -> Source:
    def top(now: int) -> Any:
        frame = frame_of(now)
        book = book_at(instrument, frame)
        bids, asks = levels(instrument, book.bids, limit), levels(instrument, book.asks, limit)
        return {"lastUpdateId": last_update_id(frame), "bids": bids, "asks": asks}

    return every(width_ms, now, top)


class _Best:
    def __init__(self, instrument: Instrument, now: int) -> None:
        self._instrument = instrument
        self._frame = frame_of(now)
        self._before: tuple[Any, ...] = ()

    def __call__(self, now: int) -> Iterator[Any]:
        if frame_of(now) == self._frame:
            return
        self._frame = frame_of(now)
        event = tickers.stream_best(self._instrument, now)
        state = (event["b"], event["B"], event["a"], event["A"])
        if state != self._before:
            self._before = state
            yield event


class Klines:
    """The open candle four times a second while it changes, and each candle once more when it is closed."""

    def __init__(self, instrument: Instrument, interval: str, now: int) -> None:
        self._instrument = instrument
        self._interval = interval
        self._now = now
        self._sent: Any = None

    def __call__(self, now: int) -> Iterator[Any]:
        for row, first, last, closed in self.rows(now):
            yield self._event(row, first, last, closed, now)

    def rows(self, now: int) -> Iterator[tuple[Row, int, int, bool]]:
        """(kline as REST has it, ids of its first and last trade, whether it is closed), oldest first."""
        before, self._now = self._now, now
        if now // 250 == before // 250:
            # Nothing is due: the next moment to speak is still counted from the last one.
            self._now = before
            return
        opened = timeframes.open_of(self._interval, now)
        since = min(opened, timeframes.open_of(self._interval, before))
        until = timeframes.next_open(self._interval, opened)
        for row, first, last in self._instrument.candles.numbered(self._interval, since, until, now):
            closed = int(row[6]) < now and int(row[0]) < opened
            if closed or row != self._sent:
                self._sent = row
                yield row, first, last, closed

    def _event(self, row: Any, first: int, last: int, closed: bool, now: int) -> Any:
        symbol = self._instrument.id
        candle = {"t": row[0], "T": row[6], "s": symbol, "i": self._interval, "f": first, "L": last, "o": row[1],
                  "c": row[4], "h": row[2], "l": row[3], "v": row[5], "n": row[8], "x": closed, "q": row[7],
                  "V": row[9], "Q": row[10], "B": "0"}  # fmt: skip
        return {"e": "kline", "E": now, "s": symbol, "k": candle}
