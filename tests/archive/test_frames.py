"""Archived trades and their bars as pandas, Arrow and Polars have them: the same rows in each."""

from __future__ import annotations

import sys
from pathlib import Path

import polars
import pyarrow as pa
import pytest

from archive.test_archive_outages import LATER, archiving, taped
from archive.test_reads import BTC, HOUR, QUIET, archived
from archive.written_tape import DAY, until_archived
from tickwire.archive_files.layout import ArchivedFeed, date_of
from tickwire.archive_files.removal import remove_day
from tickwire.archive_files.root import FolderRoot
from tickwire.client import ConfigError, archived_frames, connect

pytestmark = pytest.mark.faults


@QUIET
async def test_trades_and_bars_are_the_same_in_every_form(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "archive"
    async with taped(broker, root) as tape, archiving(broker, root, certify_after_s=LATER):
        await archived(tape, root, tape.begun + 6 * HOUR)
        since, until = tape.begun, tape.at
        async with connect(broker) as client:
            trades = await client.trades_frame("binance", BTC, since, until)
            table = await client.trades_frame("binance", BTC, since, until, form="arrow")
            frame = await client.trades_frame("binance", BTC, since, until, form="polars")
            assert isinstance(table, pa.Table)
            assert isinstance(frame, polars.DataFrame)
            assert frame.rows(named=True) == table.to_pylist()
            assert frame["id"].to_list() == trades["id"].tolist()
            bars = await client.bars("binance", BTC, "1h", since, until)
            table = await client.bars("binance", BTC, "1h", since, until, form="arrow")
            frame = await client.bars("binance", BTC, "1h", since, until, form="polars")
            assert table.column_names == frame.columns == ["timestamp", *bars.columns]
            assert table["close"].to_pylist() == frame["close"].to_list() == bars["close"].tolist()
            assert b"tickwire" in table.schema.metadata
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, "polars", None)
                with pytest.raises(ConfigError, match="polars is not installed"):
                    await client.trades_frame("binance", BTC, since, until, form="polars")


async def test_a_day_that_is_removed_before_its_rows_are_read_is_missing(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    async with taped(broker, root) as tape, archiving(broker, root, certify_after_s=LATER):
        await tape.go_on(lambda: tape.at > tape.begun + 2 * DAY, step=3 * HOUR, pause_s=0)
        await tape.end_day()
        await until_archived(root, tape)
        first, second = (ArchivedFeed("trade", "binance", BTC).on(date_of(tape.begun + day * DAY)) for day in (0, 1))
        async with connect(broker) as client:
            since, until = first.span.until, tape.at
            found = await client.archived("binance", BTC, since, until)
            assert found.missing == []
            bars = await client.archived("binance", BTC, since, until)
            remove_day(FolderRoot(root), first, lambda: None)
            remove_day(FolderRoot(root), second, lambda: None)
            frame = await archived_frames.frame(client.bus, found)
            assert frame.attrs["missing"] == [tuple(second.span)]
            assert frame.attrs["reasons"] == ["removed from the archive"]
            assert frame["id"].tolist() == [id_ for id_, at, *_ in tape.rows[BTC] if second.span.until <= at < until]
            hours = await archived_frames.bars(client.bus, bars, "1h")
            assert hours.attrs["missing"] == [tuple(second.span)]
