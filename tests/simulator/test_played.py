"""Recorded markets: what the file says is what the exchange says, and a wrong file is refused by its line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tickwire.errors import ConfigError
from tickwire.simulator.market.played import PlayedCandles, PlayedTrades

pytestmark = pytest.mark.pure

HEADER = "timestamp,open,high,low,close,volume\n"
TRADES = "timestamp,id,side,price,amount\n"
LATE = 2**50


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_values_are_served_as_the_shortest_text_of_the_same_number(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", HEADER + "0,0.09946999000000001,46319.00,1e-05,2,1820.54447418\n")
    assert PlayedCandles(file, "5m").page("5m", 0, None, 10, LATE)[0][1:6] == [
        "0.09946999000000001", "46319.0", "1e-05", "2.0", "1820.54447418"
    ]  # fmt: skip


def test_holes_stay_holes_and_coarser_candles_are_put_together_from_what_there_is(tmp_path: Path) -> None:
    lines = "0,5,6,4,5,0.1\n60000,5,9,5,8,0.2\n240000,7,7,1,2,1\n600000,3,3,3,3,4\n"
    played = PlayedCandles(written(tmp_path / "a.csv", HEADER + lines), "1m")
    assert [row[0] for row in played.page("1m", 0, None, 10, LATE)] == [0, 60_000, 240_000, 600_000]
    assert [row[:6] for row in played.page("5m", 0, None, 10, LATE)] == [
        [0, "5.0", "9.0", "1.0", "2.0", "1.3"],
        [600_000, "3.0", "3.0", "3.0", "3.0", "4.0"],
    ]
    assert played.intervals()[:2] == ("1m", "3m")


def test_pages_are_bounded_by_start_end_limit_and_now(tmp_path: Path) -> None:
    lines = "".join(f"{minute * 60_000},1,1,1,1,1\n" for minute in range(10))
    played = PlayedCandles(written(tmp_path / "a.csv", HEADER + lines), "1m")

    def opens(start: int | None, end: int | None, limit: int, now: int = LATE) -> list[int]:
        return [int(row[0]) // 60_000 for row in played.page("1m", start, end, limit, now)]

    assert opens(1, None, 3) == [1, 2, 3]
    assert opens(None, None, 3) == [7, 8, 9]
    assert opens(None, 300_000, 2) == [4, 5]
    assert opens(60_000, 120_000, 500) == [1, 2]
    assert opens(None, None, 2, now=130_000) == [1, 2]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("time,open\n", ":1: the columns are"),
        (HEADER + "0,1,1,1,1\n", ":2: 5 values instead of 6"),
        (HEADER + "0,1,1,1,1,1\n60000,1,x,1,1,1\n", ":3: could not convert"),
        (HEADER + "60000,1,1,1,1,1\n0,1,1,1,1,1\n", ":3: 0 does not come after 60000"),
        (HEADER + "7,1,1,1,1,1\n", ":2: no 1m candle opens at 7"),
        (HEADER + "0,1,nan,1,1,1\n", ":2: 'nan' is not a price"),
        (HEADER, "has no candles"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError) as refused:
        PlayedCandles(written(tmp_path / "a.csv", text), "1m")
    assert what in str(refused.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (TRADES + "0,1,buy,1,1\n0,3,buy,1,1\n", ":3: trade 3 does not follow 1"),
        (TRADES + "5,1,buy,1,1\n4,2,buy,1,1\n", ":3: the trade is older"),
        (TRADES + "5,1,bid,1,1\n", ":2: the side is 'bid'"),
        (TRADES, "has no trades"),
    ],
)
def test_a_wrong_file_of_trades_is_refused_with_its_line(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError) as refused:
        PlayedTrades(written(tmp_path / "a.csv", text))
    assert what in str(refused.value)


def test_recorded_candles_come_out_value_for_value(recorded: Path) -> None:
    for name, timeframe in (("binance_XRP-ETH_1m_2019-10", "1m"), ("binance_XMR-BTC_5m_2018-01", "5m")):
        path = recorded / "ohlcv" / f"{name}.csv"
        with path.open(newline="") as file:
            source = [[int(row[0]), *map(float, row[1:])] for row in list(csv.reader(file))[1:]]
        played = PlayedCandles(path, timeframe)
        page = played.page(timeframe, 0, None, 10**6, LATE)
        assert [[row[0], *map(float, row[1:6])] for row in page] == source
