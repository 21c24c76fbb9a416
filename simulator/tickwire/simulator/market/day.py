"""The best prices of a market, and its last 24 hours up to now. No I/O, no protocol."""

from __future__ import annotations

from typing import NamedTuple

from tickwire.simulator.market.book import book_at, frame_of
from tickwire.simulator.market.candles import Window
from tickwire.simulator.market.decimal_texts import text
from tickwire.simulator.market.exchange import Instrument

DAY_MS = 86_400_000
_NOTHING = Window("0", "0", "0", "0", "0", "0", 0, -1, -1)


class Best(NamedTuple):
    """The best level of each side, as decimal texts; zeros where there is no book."""

    bid: str
    bid_size: str
    ask: str
    ask_size: str


def best(instrument: Instrument, now: int) -> Best:
    """Return the best prices and sizes at `now` (ms)."""
    book = book_at(instrument, frame_of(now))
    units = instrument.units
    out = []
    for prices, sizes in (book.bids, book.asks):
        out += [
            text(int(prices[0]) if len(prices) else 0, units.price_decimals),
            text(int(sizes[0]) if len(sizes) else 0, units.amount_decimals),
        ]
    return Best(*out)


def window(instrument: Instrument, now: int) -> Window:
    """Return the 24 hours up to `now` (ms) as one candle; zeros where nothing was traded."""
    return instrument.candles.window(now - DAY_MS + 1, now + 1, now) or _NOTHING


def last_amount(instrument: Instrument, day: Window) -> str:
    """Return the amount of the last trade in a window, as a decimal text."""
    if instrument.history is None or day.last_id < 0:
        return "0.00000000"
    last = instrument.history.by_id(day.last_id, day.last_id + 1)
    return text(int(last.amount[0]), instrument.units.amount_decimals)
