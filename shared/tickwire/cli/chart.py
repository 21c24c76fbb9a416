"""A price chart in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import plotext

from tickwire.messages import Row

HEIGHT = 18
AXIS_CELLS = 10
"""Room for the prices at the left."""


def candles(title: str, rows: Sequence[Row], width: int) -> str:
    """The last candles that fit into `width` cells, one a column; in colour where standard output is a terminal."""
    shown = rows[-max(1, width - AXIS_CELLS) :]
    figure = plotext.figure
    figure.clear()
    figure.date("x").activate(form="%m-%d %H:%M", zone=0)
    figure.plot_size(width, HEIGHT)
    figure.title(title)
    figure.theme("simple")
    figure.draw(
        figure.candlestick(
            {
                "date": [row[0] / 1000 for row in shown],
                "open": [row[1] for row in shown],
                "high": [row[2] for row in shown],
                "low": [row[3] for row in shown],
                "close": [row[4] for row in shown],
            }
        )
    )
    return str(figure.build().string(colorless=not sys.stdout.isatty()))
