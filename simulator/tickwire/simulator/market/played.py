"""Markets played from CSV files of candles or of trades."""

from __future__ import annotations

import csv
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from tickwire.errors import ConfigError
from tickwire.model import timeframes
from tickwire.simulator.market.candles import INTERVALS, Row, Window
from tickwire.simulator.market.generated import Trades, Units

CANDLE_COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]
TRADE_COLUMNS = ["timestamp", "id", "side", "price", "amount"]


def _lines(path: Path, columns: list[str], parse: Callable[[list[str]], Any]) -> Iterator[tuple[int, Any]]:
    """Yield (line number, parsed line) of a CSV file with exactly these columns. Raises ConfigError with the line."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            if header != columns:
                raise ConfigError(f"{path}:1: the columns are {','.join(header)!r}", f"write {','.join(columns)}")
            for line in reader:
                try:
                    if len(line) != len(columns):
                        raise ValueError(f"{len(line)} values instead of {len(columns)}")
                    yield reader.line_num, parse(line)
                except (ValueError, ArithmeticError) as error:
                    raise ConfigError(f"{path}:{reader.line_num}: {error or 'not a number'}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is not a CSV file: {error}") from error


def _number(text: str) -> str:
    """Return the shortest text that reads back as the same double. Raises ValueError."""
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text!r} is not a price or an amount")
    return repr(value)


class PlayedCandles:
    """Candles from a file; holes remain. Longer timeframes are merged from the file's; shorter ones do not exist."""

    def __init__(self, path: Path, timeframe: str) -> None:
        """Read the file. Raises ConfigError that names the first invalid line."""
        if timeframe not in INTERVALS:
            raise ConfigError(
                f"{timeframe!r} is not a timeframe of the market", f"choose one of {', '.join(INTERVALS)}"
            )
        self.timeframe = timeframe
        # All but weeks and months open at multiples of their length, which is faster to check.
        width = 0 if timeframe in ("1w", "1M") else timeframes.duration_ms(timeframe)
        self.times: list[int] = []
        self.values: list[list[str]] = []
        for line, (time, values) in _lines(path, CANDLE_COLUMNS, lambda row: (int(row[0]), [*map(_number, row[1:])])):
            if self.times and time <= self.times[-1]:
                raise ConfigError(f"{path}:{line}: {time} does not come after {self.times[-1]}")
            if time % width if width else timeframes.open_of(timeframe, time) != time:
                raise ConfigError(f"{path}:{line}: no {timeframe} candle opens at {time}")
            self.times.append(time)
            self.values.append(values)
        if not self.times:
            raise ConfigError(f"{path} has no candles")
        self._coarser: dict[str, PlayedCandles] = {}

    @property
    def span(self) -> tuple[int, int]:
        """The open time of the first candle and the close time of the last (ms)."""
        return self.times[0], timeframes.next_open(self.timeframe, self.times[-1])

    def intervals(self) -> tuple[str, ...]:
        """Return the timeframes that can be merged from the file's."""
        return tuple(each for each in INTERVALS[INTERVALS.index(self.timeframe) :] if _nests(self.timeframe, each))

    def page(self, interval: str, start: int | None, end: int | None, limit: int, now: int) -> list[Row]:
        """See CandleSource.page."""
        played = self._of(interval)
        stop = bisect_right(played.times, min(now, now if end is None else end))
        first = max(0, stop - limit) if start is None else bisect_left(played.times, start)
        return [played._row(place) for place in range(first, min(stop, first + limit))]

    def rows(self, interval: str, since: int, until: int, now: int) -> list[Row]:
        """Return klines that open in `[since, until)`."""
        return self.page(interval, since, until - 1, len(self.times), now)

    def numbered(self, interval: str, since: int, until: int, now: int) -> list[tuple[Row, int, int]]:
        """Return (kline, -1, -1): the ids of trades are unknown."""
        return [(row, -1, -1) for row in self.rows(interval, since, until, now)]

    def window(self, since: int, until: int, now: int) -> Window | None:
        """See CandleSource.window."""
        first, stop = bisect_left(self.times, since), bisect_left(self.times, min(until, now + 1))
        if first >= stop:
            return None
        opened, high, low, close, volume = _together(self.values[first:stop])
        quote = f"{float(close) * float(volume):.8f}"
        return Window(opened, high, low, close, volume, quote, stop - first, -1, -1)

    def _row(self, place: int) -> Row:
        time, values = self.times[place], self.values[place]
        return [time, *values, timeframes.next_open(self.timeframe, time) - 1, "0", 0, "0", "0", "0"]

    def _of(self, interval: str) -> PlayedCandles:
        if interval == self.timeframe:
            return self
        if interval not in self._coarser:
            groups: dict[int, list[list[str]]] = {}
            for time, values in zip(self.times, self.values, strict=True):
                groups.setdefault(timeframes.open_of(interval, time), []).append(values)
            coarse = object.__new__(PlayedCandles)
            coarse.timeframe, coarse._coarser = interval, {}
            coarse.times, coarse.values = list(groups), [_together(each) for each in groups.values()]
            self._coarser[interval] = coarse
        return self._coarser[interval]


def _nests(fine: str, coarse: str) -> bool:
    if coarse == "1M":
        return timeframes.duration_ms("1d") % timeframes.duration_ms(fine) == 0 or fine == "1M"
    if coarse == "1w" and fine == "3d":
        return False
    return timeframes.duration_ms(coarse) % timeframes.duration_ms(fine) == 0


def _together(candles: list[list[str]]) -> list[str]:
    if len(candles) == 1:
        return candles[0]
    volume = sum((Decimal(each[4]) for each in candles), Decimal(0))
    high, low = max((each[1] for each in candles), key=float), min((each[2] for each in candles), key=float)
    return [candles[0][0], high, low, candles[-1][3], f"{volume:f}"]


class PlayedTrades:
    """Trades from a file. Every trade is its own aggregate trade."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigError that names the first invalid line."""
        rows: list[tuple[int, int, bool, Decimal, Decimal]] = []
        for line, row in _lines(path, TRADE_COLUMNS, _trade):
            if rows and row[1] != rows[-1][1] + 1:
                raise ConfigError(f"{path}:{line}: trade {row[1]} does not follow {rows[-1][1]}")
            if rows and row[0] < rows[-1][0]:
                raise ConfigError(f"{path}:{line}: the trade is older than the one before")
            rows.append(row)
        if not rows:
            raise ConfigError(f"{path} has no trades")
        timestamp, id_, sell, price, amount = zip(*rows, strict=True)
        price_decimals, amount_decimals = _most_decimals(price), _most_decimals(amount)
        if price_decimals > 8 or amount_decimals > 8:
            raise ConfigError(f"{path} has prices or amounts with more than eight decimals")
        self.units = Units(price_decimals, 1, amount_decimals, 1)
        prices = [int(value.scaleb(price_decimals)) for value in price]
        amounts = [int(value.scaleb(amount_decimals)) for value in amount]
        if sum(p * a for p, a in zip(prices, amounts, strict=True)) >= 2**63:
            raise ConfigError(f"{path}: prices and amounts have too many decimals to be summed exactly")
        self.first_time: int = timestamp[0]
        self.first_id: int = id_[0]
        ids, times = np.array(id_, np.int64), np.array(timestamp, np.int64)
        self.trades = Trades(
            ids, ids, times, np.array(prices, np.int64), np.array(amounts, np.int64), np.array(sell, np.bool_)
        )

    @property
    def span(self) -> tuple[int, int]:
        """The time of the first trade, and the millisecond after the last."""
        return self.first_time, int(self.trades.timestamp[-1]) + 1

    def id_at(self, timestamp: int) -> int:
        """See TradeHistory.id_at; after the last trade, the id that would follow."""
        return self.first_id + int(np.searchsorted(self.trades.timestamp, timestamp))

    def by_id(self, first: int, end: int) -> Trades:
        """See TradeHistory.by_id."""
        return self.trades[max(0, first - self.first_id) : max(0, end - self.first_id)]

    def between(self, since: int, until: int) -> Trades:
        """See TradeHistory.between."""
        return self.by_id(self.id_at(since), self.id_at(until))

    def id_of_aggregate(self, agg: int) -> int:
        """See TradeHistory.id_of_aggregate."""
        return max(agg, self.first_id)


def _trade(row: list[str]) -> tuple[int, int, bool, Decimal, Decimal]:
    if row[2] not in ("buy", "sell"):
        raise ValueError(f"the side is {row[2]!r}, neither buy nor sell")
    price, amount = Decimal(_number(row[3])).normalize(), Decimal(_number(row[4])).normalize()
    return int(row[0]), int(row[1]), row[2] == "sell", price, amount


def _most_decimals(values: tuple[Decimal, ...]) -> int:
    return max(max(0, -int(value.as_tuple().exponent)) for value in values)
