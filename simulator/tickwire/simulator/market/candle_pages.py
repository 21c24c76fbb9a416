"""Pages of candles with the particulars of venues: grids, quiet intervals, the open candle, windows. No I/O."""

from __future__ import annotations

from msgspec import Struct

from tickwire.model import timeframes
from tickwire.simulator.market.candles import Row, Window
from tickwire.simulator.market.exchange import Instrument
from tickwire.simulator.market.rows import traded


class PageStyle(Struct, frozen=True):
    """How a venue makes a page of candles."""

    opens_at: int = 0
    """Candles open so much (ms) after UTC's: 16 hours for days of Hong Kong, 3 days for weeks that open on Thursday."""
    quiet: bool = True
    """Whether an interval without trades has a row."""
    open_candle: bool = True
    """Whether the candle that is open now is there."""
    windowed: bool = False
    """Whether a page has only the `limit` intervals from `start` on, else it begins with the first candle there is."""
    newest: int | None = None
    """The answer has at most so many of the newest candles, whatever was asked for."""


def candle_page(
    instrument: Instrument, interval: str, bounds: tuple[int | None, int | None], limit: int, now: int, style: PageStyle
) -> list[Row]:
    """Return candles that open in `bounds` (ms, both included), at most `limit`, oldest first.

    With a start they are the oldest from there on, else the newest.
    """
    start, end = bounds
    if style.newest is not None:
        limit, start, end = min(limit, style.newest), None, None
    rows = _page(instrument, interval, (start, end), limit, now, style.opens_at)
    if style.windowed and start is not None:
        first = timeframes.ceil_open(interval, start - style.opens_at) + style.opens_at
        until = timeframes.advance(interval, first - style.opens_at, limit) + style.opens_at
        rows = [row for row in rows if int(row[0]) < until]
    if not style.open_candle:
        rows = [row for row in rows if int(row[6]) < now]
    return rows if style.quiet else traded(rows)


def _page(
    instrument: Instrument, interval: str, bounds: tuple[int | None, int | None], limit: int, now: int, offset: int
) -> list[Row]:
    start, end = bounds
    if not offset:
        return instrument.candles.page(interval, start, end, limit, now)
    last = timeframes.open_of(interval, min(now, now if end is None else end) - offset)
    if start is None:
        first = timeframes.advance(interval, last, 1 - limit)
    else:
        listed = instrument.history.first_time if instrument.history else 0
        first = max(timeframes.ceil_open(interval, start - offset), timeframes.open_of(interval, listed - offset))
    rows: list[Row] = []
    while first <= last and len(rows) < limit:
        following = timeframes.next_open(interval, first)
        found = instrument.candles.window(first + offset, following + offset, now)
        if found is not None:
            rows.append(_row(found, first + offset, following + offset))
        first = following
    return rows


def _row(found: Window, opened: int, until: int) -> Row:
    """Return a candle; its volumes of buying takers are unknown."""
    prices = (found.open, found.high, found.low, found.close, found.volume)
    return [opened, *prices, until - 1, found.quote, found.count, "0", "0", "0"]
