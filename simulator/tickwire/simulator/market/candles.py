"""Candles derived from trades: any timeframe at any time, each computed from its own trades only."""

from __future__ import annotations

from collections import OrderedDict
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tickwire.model import timeframes
from tickwire.simulator.market.decimal_texts import texts
from tickwire.simulator.market.generated import MINUTE_MS, GeneratedTrades, Ints, Trades, Units

_BLOCK_TRADES = 40_000
_BLOCKS_KEPT = 4_000

INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
"""Binance's kline intervals (its spot API documentation, "ENUM definitions")."""

Row = list[int | str]
"""One kline as Binance sends it: 12 values, numbers other than times and counts as decimal text."""


class CandleSource(Protocol):
    """The candles of an instrument."""

    def page(self, interval: str, start: int | None, end: int | None, limit: int, now: int) -> list[Row]:
        """Return klines that open in `[start, end]` (ms), at most `limit`: the oldest from `start` on, else the newest.

        The newest is the one that is open at `now`.
        """

    def window(self, since: int, until: int, now: int) -> Window | None:
        """Return `[since, until)` (ms) up to now as one candle; None where nothing was traded."""


@dataclass(frozen=True, slots=True)
class Window:
    """One candle of any length, as texts and counts."""

    open: str
    high: str
    low: str
    close: str
    volume: str
    quote: str
    count: int
    first_id: int
    last_id: int


@dataclass(frozen=True, slots=True)
class Bars:
    """Columns of candles. Prices and volumes are integers in the market's units, quote volumes in their product."""

    time: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    quote: Ints
    count: Ints
    buy_volume: Ints
    buy_quote: Ints
    first_id: Ints
    last_id: Ints

    def __len__(self) -> int:
        return len(self.time)

    def columns(self) -> tuple[Ints, ...]:
        """Return the arrays, in the order of the fields."""
        return tuple(getattr(self, name) for name in self.__slots__)

    def grouped(self, time: Ints) -> Bars:
        """Merge bars into one for each open time; `time` has one open time for each bar, sorted."""
        if not len(time):
            return self
        starts = np.flatnonzero(np.diff(time, prepend=time[0] - 1))
        ends = np.append(starts[1:], len(time)) - 1
        return Bars(
            time=time[starts],
            open=self.open[starts],
            high=np.maximum.reduceat(self.high, starts),
            low=np.minimum.reduceat(self.low, starts),
            close=self.close[ends],
            volume=np.add.reduceat(self.volume, starts),
            quote=np.add.reduceat(self.quote, starts),
            count=np.add.reduceat(self.count, starts),
            buy_volume=np.add.reduceat(self.buy_volume, starts),
            buy_quote=np.add.reduceat(self.buy_quote, starts),
            first_id=self.first_id[starts],
            last_id=self.last_id[ends],
        )


def bars_of(trades: Trades, width_ms: int) -> Bars:
    """Return bars of `width_ms`; there is none where nothing was traded."""
    price, amount = trades.price, trades.amount
    bought = np.where(trades.sell, 0, amount)
    cost = price * amount
    each = Bars(
        trades.timestamp,
        price,
        price,
        price,
        price,
        amount,
        cost,
        np.ones(len(trades), np.int64),
        bought,
        np.where(trades.sell, 0, cost),
        trades.id,
        trades.id,
    )
    return each.grouped(trades.timestamp // width_ms * width_ms)


def joined(parts: list[Bars]) -> Bars:
    """Concatenate consecutive parts."""
    return Bars(*(np.concatenate(columns) for columns in zip(*(part.columns() for part in parts), strict=True)))


class TradeHistory(Protocol):
    """Trades of an instrument, by time and by id."""

    units: Units
    first_time: int
    first_id: int

    def id_at(self, timestamp: int) -> int:
        """Return the id of the first trade at or after `timestamp` (ms)."""

    def by_id(self, first: int, end: int) -> Trades:
        """Return trades with ids in `[first, end)`."""

    def between(self, since: int, until: int) -> Trades:
        """Return trades in `[since, until)` (ms)."""

    def id_of_aggregate(self, agg: int) -> int:
        """Return the id of the first trade in an aggregate trade."""


class DerivedCandles:
    """Candles of a trade history. Minutes are cached in blocks; longer candles are merged from them."""

    def __init__(self, history: TradeHistory) -> None:
        self._history = history
        self._units = history.units
        self._kept: OrderedDict[tuple[int, int], Bars] = OrderedDict()

    def written(self, units: Units) -> DerivedCandles:
        """Return the same candles with numbers in other units; with fewer decimals, prices are rounded down."""
        other = copy(self)
        other._units = units
        return other

    def forget(self) -> None:
        """Drop the cached minutes, because the rate of trades has changed."""
        self._kept.clear()

    def page(self, interval: str, start: int | None, end: int | None, limit: int, now: int) -> list[Row]:
        """See CandleSource.page."""
        last_open = timeframes.open_of(interval, min(now, now if end is None else end))
        if start is None:
            since = timeframes.advance(interval, last_open, 1 - limit)
        else:
            since = timeframes.ceil_open(interval, start)
        since = max(since, timeframes.open_of(interval, self._history.first_time))
        until = min(timeframes.advance(interval, since, limit), timeframes.next_open(interval, last_open))
        return self.rows(interval, since, until, now)

    def rows(self, interval: str, since: int, until: int, now: int) -> list[Row]:
        """Return klines that open in `[since, until)`; both are open times of the interval."""
        opens = self._opens(interval, since, until)
        return self._rows(self._bars(interval, opens, until, now), interval) if len(opens) else []

    def numbered(self, interval: str, since: int, until: int, now: int) -> list[tuple[Row, int, int]]:
        """Return (kline, id of its first trade, id of its last trade); the ids are -1 for a candle without trades."""
        opens = self._opens(interval, since, until)
        if not len(opens):
            return []
        bars = self._bars(interval, opens, until, now)
        rows = self._rows(bars, interval)
        return list(zip(rows, bars.first_id.tolist(), bars.last_id.tolist(), strict=True))

    def window(self, since: int, until: int, now: int) -> Window | None:
        """See CandleSource.window."""
        until = min(until, now + 1)
        if since >= until:
            return None
        inner, outer = -(-since // MINUTE_MS) * MINUTE_MS, until // MINUTE_MS * MINUTE_MS
        if inner >= outer:
            parts = [bars_of(self._history.between(since, until), MINUTE_MS)]
        else:
            parts = [
                bars_of(self._history.between(since, inner), MINUTE_MS),
                self._minutes(inner, outer),
                bars_of(self._history.between(outer, until), MINUTE_MS),
            ]
        bars = joined(parts)
        whole = bars.grouped(np.zeros(len(bars), np.int64))
        if not len(whole):
            return None
        row = self._rows(whole, "1m")[0]
        opened, high, low, close, volume, quote = (str(row[place]) for place in (1, 2, 3, 4, 5, 7))
        ids = int(whole.first_id[0]), int(whole.last_id[0])
        return Window(opened, high, low, close, volume, quote, int(whole.count[0]), *ids)

    def _rows(self, bars: Bars, interval: str) -> list[Row]:
        excess = 10 ** (self._history.units.price_decimals - self._units.price_decimals)
        if excess > 1:
            prices = (bars.open // excess, bars.high // excess, bars.low // excess, bars.close // excess)
            quotes = (bars.quote // excess, bars.buy_quote // excess)
            bars = Bars(bars.time, *prices, bars.volume, quotes[0], bars.count, bars.buy_volume, quotes[1],
                        bars.first_id, bars.last_id)  # fmt: skip
        return _rows(bars, interval, self._units)

    def _opens(self, interval: str, since: int, until: int) -> Ints:
        if interval.endswith("M"):
            opens = []
            while since < until:
                opens.append(since)
                since = timeframes.next_open(interval, since)
            return np.array(opens, np.int64)
        return np.arange(since, until, timeframes.duration_ms(interval), dtype=np.int64)

    def _bars(self, interval: str, opens: Ints, until: int, now: int) -> Bars:
        """Return a bar for each open time; one without trades is flat at the price before."""
        since, cut = int(opens[0]), min(until, now + 1)
        if interval == "1s":
            return self._filled(bars_of(self._history.between(since, cut), 1_000), opens)
        whole = cut // MINUTE_MS * MINUTE_MS
        rest = bars_of(self._history.between(max(whole, since), cut), MINUTE_MS)
        bars = joined([self._minutes(since, whole), rest])
        return self._filled(bars.grouped(opens[np.searchsorted(opens, bars.time, "right") - 1]), opens)

    def _filled(self, bars: Bars, opens: Ints) -> Bars:
        if len(bars) == len(opens):
            return bars
        before = self._history.id_at(int(opens[0])) - 1
        earlier = self._history.by_id(before, before + 1)
        place = np.searchsorted(bars.time, opens, "right") - 1
        traded = np.zeros(len(opens), np.bool_)
        traded[np.searchsorted(opens, bars.time)] = True
        if not len(earlier):
            # Before its first trade a market has no candles.
            known = place >= 0
            opens, place, traded = opens[known], place[known], traded[known]
            earlier_close = 0
        else:
            earlier_close = int(earlier.price[0])
        close = np.where(place >= 0, np.append(bars.close, earlier_close)[place], earlier_close)

        def column(values: Ints, otherwise: Ints | int) -> Ints:
            return np.where(traded, np.append(values, 0)[place], otherwise)

        return Bars(
            time=opens,
            open=column(bars.open, close),
            high=column(bars.high, close),
            low=column(bars.low, close),
            close=close,
            volume=column(bars.volume, 0),
            quote=column(bars.quote, 0),
            count=column(bars.count, 0),
            buy_volume=column(bars.buy_volume, 0),
            buy_quote=column(bars.buy_quote, 0),
            first_id=column(bars.first_id, -1),
            last_id=column(bars.last_id, -1),
        )

    def _minutes(self, since: int, until: int) -> Bars:
        """Return minute bars in `[since, until)`; both are whole minutes."""
        parts = [bars_of(self._history.between(0, 0), MINUTE_MS)]
        for number, (origin, end, width) in enumerate(self._stretches()):
            start, stop = max(since, origin // MINUTE_MS * MINUTE_MS), until if end is None else min(until, end)
            for block in range(start // width, -(-stop // width) if start < stop else start // width):
                closed = (block + 1) * width if end is None else min(end, (block + 1) * width)
                bars = self._block(number, block, max(origin, block * width), closed)
                low, high = np.searchsorted(bars.time, (start, stop))
                parts.append(Bars(*(column[low:high] for column in bars.columns())))
        # Where the rate changes within a minute, two parts have a bar of that minute.
        bars = joined(parts)
        return bars.grouped(bars.time)

    def _block(self, number: int, block: int, since: int, until: int) -> Bars:
        kept = self._kept.get((number, block))
        if kept is None:
            kept = self._kept[number, block] = bars_of(self._history.between(since, until), MINUTE_MS)
            if len(self._kept) > _BLOCKS_KEPT:
                self._kept.popitem(last=False)
        return kept

    def _stretches(self) -> list[tuple[int, int | None, int]]:
        """Return (since, until, width of a block) of each stretch with one rate; a block is at most a day."""
        if not isinstance(self._history, GeneratedTrades):
            return [(self._history.first_time, None, 86_400_000)]
        stretches = []
        for each in self._history.segments:
            a_minute = each.per_block * MINUTE_MS / each.block_ms
            minutes = max(
                width for width in (1, 5, 15, 60, 240, 1440) if width == 1 or width * a_minute < _BLOCK_TRADES
            )
            stretches.append((each.origin, each.end, minutes * MINUTE_MS))
        return stretches


def _rows(bars: Bars, interval: str, units: Units) -> list[Row]:
    price, amount = units.price_decimals, units.amount_decimals
    # Binance writes quote volumes with eight decimals; further ones are cut.
    quote, excess = min(8, price + amount), 10 ** max(0, price + amount - 8)
    opens = bars.time.tolist()
    if interval.endswith("M"):
        closes = [timeframes.next_open(interval, opened) - 1 for opened in opens]
    else:
        closes = (bars.time + (timeframes.duration_ms(interval) - 1)).tolist()
    columns = (
        opens,
        texts(bars.open, price),
        texts(bars.high, price),
        texts(bars.low, price),
        texts(bars.close, price),
        texts(bars.volume, amount),
        closes,
        texts(bars.quote // excess, quote),
        bars.count.tolist(),
        texts(bars.buy_volume, amount),
        texts(bars.buy_quote // excess, quote),
    )
    return [[*row, "0"] for row in zip(*columns, strict=True)]
