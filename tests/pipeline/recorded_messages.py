"""Recorded exchanges as plain rules read them: lines of text, `json`, decimals; nothing of the project's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

Levels = list[tuple[float, float]]


@dataclass
class NaiveBook:
    """Prices and amounts as the texts that the exchange sent, ordered as decimals when asked."""

    sequence: int
    sides: dict[str, dict[str, str]]

    def apply(self, event: dict[str, Any]) -> None:
        """Put in the new amounts of a `depthUpdate`."""
        for side in "ba":
            for price, amount in event[side]:
                if Decimal(amount) == 0:
                    self.sides[side].pop(price, None)
                else:
                    self.sides[side][price] = amount
        self.sequence = event["u"]

    def top(self, depth: int | None = None) -> tuple[Levels, Levels]:
        """The best bids and asks, best first."""
        bids, asks = (sorted(self.sides[side], key=Decimal, reverse=side == "b")[:depth] for side in "ba")
        return (
            [(float(price), float(self.sides["b"][price])) for price in bids],
            [(float(price), float(self.sides["a"][price])) for price in asks],
        )


@dataclass
class Recorded:
    """What was recorded of one market, in order."""

    snapshot: dict[str, Any]
    trades: list[dict[str, Any]] = field(default_factory=list)
    diffs: list[dict[str, Any]] = field(default_factory=list)
    best: list[dict[str, Any]] = field(default_factory=list)
    klines: list[dict[str, Any]] = field(default_factory=list)
    """States of candles as the exchange itself made them."""
    first_diff: int = 0
    """How many messages, of all markets, there are up to its first diff."""

    def book(self) -> NaiveBook:
        """The snapshot."""
        return NaiveBook(
            self.snapshot["lastUpdateId"], {side[0]: dict(self.snapshot[side]) for side in ("bids", "asks")}
        )

    @property
    def whole_klines(self) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Klines of which every trade was recorded, from the first (`f`) to the last (`L`), and these trades."""
        found = []
        for kline in self.klines:
            trades = [trade for trade in self.trades if kline["f"] <= trade["f"] and trade["l"] <= kline["L"]]
            if trades and (trades[0]["f"], trades[-1]["l"]) == (kline["f"], kline["L"]):
                found.append((kline, trades))
        return found

    @property
    def applicable(self) -> list[dict[str, Any]]:
        """The diffs that go beyond the snapshot."""
        return [diff for diff in self.diffs if diff["u"] > self.snapshot["lastUpdateId"]]


def recorded_markets(prefix: Path) -> dict[str, Recorded]:
    """By the exchange's id of the market, from lines `URL -> TIME: ANSWER` and `TIME: FRAME`."""
    found: dict[str, Recorded] = {}
    for line in Path(f"{prefix}.http.0.0").read_text().splitlines():
        url, _, rest = line.partition(" -> ")
        if "depth?" in url:
            market = url.partition("symbol=")[2].partition("&")[0]
            found[market] = Recorded(json.loads(rest.partition(": ")[2]))
    number = 0
    for line in Path(f"{prefix}.ws.1.0").read_text().splitlines():
        frame = line.partition(": ")[2]
        if not frame.startswith('{"stream"'):
            continue
        number += 1
        message = json.loads(frame)
        data, kind = message["data"], message["stream"].partition("@")[2]
        of = found[data["s"]]
        if kind == "aggTrade":
            of.trades.append(data)
        elif kind == "bookTicker":
            of.best.append(data)
        elif kind == "kline_1m":
            of.klines.append(data["k"])
        elif kind == "depth@100ms":
            of.diffs.append(data)
            of.first_diff = of.first_diff or number
    return found


def candle(trades: Sequence[dict[str, Any]]) -> tuple[float, float, float, float, float, int]:
    """Open, high, low, close, volume and number of recorded aggregate trades, in decimals."""
    prices = [Decimal(trade["p"]) for trade in trades]
    volume = sum(Decimal(trade["q"]) for trade in trades)
    shown = (prices[0], max(prices), min(prices), prices[-1], volume)
    return (*map(float, shown), len(trades))  # type: ignore[return-value]
