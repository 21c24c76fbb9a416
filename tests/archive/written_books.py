"""Deltas of books that a test puts on the tape for an archive, and what its files have of them."""

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
from archive.written_tape import DAY, START
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import BookDelta, BookDeltas, Level
from tickwire.model.feeds.layout import TapeLayout
from tickwire.model.subjects import token

Book = dict[tuple[str, float], float]
Change = tuple[int, str, float, float, int, int]
"""Time, side, price, amount, update number and sequence of a level that changed."""
SYMBOLS = ("BTC/USDT", "ETH/USDT")


class BookTape:
    """Puts the deltas of books on the tape as streamers do, with a snapshot where their numbers do not continue."""

    def __init__(self, bus: Bus, partitions: int = PARTITIONS) -> None:
        self.bus = bus
        self.at = START
        """The exchange's time."""
        self.changes: dict[str, list[Change]] = defaultdict(list)
        """What the files should have of deltas that are no snapshots, by symbol."""
        self.books: dict[str, dict[int, Book]] = defaultdict(dict)
        """The book after each update, by symbol."""
        self._layout = TapeLayout(partitions)
        self._last: dict[str, int] = defaultdict(int)
        self._number: dict[str, int] = defaultdict(int)
        self._draw = random.Random(11)

    async def write(self, symbol: str, *, resync: bool = False, repeat: bool = False) -> int:
        """A delta, or a snapshot: of a book that was resynchronised, or one that repeats it; its sequence."""
        number, draw = self._number[symbol], self._draw
        book = dict(self.books[symbol].get(number, {}))
        changes: Book = {}
        if resync or not number:
            self._number[symbol] = number + draw.randrange(2, 9)
            book = {self._level(): float(draw.randrange(1, 9)) for _ in range(12)}
        elif not repeat:
            self._number[symbol] = number + 1
            changes = {self._level(): float(draw.randrange(0, 4)) for _ in range(draw.randrange(1, 6))}
            book = {level: amount for level, amount in (book | changes).items() if amount}
        last, snapshot = self._number[symbol], not changes
        self.books[symbol][last] = book
        bids, asks = sides(book if snapshot else changes)
        first = last + 1 if snapshot else last
        delta = BookDelta(first=first, last=last, timestamp=self.at, bids=bids, asks=asks, snapshot=snapshot)
        sequence = await self.publish(symbol, [delta])
        named = [("bid", *level) for level in bids] + [("ask", *level) for level in asks]
        if not snapshot:
            self.changes[symbol] += [(self.at, *level, last, sequence) for level in named]
        return sequence

    async def publish(self, symbol: str, deltas: list[BookDelta]) -> int:
        """Put a message on the tape; its sequence."""
        message = BookDeltas(exchange="binance", symbol=symbol, received=self.at + 5, deltas=deltas)
        subject = self._layout.place(f"md.book_delta.binance.{token(symbol)}").subject
        headers = {"Nats-Expected-Last-Subject-Sequence": str(self._last[symbol])}
        ack = await self.bus.jetstream.publish(subject, messages.encode(message), headers=headers)
        self._last[symbol] = ack.seq
        return self._last[symbol]

    async def go_on(self, until: Callable[[], bool], *, step: int, pause_s: float = 0.05) -> None:
        """Write messages of all symbols in turn; the exchange's time goes on by `step` ms with each."""
        while not until():
            for symbol in SYMBOLS:
                self.at += step
                await self.write(symbol, resync=self._draw.random() < 0.05, repeat=self._draw.random() < 0.1)
            await asyncio.sleep(pause_s)

    async def end_day(self) -> None:
        """Change every book at the begin of the next day."""
        self.at = (self.at // DAY + 1) * DAY
        for symbol in list(self.books):
            await self.write(symbol)

    def _level(self) -> tuple[str, float]:
        side = self._draw.choice(["bid", "ask"])
        return side, self._draw.randrange(1, 20) / 2 + (0 if side == "bid" else 10)


def sides(book: Book) -> tuple[list[Level], list[Level]]:
    """Bids and asks, best first."""
    bids = sorted(((price, amount) for (side, price), amount in book.items() if side == "bid"), reverse=True)
    return bids, sorted((price, amount) for (side, price), amount in book.items() if side == "ask")


def replayed(rows: list[dict[str, Any]]) -> Book:
    """The book that the rows of a file lead to, as docs/archive.md says."""
    book: Book = {}
    assert not rows or rows[0]["is_snapshot"]
    before: tuple[Any, ...] | None = None
    for row in rows:
        snapshot = (row["received"], row["sequence"], row["update"]) if row["is_snapshot"] else None
        if snapshot is not None and snapshot != before:
            book = {}
        before = snapshot
        if row["amount"]:
            book[row["side"], row["price"]] = row["amount"]
        else:
            book.pop((row["side"], row["price"]), None)
    return book


def days_of(root: Path, symbol: str) -> list[Path]:
    """The folders of the days of a book."""
    return sorted((root / "book_delta" / "exchange=binance" / f"symbol={token(symbol)}").glob("date=*"))


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, times in ms."""
    rows: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
    for row in rows:
        row.update({name: round(row[name].timestamp() * 1000) for name in ("timestamp", "received")})
    return rows


def changes_of(root: Path, symbol: str) -> list[Change]:
    """The rows of ended days that are no snapshots."""
    return [
        (row["timestamp"], row["side"], row["price"], row["amount"], row["update"], row["sequence"])
        for day in days_of(root, symbol)
        for row in rows_of(day / "data.parquet")
        if not row["is_snapshot"]
    ]


def conditions(root: Path, symbol: str) -> list[str]:
    """Of the days of a book."""
    return [json.loads((day / "day.json").read_text())["condition"] for day in days_of(root, symbol)]


async def until_archived(root: Path, tape: BookTape, timeout_s: float = 100) -> None:
    """Wait until the files have all of the tape in closed days; looked at again, because folders announce nothing."""
    deadline = time.monotonic() + timeout_s
    while not all(_is_archived(root, tape, symbol) for symbol in tape.books):
        assert time.monotonic() < deadline, [list(day.iterdir()) for day in days_of(root, next(iter(tape.books)))]
        await asyncio.sleep(0.1)


def _is_archived(root: Path, tape: BookTape, symbol: str) -> bool:
    try:
        days = days_of(root, symbol)
        is_closed = all((day / "day.json").exists() and not list(day.glob("part-*")) for day in days)
        return bool(days) and is_closed and len(changes_of(root, symbol)) >= len(tape.changes[symbol])
    except FileNotFoundError:
        return False
