"""Tickers in the forms of Binance's REST answers and streams. No I/O."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tickwire.simulator.market import day as day_
from tickwire.simulator.market.book import frame_of, last_update_id
from tickwire.simulator.market.exchange import Instrument


def price(instrument: Instrument, now: int) -> dict[str, Any]:
    """Return a row of `ticker/price`."""
    return {"symbol": instrument.id, "price": day_.window(instrument, now).close}


def best(instrument: Instrument, now: int) -> dict[str, Any]:
    """Return a row of `ticker/bookTicker`."""
    bid, bid_size, ask, ask_size = day_.best(instrument, now)
    return {"symbol": instrument.id, "bidPrice": bid, "bidQty": bid_size, "askPrice": ask, "askQty": ask_size}


def day(instrument: Instrument, now: int) -> dict[str, Any]:
    """Return a row of `ticker/24hr`."""
    return {long: value for long, _, value in _fields(instrument, now) if long}


def stream_day(instrument: Instrument, now: int) -> dict[str, Any]:
    """Return a message of the `ticker` stream."""
    return {"e": "24hrTicker", "E": now} | {short: value for _, short, value in _fields(instrument, now) if short}


def stream_mini(instrument: Instrument, now: int) -> dict[str, Any]:
    """Return a message of the `miniTicker` stream."""
    w = day_.window(instrument, now)
    return {"e": "24hrMiniTicker", "E": now, "s": instrument.id, "c": w.close, "o": w.open, "h": w.high, "l": w.low,
            "v": w.volume, "q": w.quote}  # fmt: skip


def stream_best(instrument: Instrument, now: int) -> dict[str, Any]:
    """Return a message of the `bookTicker` stream."""
    bid, bid_size, ask, ask_size = day_.best(instrument, now)
    return {"u": last_update_id(frame_of(now)), "s": instrument.id, "b": bid, "B": bid_size, "a": ask, "A": ask_size}


def _fields(instrument: Instrument, now: int) -> list[tuple[str, str, Any]]:
    """Return (name in REST, name in the stream, value) of each field."""
    w = day_.window(instrument, now)
    opened, close, volume, quote = (Decimal(each) for each in (w.open, w.close, w.volume, w.quote))
    bid, bid_size, ask, ask_size = day_.best(instrument, now)
    change = close - opened
    percent = change / opened * 100 if opened else Decimal(0)
    last_amount = day_.last_amount(instrument, w)
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
        ("openTime", "O", now - day_.DAY_MS + 1),
        ("closeTime", "C", now),
        ("firstId", "F", w.first_id),
        ("lastId", "L", w.last_id),
        ("count", "n", w.count),
    ]
