"""What docs/archive.md shows to read candles and tickers with DuckDB and Polars runs as it is printed there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb
import polars
import pytest

from archive_files.taped import BEGIN, DATE, DAY, GENERATION, HOUR, unchecked
from archive_files.test_documented_reading import PYTHON, SHOWN, SQL
from tickwire.archive_files import days
from tickwire.archive_files.candle_rows import CandleRows
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.parts import write_part
from tickwire.archive_files.root import FolderRoot
from tickwire.archive_files.ticker_rows import TickerRows
from tickwire.model.feeds import Ticker
from tickwire.model.messages import CandlePage

pytestmark = pytest.mark.actors

MARKETS = ("BTC/USDT", "BTC/USDT:USDT")
TOMORROW = DATE + timedelta(days=1)


@pytest.fixture(autouse=True)
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive with a closed day of candles and tickers of two markets, and an open one, which corrects a candle."""
    root = FolderRoot(tmp_path / "archive")
    for symbol in MARKETS:
        for number, (first, count) in enumerate([(0, 30), (23, 2)]):
            candles, tickers = CandleRows(GENERATION, number), TickerRows(GENERATION, number)
            rows = [(BEGIN + n * HOUR, 1.0, 2.0, 0.5, 10.0 * number + n, 1.0) for n in range(first, first + count)]
            page = CandlePage(
                exchange="binance", symbol=symbol, timeframe="1h", since=rows[0][0], until=rows[-1][0] + HOUR, rows=rows
            )
            candles.append(page, number + 1, None)
            for n in range(first, first + count):
                at = BEGIN + number * DAY + n * HOUR // 2
                state = Ticker(
                    exchange="binance", symbol=symbol, timestamp=at, received=at, bid=9.0, ask=10.0 + n, last=None
                )
                tickers.append(state, number + 1, number)
            for part in [*candles.parts(number + 1), *tickers.parts(number + 1)]:
                write_part(root, part)
            for kind in ("candle", "ticker") if number == 0 else ():
                days.close_day(root, ArchivedFeed(kind, "binance", symbol).on(DATE), None, unchecked)
    monkeypatch.chdir(tmp_path)


def test_duckdb_reads_the_newest_row_of_each_candle() -> None:
    found = duckdb.execute(SQL[3]).fetchall()
    closes = [10.0 + n if n in (23, 24) else float(n) for n in range(30)]
    assert [(row[0], row[2]) for row in found] == [(symbol, close) for symbol in SHOWN for close in closes]


def test_duckdb_finds_the_widest_spread_of_each_day() -> None:
    assert duckdb.execute(SQL[4]).fetchall() == [(symbol, DATE, 30.0) for symbol in SHOWN]


def test_polars_reads_candles_and_tickers_by_partitions() -> None:
    candles, tickers = (eval(each, {"polars": polars}).collect() for each in PYTHON[2:4])
    assert sorted(candles["symbol"].unique()) == list(SHOWN)
    assert candles.filter(symbol=SHOWN[0])["close"].to_list() == [float(n) for n in range(24)]
    assert set(candles["date"]) == {DATE}
    assert sorted(tickers.rows()) == [(symbol, DATE, 30) for symbol in SHOWN]
