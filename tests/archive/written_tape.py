"""A tape that a test writes for an archive, and what its files have of it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from archive.archive_process import PARTITIONS
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trade, Trades
from tickwire.model.feeds.layout import TapeLayout
from tickwire.model.subjects import token

DAY = 86_400_000
START = 1_700_000_000_000 // DAY * DAY - DAY // 2
"""Noon of a day in November 2023: tests write months of trades, and only days that are over are certified by time."""
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT")
Row = tuple[str, int, int, str, float, float, str, int]


class Tape:
    """Puts trades on the tape as streamers do: each message names the one before it of its feed."""

    def __init__(self, bus: Bus, partitions: int = PARTITIONS) -> None:
        self.bus = bus
        self.rows: dict[str, list[Row]] = defaultdict(list)
        """What the files should have, by symbol."""
        self.at = self.begun = START
        """The exchange's time, and when it began."""
        self._place = TapeLayout(partitions).place_of
        self._last: dict[str, int] = defaultdict(int)
        self._number = 0
        self._draw = random.Random(7)

    def continues(self, before: Tape) -> None:
        """Go on where another connection has stopped writing."""
        self.rows, self._last, self._number = before.rows, before._last, before._number

    async def write(self, symbol: str, count: int, gap: Gap | None = None, until: int | None = None) -> int:
        """So many trades in one message, some in the same millisecond; its sequence."""
        trades = []
        for _ in range(count):
            self._number += 1
            self.at += self._draw.choice([0, 0, 1, 900])
            side = self._draw.choice(["buy", "sell", None])
            price, amount = round(self._draw.uniform(1, 70_000), 2), round(10 ** self._draw.uniform(-3, 4), 3)
            trades.append(Trade(id=str(self._number), timestamp=self.at, side=side, price=price, amount=amount))  # type: ignore[arg-type]
        message = Trades(
            exchange="binance",
            symbol=symbol,
            trades=trades,
            received=self.at + 5,
            source=self._draw.choice(["live", "rest"]),
            gap=gap,
            until=self.at if until is None else until,
        )
        subject = self._place(Feed("trade", "binance", symbol)).subject
        headers = {"Nats-Expected-Last-Subject-Sequence": str(self._last[symbol])}
        ack = await self.bus.jetstream.publish(subject, messages.encode(message), headers=headers)
        self._last[symbol] = ack.seq
        self.rows[symbol] += [
            (t.id or "", t.timestamp, message.received, t.side or "", t.price, t.amount, message.source, ack.seq)
            for t in trades
        ]
        sequence: int = ack.seq
        return sequence

    async def go_on(self, until: Callable[[], bool], *, step: int, pause_s: float = 0.05) -> None:
        """Write messages of all symbols in turn; the exchange's time goes on by `step` ms with each."""
        while not until():
            for symbol in SYMBOLS:
                self.at += step
                await self.write(symbol, self._draw.randrange(1, 40))
            await asyncio.sleep(pause_s)

    async def end_day(self) -> None:
        """Declare every feed complete at the end of the present day."""
        self.at = (self.at // DAY + 1) * DAY
        for symbol in list(self.rows):
            await self.write(symbol, 0, until=self.at)


def folder(root: Path, symbol: str) -> Path:
    return root / "trade" / "exchange=binance" / f"symbol={token(symbol)}"


def rows_of(root: Path, symbol: str, names: str = "*.parquet") -> list[Row]:
    """The rows of all files of a feed, day after day, read by pyarrow alone as docs/archive.md says.

    Parts whose messages the day's file has (`covered`) are left out; files that vanish meanwhile are listed again.
    """
    return [row for date in sorted(folder(root, symbol).glob("date=*")) for row in _rows_of_day(date, names)]


def _rows_of_day(date: Path, names: str) -> list[Row]:
    while True:
        try:
            rows, covered = list[Row](), list[list[int]]()
            for path in sorted(date.glob(names)):
                # "data.parquet" sorts before its parts.
                if not _is_covered(path, covered):
                    file = pq.ParquetFile(path)
                    rows += _rows(file.read().to_pydict())
                    covered += json.loads(file.schema_arrow.metadata[b"tickwire"])["covered"]
            return rows
        except FileNotFoundError:
            # The day was closed: its file has the rows of the part.
            continue


def _is_covered(path: Path, covered: list[list[int]]) -> bool:
    _, *numbers = path.stem.split("-")
    if not numbers:
        return False
    generation, first, last = map(int, numbers)
    return any(each[0] == generation and each[1] <= first and last <= each[2] for each in covered)


def _rows(columns: dict[str, list[Any]]) -> list[Row]:
    found = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return [
        (str(row["id"]), _ms(row["timestamp"]), _ms(row["received"]), row["side"] or "", row["price"],
         row["amount"], row["source"], row["sequence"])
        for row in found
    ]  # fmt: skip


def _ms(moment: Any) -> int:
    milliseconds: int = round(moment.timestamp() * 1000)
    return milliseconds


def certificates(root: Path, symbol: str) -> dict[str, dict[str, Any]]:
    """The certificates of a feed, by the name of the day's folder."""
    return {
        path.parent.name: json.loads(path.read_text()) for path in sorted(folder(root, symbol).glob("date=*/day.json"))
    }


def open_days(root: Path) -> list[Path]:
    """Days that have parts, or no certificate."""
    dates = [each for symbol in SYMBOLS for each in folder(root, symbol).glob("date=*")]
    return [each for each in dates if list(each.glob("part-*")) or not (each / "day.json").exists()]


async def until_archived(root: Path, tape: Tape, timeout_s: float = 100) -> None:
    """Wait until the files have all of the tape in closed days; looked at again, because folders announce nothing."""
    deadline = time.monotonic() + timeout_s
    while (left := open_days(root)) or any(len(rows_of(root, each)) < len(tape.rows[each]) for each in tape.rows):
        assert time.monotonic() < deadline, [(each, list(each.iterdir())) for each in left]
        await asyncio.sleep(0.2)
