"""Tickers in the forms of Binance's REST answers and streams. The day is the last 24 hours up to now."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tickwire.simulator.book import book_at, frame_of, last_update_id
from tickwire.simulator.candles import Window, text
from tickwire.simulator.exchange import Instrument

DAY_MS = 86_400_000
_NOTHING = Window("0", "0", "0", "0", "0", "0", 0, -1, -1)


def _best(instrument: Instrument, now: int) -> tuple[str, str, str, str]:
    """Best bid, its size, best ask, its size; zeros where there is no book."""
    book = book_at(instrument, frame_of(now))
    units = instrument.units
    out = []
    for prices, sizes in (book.bids, book.asks):
        out += [
            text(int(prices[0]) if len(prices) else 0, units.price_decimals),
            text(int(sizes[0]) if len(sizes) else 0, units.amount_decimals),
        ]
    return out[0], out[1], out[2], out[3]


def _day(instrument: Instrument, now: int) -> Window:
    return instrument.candles.window(now - DAY_MS + 1, now + 1, now) or _NOTHING


def price(instrument: Instrument, now: int) -> dict[str, Any]:
    """`ticker/price`."""
    return {"symbol": instrument.id, "price": _day(instrument, now).close}


def best(instrument: Instrument, now: int) -> dict[str, Any]:
    """`ticker/bookTicker`."""
    bid, bid_size, ask, ask_size = _best(instrument, now)
    return {"symbol": instrument.id, "bidPrice": bid, "bidQty": bid_size, "askPrice": ask, "askQty": ask_size}


def day(instrument: Instrument, now: int) -> dict[str, Any]:
    """`ticker/24hr`."""
    return {long: value for long, _, value in _fields(instrument, now) if long}


def stream_day(instrument: Instrument, now: int) -> dict[str, Any]:
    """The `ticker` stream."""
    return {"e": "24hrTicker", "E": now} | {short: value for _, short, value in _fields(instrument, now) if short}


def stream_mini(instrument: Instrument, now: int) -> dict[str, Any]:
    """The `miniTicker` stream."""
    w = _day(instrument, now)
    return {"e": "24hrMiniTicker", "E": now, "s": instrument.id, "c": w.close, "o": w.open, "h": w.high, "l": w.low,
            "v": w.volume, "q": w.quote}  # fmt: skip


def stream_best(instrument: Instrument, now: int) -> dict[str, Any]:
    """The `bookTicker` stream."""
    bid, bid_size, ask, ask_size = _best(instrument, now)
    return {"u": last_update_id(frame_of(now)), "s": instrument.id, "b": bid, "B": bid_size, "a": ask, "A": ask_size}


def _fields(instrument: Instrument, now: int) -> list[tuple[str, str, Any]]:
    """(name in REST, name in the stream, value)."""
    w = _day(instrument, now)
    opened, close, volume, quote = (Decimal(each) for each in (w.open, w.close, w.volume, w.quote))
    bid, bid_size, ask, ask_size = _best(instrument, now)
    change = close - opened
    percent = change / opened * 100 if opened else Decimal(0)
    last_amount = _last_amount(instrument, w)
    return [
        ("symbol", "s", instrument.id),
        ("priceChange", "p", f"{change:.8f}"),
        ("priceChangePercent", "P", f"{percent:.3f}"),
        ("weightedAvgPrice", "w", f"{quote / volume if volume else Decimal(0):.8f}"),
        ("prevClosePrice", "x", w.open),
        ("lastPrice", "c", w.close),
        ("lastQty", "Q", last_amount),
        ("bidPrice", "b", bid),
        ("bidQty", "B", bid_size),
        ("askPrice", "a", ask),
        ("askQty", "A", ask_size),
        ("openPrice", "o", w.open),
        ("highPrice", "h", w.high),
        ("lowPrice", "l", w.low),
        ("volume", "v", w.volume),
        ("quoteVolume", "q", w.quote),
        ("openTime", "O", now - DAY_MS + 1),
        ("closeTime", "C", now),
        ("firstId", "F", w.first_id),
        ("lastId", "L", w.last_id),
        ("count", "n", w.count),
    ]


def _last_amount(instrument: Instrument, window: Window) -> str:
    if instrument.tape is None or window.last_id < 0:
        return "0.00000000"
    last = instrument.tape.by_id(window.last_id, window.last_id + 1)
    return text(int(last.amount[0]), instrument.units.amount_decimals)
