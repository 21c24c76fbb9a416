"""Archived trades and their bars as pandas, Arrow and Polars have them: the same rows in each."""

from __future__ import annotations

import sys
from pathlib import Path

import polars
import pyarrow as pa
import pytest

from archive.test_archive_outages import LATER, archiving, taped
from archive.test_reads import BTC, HOUR, QUIET, archived
from tickwire.client import ConfigError, connect

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
