"""A store on real files, pages of one-minute candles for it, and what its files contain."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tickwire.cache import column_index, key_snapshot
from tickwire.cache.disk import Disk
from tickwire.cache.fence import Fence
from tickwire.cache.store import Store
from tickwire.model.messages import CandlePage, Row
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

KEY = Key("binance", "BTC/USDT", "1m")
OTHER = Key("okx", "ETH/USDT:USDT", "1h")
MINUTE = 60_000
HEADER = "dates,opens,highs,lows,closes,volumes\n"


def opened(folder: Path, epoch: int = 1, disk: Disk | None = None, stream: str = "s", generation: int = 1) -> Store:
    return Store.open(folder, 0, partitions=1, claim=Fence(generation, epoch), stream=stream, disk=disk)


def use_small_records(patch: pytest.MonkeyPatch) -> None:
    """Keep columns in records of a few rows, and read in pieces of a few lines, so that a few rows make many."""
    patch.setattr(column_index, "ROWS", 16)
    patch.setattr(column_index, "NEW_ROWS", 4)
    patch.setattr(column_index, "WORTH_BYTES", 0)
    patch.setattr(column_index, "RECORD_BYTES", 1024)
    patch.setattr(key_snapshot, "PIECE_BYTES", 200)


def row_at(minute: int, close: float = 1.5) -> Row:
    return (minute * MINUTE, 1.0, 2.0, 0.5, close, 10.0)


def page(minutes: list[int], since: int | None = None, until: int | None = None, close: float = 1.5) -> CandlePage:
    """A page of one-minute candles; its range is the rows' own where it is not given (in minutes)."""
    return CandlePage(
        **KEY._asdict(),
        since=(minutes[0] if since is None else since) * MINUTE,
        until=(minutes[-1] + 1 if until is None else until) * MINUTE,
        rows=[row_at(minute, close) for minute in minutes],
    )


def data_file(folder: Path) -> Path:
    return folder / "binance_BTC-USDT_1m.csv"


def meta_file(folder: Path) -> Path:
    return folder / "binance_BTC-USDT_1m.meta.json"


def minutes_in(folder: Path) -> list[int]:
    with data_file(folder).open(newline="") as lines:
        return [int(line["dates"]) // MINUTE for line in csv.DictReader(lines)]


def append_to(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def in_minutes(ranges: list[Range]) -> list[tuple[int, int]]:
    return [(since // MINUTE, until // MINUTE) for since, until in ranges]
