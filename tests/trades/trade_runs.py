"""Reads the runs of trades that an ordering returns."""

from __future__ import annotations

from collections.abc import Iterable

from tickwire.streamer.trades.ordering import TradeRun


def numbers(runs: Iterable[TradeRun]) -> list[int]:
    """The ids of the trades of some runs."""
    return [int(each.id or -1) for run in runs for each in run.trades]
