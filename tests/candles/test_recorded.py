"""Candles built from recorded trades are those that the exchange itself made of them, to the last digit."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tickwire.model.feeds import Candle, Trade, Trades
from tickwire.streamer.candles.builder import CandleBuilder, Ended, fold
from tickwire.streamer.candles.partial_candles import grain_of

pytestmark = pytest.mark.golden

MINUTE = 60_000
Values = tuple[float, float, float, float, float]


def build(trades: Sequence[Trade], batch: int, **begun: CandleBuilder) -> list[tuple[str, Ended]]:
    """What ends when the trades are on the tape in batches; nothing is late."""
    said: list[tuple[str, Ended]] = []
    grain = grain_of(begun)
    for start in range(0, len(trades), batch):
        message = Trades(exchange="x", symbol="A/B", trades=list(trades[start : start + batch]), received=0)
        for timeframe, each in fold(begun, grain, 1000 + start, message):
            assert isinstance(each, Ended)
            said.append((timeframe, each))
    return said


def values(ended: Ended) -> Values:
    """Open, high, low, close, volume."""
    assert ended.bar is not None
    bar = ended.bar
    return bar.open, bar.high, bar.low, bar.close, float(bar.volume)


def still_open(building: CandleBuilder) -> tuple[int, Values]:
    """The open time and the values of the candle that has not ended."""
    assert building.since is not None
    return building.since, values(Ended(building.since, 0, building.bar, True))


def floats(row: dict[str, Any], *names: str) -> Values:
    """Five fields as numbers."""
    a, b, c, d, e = (float(row[name]) for name in names)
    return a, b, c, d, e


# ---- two days of binance's XRP/ETH


def xrp_trades(recorded: Path) -> list[Trade]:
    """12,477 consecutive aggregate trades from the start of a day."""
    with (recorded / "trades" / "binance_XRP-ETH_2019-10.csv").open() as file:
        return [
            Trade(
                id=row["id"],
                timestamp=int(row["timestamp"]),
                side="buy" if row["side"] == "buy" else "sell",
                price=float(row["price"]),
                amount=float(row["amount"]),
            )
            for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize("batch", [1, 7, 20_000])
def test_12477_trades_give_exactly_the_minutes_that_binance_made(recorded: Path, batch: int) -> None:
    """Minutes without trades have no candle there, and none here."""
    with (recorded / "ohlcv" / "binance_XRP-ETH_1m_2019-10.csv").open() as file:
        exchanges = {
            int(row["timestamp"]): floats(row, "open", "high", "low", "close", "volume") for row in csv.DictReader(file)
        }
    trades = xrp_trades(recorded)
    assert len(trades) == 12_477
    building = CandleBuilder.begin("1m", 0, 0)
    ended = [each for _, each in build(trades, batch, **{"1m": building})]

    built = dict([(each.since, values(each)) for each in ended if each.bar is not None] + [still_open(building)])
    assert len(built) == 2469
    assert built == exchanges
    # Only of the first minute it cannot be known that all of it was seen.
    assert [each.since for each in ended if not each.complete] == [min(exchanges)]
    quiet = [(each.since, each.until) for each in ended if each.bar is None]
    span = (max(exchanges) - min(exchanges)) // MINUTE + 1
    assert sum((until - since) // MINUTE for since, until in quiet) == span - len(exchanges)
    assert not [opened for opened in exchanges if any(since <= opened < until for since, until in quiet)]


def test_every_timeframe_of_one_pass_is_what_the_minutes_add_up_to(recorded: Path) -> None:
    """First open, highest high, lowest low, last close, sum of volumes of the exchange's minutes."""
    with (recorded / "ohlcv" / "binance_XRP-ETH_1m_2019-10.csv").open() as file:
        minutes = [
            (int(row["timestamp"]), floats(row, "open", "high", "low", "close", "volume"))
            for row in csv.DictReader(file)
        ]
    names = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": 60 * MINUTE, "1d": 1440 * MINUTE}
    begun = {name: CandleBuilder.begin(name, 0, 0) for name in names}
    said = build(xrp_trades(recorded), 100, **begun)
    for name, length in names.items():
        built = [(each.since, values(each)) for timeframe, each in said if timeframe == name and each.bar is not None]
        built.append(still_open(begun[name]))
        grouped: dict[int, list[Values]] = {}
        for opened, row in minutes:
            grouped.setdefault(opened - opened % length, []).append(row)
        # Amounts of this market are whole numbers, so that plain sums are exact.
        expected = [
            (
                opened,
                (rows[0][0], max(r[1] for r in rows), min(r[2] for r in rows), rows[-1][3], sum(r[4] for r in rows)),
            )
            for opened, rows in grouped.items()
        ]
        assert built == expected


# ---- HitBTC


def hitbtc(recorded: Path) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Symbol, `Trades` or `Candles`, and what each message of the recording said."""
    for line in (recorded / "wire" / "HITBTC.ws.1.0").read_text().splitlines():
        text = line.partition(": ")[2]
        message = json.loads(text) if text.startswith('{"jsonrpc"') else {}
        method = message.get("method", "")
        for kind in ("Trades", "Candles"):
            if method in (f"snapshot{kind}", f"update{kind}"):
                assert message["params"].get("period", "M1") == "M1"
                yield message["params"]["symbol"], kind, message["params"]["data"]


def milliseconds(iso: str) -> int:
    """Ms epoch of a time such as 2021-07-13T11:07:53.658Z."""
    return round(datetime.fromisoformat(iso.replace("Z", "+00:00")).timestamp() * 1000)


def test_candles_of_hitbtc_are_those_built_from_its_trades(recorded: Path) -> None:
    """Ten markets, each with its last 100 trades and minutes: covered are the minutes after that of the first trade."""
    trades: dict[str, list[dict[str, Any]]] = {}
    candles: dict[str, list[dict[str, Any]]] = {}
    for symbol, kind, data in hitbtc(recorded):
        (trades if kind == "Trades" else candles).setdefault(symbol, []).extend(data)
    assert len(trades) == len(candles) == 10
    compared = 0
    for symbol, told in trades.items():
        building = CandleBuilder.begin("1m", 0, 0)
        ended = build(
            [
                Trade(
                    id=str(each["id"]),
                    timestamp=milliseconds(each["timestamp"]),
                    side=each["side"],
                    price=float(each["price"]),
                    amount=float(each["quantity"]),
                )
                for each in told
            ],
            10,
            **{"1m": building},
        )
        built = dict(
            [(each.since, values(each)) for _, each in ended if each.bar is not None and each.complete]
            + [still_open(building)]
        )
        first = milliseconds(told[0]["timestamp"])
        exchanges = {
            milliseconds(each["timestamp"]): floats(each, "open", "max", "min", "close", "volume")
            for each in candles[symbol]
        }
        assert built == {opened: row for opened, row in exchanges.items() if opened > first}
        compared += len(built)
    assert compared == 438


# ---- binance's futures


def binance(recorded: Path) -> Iterator[dict[str, Any]]:
    """What the recorded frames of binance's futures said."""
    for line in (recorded / "wire" / "BINANCE_FUTURES.ws.1.0").read_text().splitlines():
        text = line.partition(": ")[2]
        if text.startswith('{"stream"'):
            yield json.loads(text)["data"]


def aggregates(recorded: Path) -> dict[str, list[dict[str, Any]]]:
    """Aggregate trades by symbol; none is missing between the first and the last."""
    found: dict[str, list[dict[str, Any]]] = {}
    for data in binance(recorded):
        if data["e"] == "aggTrade":
            found.setdefault(data["s"], []).append(data)
    for each in found.values():
        assert [data["a"] for data in each] == list(range(each[0]["a"], each[0]["a"] + len(each)))
    return found


def agg_trade(data: dict[str, Any]) -> Trade:
    """A trade of a recorded aggTrade."""
    return Trade(
        id=str(data["a"]),
        timestamp=data["T"],
        side="sell" if data["m"] else "buy",
        price=float(data["p"]),
        amount=float(data["q"]),
    )


def kline_values(kline: dict[str, Any]) -> Values:
    """Its open, high, low, close, volume."""
    return floats(kline, "o", "h", "l", "c", "v")


def test_open_candles_of_binance_are_those_built_from_its_trades(recorded: Path) -> None:
    """Covered is a kline whose first and last trade (f, L) are both in the recording: 15 of 67."""
    trades = aggregates(recorded)
    compared = 0
    for data in binance(recorded):
        if data["e"] != "kline":
            continue
        kline = data["k"]
        within = [each for each in trades[kline["s"]] if each["f"] >= kline["f"] and each["l"] <= kline["L"]]
        if not within or (within[0]["f"], within[-1]["l"]) != (kline["f"], kline["L"]):
            continue
        building = CandleBuilder.begin("1m", 0, 0)
        assert build([agg_trade(each) for each in within], 1, **{"1m": building}) == []
        assert still_open(building) == (kline["t"], kline_values(kline))
        compared += 1
    assert compared == 15


def test_an_open_candle_of_binance_and_the_trades_after_it_give_the_closed_one(recorded: Path) -> None:
    """The recording begins within the minute that it saw closed, so what had happened is taken from its first kline."""
    trades = aggregates(recorded)
    open_ones: dict[str, dict[str, Any]] = {}
    compared = 0
    for data in binance(recorded):
        if data["e"] != "kline":
            continue
        kline = data["k"]
        if not kline["x"]:
            # An aggregate may be cut by a kline: one is needed after which an aggregate begins.
            if any(each["f"] == kline["L"] + 1 for each in trades[kline["s"]]):
                open_ones.setdefault(kline["s"], kline)
            continue
        before = open_ones[kline["s"]]
        assert before["t"] == kline["t"]
        opened, high, low, close, volume = kline_values(before)
        building = CandleBuilder.resume(
            Candle(
                exchange="x",
                symbol="A/B",
                timeframe="1m",
                timestamp=before["t"],
                open=opened,
                high=high,
                low=low,
                close=close,
                volume=volume,
                trades=before["n"],
                closed=False,
                complete=True,
                sequence=1,
            )
        )
        after = [each for each in trades[kline["s"]] if each["l"] > before["L"]]
        assert after[0]["f"] == before["L"] + 1
        ended = build([agg_trade(each) for each in after], 1, **{"1m": building})
        assert ended[0][1].complete
        assert (ended[0][1].since, values(ended[0][1])) == (kline["t"], kline_values(kline))
        compared += 1
    assert compared == 4
