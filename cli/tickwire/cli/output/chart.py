"""Draws a price chart for a terminal: a column for each interval, holes as holes, prices in plain digits."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import plotext

from tickwire.errors import UnsupportedTimeframe
from tickwire.model import timeframes
from tickwire.model.messages import Row

HEIGHT = 18
TICK_CELLS = 16
BORDER_CELLS = 2
RIGHT_CELLS = 5
"""Empty columns behind the newest candle: half of its label, which would be left out."""
PRICES = 5
"""Labels of the price axis, where there is room."""
ROWS_A_PRICE = 4
_CALENDAR_MS = 28 * 86_400_000
"""Intervals from this length on are months, of several lengths."""


def candles(title: str, rows: Sequence[Row], width: int, height: int = HEIGHT, *, timeframe: str | None = None) -> str:
    """Draw the newest candles that fit into `width` cells, one a column; in colour where stdout is a terminal.

    With `timeframe` an interval without a candle is an empty column.
    """
    step = _step(timeframe)
    # plotext draws nothing larger than the terminal.
    width = min(width, shutil.get_terminal_size().columns)
    labelled = max(2, min(PRICES, height // ROWS_A_PRICE))
    # The axis is as wide as its labels, which depend on the candles that are shown, and these on the room.
    prices: list[float] = []
    labels: list[str] = []
    shown, room = list(rows), width
    for _ in range(3):
        room = max(1, width - BORDER_CELLS - RIGHT_CELLS - max(map(len, labels), default=0))
        shown = _newest(rows, room, step)
        prices, labels = axis(min(row[3] for row in shown), max(row[2] for row in shown), labelled)
    places = _places(shown, step)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.title(title)
    figure.theme("simple")
    # Places instead of times: plotext 6.1 is a day off in 2025.
    last = places[-1]
    figure.ruler("x").lim(last - room + 1, last + RIGHT_CELLS)
    ticks = list(range(last, max(-1, last - room), -TICK_CELLS))[::-1]
    figure.ruler("x").ticks(ticks, [_label(_time(tick, shown, places, step)) for tick in ticks])
    figure.ruler("y").ticks(prices, labels)
    figure.draw(
        figure.candlestick(
            {
                "date": places,
                "open": [row[1] for row in shown],
                "high": [row[2] for row in shown],
                "low": [row[3] for row in shown],
                "close": [row[4] for row in shown],
            }
        )
    )
    return str(figure.build().string(colorless=not sys.stdout.isatty()))


def axis(low: float, high: float, count: int) -> tuple[list[float], list[str]]:
    """Return prices from `low` to `high` and their labels: plain digits, so many that they differ."""
    span = high - low
    if not span > 0:
        return [low], [_digits(low, 0)]
    step = span / (count - 1)
    decimals = max(0, 1 - math.floor(math.log10(step)))
    prices = [low + number * step for number in range(count)]
    return prices, [f"{price:,.{decimals}f}" for price in prices]


def _digits(price: float, decimals: int) -> str:
    text = f"{price:,.{max(decimals, 12)}f}"
    return text.rstrip("0").rstrip(".")


def _step(timeframe: str | None) -> int | None:
    """Return the length of an interval (ms); None where lengths differ, or candles are drawn without holes."""
    try:
        step = None if timeframe is None else timeframes.duration_ms(timeframe)
    except UnsupportedTimeframe:
        return None
    return None if step is None or step >= _CALENDAR_MS else step


def _newest(rows: Sequence[Row], room: int, step: int | None) -> list[Row]:
    if step is None:
        return list(rows[-room:])
    return [row for row in rows if row[0] > rows[-1][0] - room * step]


def _places(rows: Sequence[Row], step: int | None) -> list[int]:
    return [number if step is None else (row[0] - rows[0][0]) // step for number, row in enumerate(rows)]


def _time(place: int, rows: Sequence[Row], places: Sequence[int], step: int | None) -> int:
    return rows[0][0] + place * step if step is not None else rows[places.index(place)][0]


def _label(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%m-%d %H:%M")
