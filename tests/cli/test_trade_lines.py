"""Trades as lines of CSV and JSON, read back by the standard library."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncGenerator
from typing import Any

import pyarrow as pa
import pytest

from tickwire.archive_files.schema import TRADES
from tickwire.cli.archive.trades import write_lines
from tickwire.cli.options import TradeFormat

pytestmark = pytest.mark.pure

IDS = ["1", "a,b", 'say "x"', "two\nlines", None]


async def tables() -> AsyncGenerator[Any, None]:
    for number, id_ in enumerate(IDS):
        row = {"timestamp": number, "received": number + 1, "id": id_, "side": None, "price": 0.1, "amount": 1e-07}
        yield pa.Table.from_pylist([row | {"source": "rest", "sequence": 7}], TRADES)


def written(form: TradeFormat) -> str:
    file = io.StringIO()
    assert asyncio.run(write_lines(tables(), file, form)) == len(IDS)
    return file.getvalue()


def test_an_id_with_commas_quotes_or_lines_is_one_field_of_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(written(TradeFormat.csv))))
    assert [row["id"] for row in rows] == ["1", "a,b", 'say "x"', "two\nlines", ""]
    assert rows[1] == {
        "timestamp": "1", "received": "2", "id": "a,b", "side": "", "price": "0.1", "amount": "1e-07",
        "source": "rest", "sequence": "7",
    }  # fmt: skip


def test_lines_of_json_have_what_the_archive_has() -> None:
    assert [json.loads(line)["id"] for line in written(TradeFormat.jsonl).splitlines()] == IDS
