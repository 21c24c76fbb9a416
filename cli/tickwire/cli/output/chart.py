"""Draws a price chart for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import plotext

from tickwire.model.messages import Row

HEIGHT = 18
TICK_CELLS = 16
AXIS_CELLS = 10
"""Width of the price axis at the left."""


def candles(title: str, rows: Sequence[Row], width: int, height: int = HEIGHT) -> str:
    """Draw the newest candles that fit into `width` cells, one a column; in colour where stdout is a terminal."""
    room = max(1, width - AXIS_CELLS)
    shown = rows[-room:]
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.title(title)
    figure.theme("simple")
    # Indices instead of times: plotext 6.1 is a day off in 2025, and gaps in time need no space.
    last = len(shown) - 1
    figure.ruler("x").lim(last - room + 1, last)
    places = list(range(last, -1, -TICK_CELLS))[::-1]
    figure.ruler("x").ticks(places, [_label(shown[place][0]) for place in places])
    figure.draw(
        figure.candlestick(
            {
                "date": list(range(len(shown))),
                "open": [row[1] for row in shown],
                "high": [row[2] for row in shown],
                "low": [row[3] for row in shown],
                "close": [row[4] for row in shown],
            }
        )
    )
    return str(figure.build().string(colorless=not sys.stdout.isatty()))


def _label(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%m-%d %H:%M")
