"""Binance's market streams: the messages of each between two moments of the exchange's clock. No I/O.

Source of names, cadences and fields: Binance's spot API documentation, "WebSocket Streams", as of 2025.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tickwire.simulator.market.book import FRAME_MS, Side, book_at, frame_of, last_update_id
from tickwire.simulator.market.candles import INTERVALS
from tickwire.simulator.market.cursors import AggregateCursor, BookCursor, CandleCursor, Source, TradeCursor, every
from tickwire.simulator.market.decimal_texts import texts
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.venues.binance import tickers
from tickwire.simulator.venues.binance.rows import aggregate_trades

_NAME = re.compile(r"([a-z0-9_]+)@(trade|aggTrade|kline|depth|miniTicker|ticker|bookTicker)(\w*)(?:@(100|1000)ms)?\Z")
_ALL = re.compile(r"!(miniTicker|ticker)@arr\Z")


def source(exchange: Exchange, name: str) -> Source | None:
    """Return the source of a stream such as `btcusdt@trade`, from now on; None where there is no such stream."""
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
        return _Klines(instrument, detail[1:], now)
    if detail:
        return None
    match kind:
        case "trade":
            return _Trades(instrument, now)
        case "aggTrade":
            return _AggregateTrades(instrument, now)
        case "ticker":
            return every(1_000, now, lambda at: tickers.stream_day(instrument, at))
        case "miniTicker":
            return every(1_000, now, lambda at: tickers.stream_mini(instrument, at))
        case "bookTicker":
            return _Best(instrument, now)
    return None


class _Trades:
    def __init__(self, instrument: Instrument, now: int) -> None:
        self._instrument = instrument
        self._cursor = TradeCursor(instrument, now)

    def __call__(self, now: int) -> Iterator[Any]:
        trades, units = self._cursor.new_until(now), self._instrument.units
        if trades is None:
            return
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


class _AggregateTrades:
    def __init__(self, instrument: Instrument, now: int) -> None:
        self._instrument = instrument
        self._cursor = AggregateCursor(instrument, now)

    def __call__(self, now: int) -> Iterator[Any]:
        found = self._cursor.new_until(now)
        for row in aggregate_trades(found, self._instrument.units) if found is not None else []:
            yield {"e": "aggTrade", "E": row["T"], "s": self._instrument.id} | row


class Depth:
    """Differences of the book; each begins where the one before ended."""

    def __init__(self, instrument: Instrument, now: int, width_ms: int) -> None:
        self._instrument = instrument
        self._cursor = BookCursor(instrument, now, frames=width_ms // FRAME_MS)

    def __call__(self, now: int) -> Iterator[Any]:
        change, frame = self._cursor.changed_until(now), self._cursor.frame
        if change is None:
            return
        yield {
            "e": "depthUpdate",
            "E": frame * FRAME_MS,
            "s": self._instrument.id,
            "U": last_update_id(change.frame) + 1,
            "u": last_update_id(frame),
            "b": levels(self._instrument, change.bids),
            "a": levels(self._instrument, change.asks),
        }


def levels(instrument: Instrument, side: Side, limit: int | None = None) -> list[tuple[str, str]]:
    """Return (price, size) of the best levels, as texts."""
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


class _Klines:
    """The open candle four times a second while it changes, and each candle once more when it closes."""

    def __init__(self, instrument: Instrument, interval: str, now: int) -> None:
        self._symbol, self._interval = instrument.id, interval
        self._cursor = CandleCursor(instrument, interval, now)

    def __call__(self, now: int) -> Iterator[Any]:
        for row, first, last, closed in self._cursor.changed_until(now):
            candle = {"t": row[0], "T": row[6], "s": self._symbol, "i": self._interval, "f": first, "L": last,
                      "o": row[1], "c": row[4], "h": row[2], "l": row[3], "v": row[5], "n": row[8], "x": closed,
                      "q": row[7], "V": row[9], "Q": row[10], "B": "0"}  # fmt: skip
            yield {"e": "kline", "E": now, "s": self._symbol, "k": candle}
