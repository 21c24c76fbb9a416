"""What README.md, docs/archive.md and docs/duckdb.md show to read the files with other programs runs as printed."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pytest

from archive_files.taped import BEGIN, DATE, DAY, unchecked, write_round
from tickwire.archive_files import days, layout
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.root import FolderRoot
from tickwire.model.feeds import Trade, Trades

pytestmark = pytest.mark.actors

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/archive.md").read_text()
SQL = re.findall(r"```sql\n(.*?)```", TEXT, re.S)
DUCKDB_SQL = [
    each
    for block in re.findall(r"```sql\n(.*?)```", (ROOT / "docs/duckdb.md").read_text(), re.S)
    for each in block.split(";")
    if each.strip()
]
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)
MARKETS = ("BTC/USDT", "BTC/USDT:USDT")
SHOWN = ("BTC-USDT", "BTC-USDT:USDT")
TRADES = [
    Trade(id=str(n), timestamp=BEGIN + n * 1_700_000, side=("buy", "sell")[n % 2], price=100 + n % 7 / 8, amount=n % 5)
    for n in range(100)
]
"""Of two days."""


@pytest.fixture(autouse=True)
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive with two closed days of two markets, one of them complete, and an open day."""
    root = FolderRoot(tmp_path / "archive")
    for symbol in MARKETS:
        feed = ArchivedFeed("trade", "binance", symbol)
        named: dict[str, Any] = {"exchange": "binance", "symbol": symbol, "received": BEGIN}
        first = Trades(trades=[], until=BEGIN, **named)
        then = Trades(trades=TRADES, until=BEGIN + 2 * DAY - 1, **named)
        write_round(root, [(first, 1, 0), (then, 2, 1)], 2)
        for n in range(2):
            days.close_day(root, feed.on(layout.date_of(BEGIN + n * DAY)), BEGIN + 2 * DAY - 1, unchecked)
        late = Trade(id="late", timestamp=BEGIN + 2 * DAY, side="buy", price=1, amount=1)
        write_round(root, [(Trades(trades=[late], **named), 3, 2)], 3, done=2)
    monkeypatch.chdir(tmp_path)


def of_day(day: date) -> list[Trade]:
    """The trades of a day."""
    return [each for each in TRADES if layout.date_of(each.timestamp) == day]


def turnover(day: date) -> float:
    """Of the trades of a day."""
    return math.fsum(each.price * each.amount for each in of_day(day))


DATES = [layout.date_of(BEGIN), layout.date_of(BEGIN + DAY)]


def test_duckdb_sums_every_market_and_day() -> None:
    found = duckdb.execute(SQL[0]).fetchall()
    assert [(row[0], row[1], row[2], row[3]) for row in found] == [
        ("binance", symbol, day, len(of_day(day))) for symbol in SHOWN for day in DATES
    ]
    assert [row[4] for row in found] == pytest.approx([turnover(day) for day in DATES] * 2, rel=1e-12)


def test_duckdb_sums_the_days_of_a_market_and_shows_their_conditions() -> None:
    sums, conditions = (duckdb.execute(each).fetchall() for each in DUCKDB_SQL)
    assert [row[:2] for row in sums] == [(day, len(of_day(day))) for day in DATES]
    volumes = [(math.fsum(each.amount for each in of_day(day)), turnover(day)) for day in DATES]
    assert [row[2:] for row in sums] == [pytest.approx(each, rel=1e-12) for each in volumes]
    # The second day was closed when its last millisecond was not over.
    assert {row[1:3] for row in conditions} == {("complete", len(of_day(DATES[0]))), ("partial", len(of_day(DATES[1])))}


def test_the_readme_shows_each_day_with_its_sums_and_its_certificate() -> None:
    (printed,) = re.findall(r"```sql\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(printed.splitlines()) == 5
    found = duckdb.execute(printed).fetchall()
    assert [row[:3] for row in found] == [
        (DATES[0], "complete", len(of_day(DATES[0]))),
        (DATES[1], "partial", len(of_day(DATES[1]))),
    ]
    assert [row[4] for row in found] == pytest.approx([turnover(day) for day in DATES], rel=1e-12)


def test_duckdb_makes_candles() -> None:
    found = duckdb.execute(SQL[1]).fetchall()
    expected: dict[int, list[Trade]] = {}
    for each in of_day(DATE):
        expected.setdefault(each.timestamp // 60_000, []).append(each)
    assert [
        (int(row[0].timestamp()) // 60, *row[1:]) for row in found
    ] == [
        (
            minute,
            trades[0].price,
            max(each.price for each in trades),
            min(each.price for each in trades),
            trades[-1].price,
            sum(each.amount for each in trades),
        )
        for minute, trades in expected.items()
    ]  # fmt: skip


def test_duckdb_reads_the_certificates() -> None:
    (row,) = duckdb.execute(SQL[2]).fetchall()
    made = days.read_certificate(FolderRoot(Path("archive")), ArchivedFeed("trade", "binance", MARKETS[0]).on(DATE))
    assert made is not None
    found = row[0] if isinstance(row[0], date) else datetime.fromisoformat(row[0]).date()
    assert (found, *row[1:]) == (DATE, "complete", len(of_day(DATE)), made.sha256)


def test_polars_and_pandas_read_the_files() -> None:
    texts = [PYTHON[0], PYTHON[1], PYTHON[-1]]
    counted, sold, read = (eval(each, {"polars": polars, "pandas": pandas}) for each in texts)
    assert sorted(counted.collect().rows()) == [(symbol, day, len(of_day(day))) for symbol in SHOWN for day in DATES]
    assert sold.collect()["id"].to_list() == [each.id for each in TRADES if each.side == "sell"]
    assert read["id"].tolist() == [each.id for each in of_day(DATE)]
    assert (read["timestamp"].astype("int64") == [each.timestamp for each in of_day(DATE)]).all()


def test_duckdb_has_every_row_of_the_open_day_in_its_parts() -> None:
    found = duckdb.execute("SELECT id FROM 'archive/trade/*/*/date=*/part-*.parquet'").fetchall()
    assert found == [("late",), ("late",)]
