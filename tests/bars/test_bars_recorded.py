"""Bars of recorded trades are the candles that the exchanges themselves made of them, to the last digit."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy
import pytest

from tickwire.bars import Bars, Fold, rule_of

pytestmark = pytest.mark.golden

MINUTE = 60_000
Trades = list[tuple[int, float, float]]
"""Time (ms), price, amount."""
Candles = dict[int, tuple[float, ...]]
"""Open, high, low, close, volume by open time (ms)."""


def binance(folder: Path) -> tuple[Trades, Candles]:
    """Two days of XRP/ETH."""
    with (folder / "trades/binance_XRP-ETH_2019-10.csv").open() as file:
        trades = [(int(row["timestamp"]), float(row["price"]), float(row["amount"])) for row in csv.DictReader(file)]
    with (folder / "ohlcv/binance_XRP-ETH_1m_2019-10.csv").open() as file:
        return trades, {int(row[0]): tuple(map(float, row[1:])) for row in list(csv.reader(file))[1:]}


def kraken(folder: Path) -> tuple[Trades, Candles]:
    """1,000 trades of BTC/USDT, and the minutes that had some."""
    trades, rows = (
        json.loads((folder / f"venues/kraken/http_{name}.json").read_text())["result"]["XBTUSDT"]
        for name in ("trades", "ohlc")
    )
    return (
        [(int(row[2] * 1000), float(row[0]), float(row[1])) for row in trades],
        {int(row[0]) * 1000: tuple(map(float, (*row[1:5], row[6]))) for row in rows if row[7]},
    )


def hitbtc(folder: Path) -> Mapping[str, tuple[Trades, Candles]]:
    """The last 100 trades and minutes of ten markets."""
    found: dict[str, tuple[Trades, Candles]] = {}
    for name, kind, each in _hitbtc_items(folder):
        trades, candles = found.setdefault(name, ([], {}))
        time = round(datetime.fromisoformat(each["timestamp"].replace("Z", "+00:00")).timestamp() * 1000)
        if kind == "Trades":
            trades.append((time, float(each["price"]), float(each["quantity"])))
        else:
            candles[time] = tuple(float(each[name]) for name in ("open", "max", "min", "close", "volume"))
    return found


def _hitbtc_items(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for line in (folder / "wire/HITBTC.ws.1.0").read_text().splitlines():
        text = line.partition(": ")[2]
        message = json.loads(text) if text.startswith('{"jsonrpc"') else {}
        method = message.get("method", "")
        for kind in ("Trades", "Candles"):
            if method in (f"snapshot{kind}", f"update{kind}"):
                for each in message["params"]["data"]:
                    yield message["params"]["symbol"], kind, each


def built(exchange: str, timeframe: str, trades: Trades) -> Candles:
    """The bars of a timeframe."""
    return candles_of(bars(exchange, timeframe, trades))


def bars(exchange: str, rule: str, trades: Trades) -> Bars:
    fold = Fold(rule_of(exchange, rule))
    times, prices, amounts = zip(*trades, strict=True)
    fold.take(numpy.array(times, numpy.int64), numpy.array(prices), numpy.array(amounts))
    return fold.result()


def candles_of(found: Bars) -> Candles:
    columns = (found.timestamp, found.open, found.high, found.low, found.close, found.volume)
    return {opened: tuple(values) for opened, *values in zip(*(each.tolist() for each in columns), strict=True)}


def whole(candles: Candles, trades: Trades) -> Candles:
    """The candles of minutes that the recorded trades cover: neither the first nor the last one."""
    first, last = trades[0][0] // MINUTE * MINUTE, trades[-1][0] // MINUTE * MINUTE
    return {opened: values for opened, values in candles.items() if first < opened < last}


def test_minutes_of_binance(recorded: Path) -> None:
    trades, candles = binance(recorded)
    assert len(candles) == 2469
    assert built("binance", "1m", trades) == candles


def test_minutes_of_kraken(recorded: Path) -> None:
    trades, candles = kraken(recorded)
    expected = whole(candles, trades)
    assert len(expected) > 100
    assert whole(built("kraken", "1m", trades), trades) == expected


def test_minutes_of_ten_markets_of_hitbtc(recorded: Path) -> None:
    compared = 0
    for trades, candles in hitbtc(recorded).values():
        expected = {opened: values for opened, values in candles.items() if opened > trades[0][0]}
        compared += len(expected)
        found = built("hitbtc", "1m", trades)
        assert {opened: found.get(opened) for opened in expected} == expected
    assert compared == 438


def test_bars_of_volume_are_filled_and_lose_nothing(recorded: Path) -> None:
    """Amounts of this market are whole numbers: plain sums are exact."""
    trades, candles = binance(recorded)
    found = bars("binance", "volume:10000", trades)
    assert (found.volume[:-1] >= 10_000).all()
    assert found.volume.sum() == sum(values[4] for values in candles.values())
    assert found.trades.sum() == len(trades)
