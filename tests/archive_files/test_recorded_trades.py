"""Recorded trades in the archive: every row as it was, and the sums of each hour as plain Python has them."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from archive_files.taped import Taped, unchecked, write_round
from tickwire.archive_files import days
from tickwire.archive_files.layout import DAY_MS, ArchivedFeed
from tickwire.archive_files.root import FolderRoot
from tickwire.model.feeds import Trade, Trades

pytestmark = pytest.mark.golden

FEED = ArchivedFeed("trade", "binance", "XRP/ETH")
HOUR = 3_600_000
ROUND = 40
"""Messages of a round."""


def test_recorded_trades_are_archived_row_by_row_and_summed_by_the_hour(recorded: Path, tmp_path: Path) -> None:
    with open(recorded / "trades/binance_XRP-ETH_2019-10.csv", newline="") as file:
        rows = [(int(row["timestamp"]), row["id"], row["side"], float(row["price"]), float(row["amount"]))
                for row in csv.DictReader(file)]  # fmt: skip
    root = FolderRoot(tmp_path)
    done, taped = 0, list[Taped]()
    batches = [rows[start : start + 7] for start in range(0, len(rows), 7)]
    for sequence, batch in enumerate(batches, 1):
        trades = [
            Trade(id=id_, timestamp=time, side="buy" if side == "buy" else "sell", price=price, amount=amount)
            for time, id_, side, price, amount in batch
        ]
        message = Trades(
            exchange="binance", symbol="XRP/ETH", trades=trades, received=trades[-1].timestamp + 5,
            source="rest" if sequence % 3 == 0 else "live", until=trades[-1].timestamp,
        )  # fmt: skip
        taped.append((message, sequence, sequence - 1))
        if len(taped) == ROUND or sequence == len(batches):
            write_round(root, taped, sequence, done=done)
            done, taped = sequence, []
    dates = days.dates_of(root, FEED)
    assert len(dates) == 3
    for date in dates:
        day = FEED.on(date)
        of_day = [row for row in rows if row[0] // DAY_MS == day.span.since // DAY_MS]
        made = days.close_day(root, day, rows[-1][0], unchecked)
        assert made.condition == ("complete" if date == dates[1] else "partial")
        assert (made.rows, made.live + made.rest) == (len(of_day), len(of_day))
        for hour, sums in enumerate(made.hours):
            of_hour = [row for row in of_day if (row[0] - day.span.since) // HOUR == hour]
            assert sums.rows == len(of_hour)
            assert sums.amount == pytest.approx(math.fsum(row[4] for row in of_hour), rel=1e-12)
            assert sums.quote_amount == pytest.approx(math.fsum(row[3] * row[4] for row in of_hour), rel=1e-12)
    found = [row for batch in days.read_rows(root, FEED, 0) for row in batch.to_pylist()]
    assert [
        (round(row["timestamp"].timestamp() * 1000), row["id"], row["side"], row["price"], row["amount"])
        for row in found
    ] == rows
    assert [(row["sequence"], row["source"]) for row in found] == [
        (number // 7 + 1, "rest" if (number // 7 + 1) % 3 == 0 else "live") for number in range(len(rows))
    ]
