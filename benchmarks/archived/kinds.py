"""Rows a second and bytes of a row of book deltas, candles and tickers: `benchmarks/archive.py --kinds`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from archived import replaying_kinds
from tickwire.archive_files import days, parts
from tickwire.archive_files.kinds import round_rows
from tickwire.archive_files.layout import DAY_MS, ArchivedFeed
from tickwire.archive_files.root import FolderRoot
from tickwire.model import messages
from tickwire.model.feeds import BookDelta, BookDeltas, Level, Ticker
from tickwire.model.messages import CandlePage

BEGIN = 20_500 * DAY_MS
GENERATION = BEGIN - DAY_MS
PART_ROWS = 50_000
LEVELS = 1000
"""Of each side of a snapshot."""
SECOND = 1000
PAGE = 1000


class Kind(NamedTuple):
    """The messages of a kind, and how many rows they have, snapshots that the archive adds not among them."""

    name: str
    tape: list[bytes]
    rows: int


def measured(rows: int, folder: Path) -> tuple[Table, Table]:
    """Write and close the days of each kind, in CPU seconds of this process, all threads; then replay them."""
    made = [Kind("book_delta", *deltas(rows)), Kind("ticker", *tickers(rows)), Kind("candle", *candles(rows))]
    columns = ("kind", "rows", "parts, rows/s", "days, rows/s", "both, rows/s", "bytes of a row", "of a raw JSON row")
    table = Table(*columns, title="other kinds: rows of one core, and their size")
    files: dict[str, tuple[Path, int]] = {}
    for each in made:
        root, feed = FolderRoot(folder / "archive"), ArchivedFeed(each.name, "binance", "BTC/USDT")
        writing = took(lambda each=each, root=root: write(root, each))  # type: ignore[misc]
        dates = days.dates_of(root, feed)
        closing = took(lambda root=root, feed=feed, dates=dates: close(root, feed, dates))  # type: ignore[misc]
        size = sum((Path(root.url) / feed.on(date).data).stat().st_size for date in dates)
        raw = sum(len(message) + 1 for message in each.tape)
        rates = (each.rows / seconds for seconds in (writing, closing, writing + closing))
        cells = [f"{each.rows:,}", *(f"{rate:,.0f}" for rate in rates)]
        table.add_row(each.name, *cells, f"{size / each.rows:.1f}", f"{raw / each.rows:.1f}")
        files[each.name] = Path(root.url) / feed.on(dates[0]).data, each.rows
    last = BEGIN + max(DAY_MS, rows * SECOND) + 1
    return table, asyncio.run(replaying_kinds.measured(folder / "archive", folder, files, made[-1].tape, BEGIN, last))


def write(root: FolderRoot, kind: Kind) -> None:
    """Decode the messages and write their parts, in rounds."""
    rows = round_rows(kind.name, root, GENERATION, 0)
    for sequence, data in enumerate(kind.tape, 1):
        rows.append(messages.decode(data, rows.message), sequence, sequence - 1)
        if rows.rows >= PART_ROWS or sequence == len(kind.tape):
            for part in rows.parts(sequence):
                parts.write_part(root, part)
            rows = round_rows(kind.name, root, GENERATION, sequence)


def close(root: FolderRoot, feed: ArchivedFeed, dates: list[Any]) -> None:
    """Close the days."""
    for date in dates:
        days.close_day(root, feed.on(date), BEGIN + 400 * DAY_MS, lambda: None)


def deltas(rows: int) -> tuple[list[bytes], int]:
    """Changes of a book of one day: a few levels each, most near the best price; first a snapshot."""
    random = np.random.default_rng(7)
    tape, made, number = list[bytes](), 0, 1
    best = 6_000_000
    bids: list[Level] = [((best - n) / 100, 1.0 + n % 7) for n in range(LEVELS)]
    asks: list[Level] = [((best + 1 + n) / 100, 1.0 + n % 7) for n in range(LEVELS)]
    first = BookDelta(first=1, last=1, timestamp=BEGIN, bids=bids, asks=asks, snapshot=True)
    tape.append(messages.encode(BookDeltas(exchange="binance", symbol="BTC/USDT", received=BEGIN + 8, deltas=[first])))
    step = DAY_MS / max(1, rows // 12)
    while made < rows:
        number += 1
        at = BEGIN + int(number * step)
        counts = random.integers(1, 12, 2)
        sides = []
        for sign, count in zip((-1, 1), counts, strict=True):
            far = np.unique(random.geometric(0.03, count))
            amounts = np.where(random.random(len(far)) < 0.3, 0.0, np.round(random.lognormal(-2, 1.5, len(far)), 5))
            sides.append([((best + sign * int(n)) / 100, float(a)) for n, a in zip(far, amounts, strict=True)])
        made += sum(map(len, sides))
        best += int(random.integers(-2, 3))
        delta = BookDelta(first=number, last=number, timestamp=at, bids=sides[0], asks=sides[1])
        message = BookDeltas(exchange="binance", symbol="BTC/USDT", received=at + 8, deltas=[delta])
        tape.append(messages.encode(message))
    return tape, made + 2 * LEVELS


def tickers(rows: int) -> tuple[list[bytes], int]:
    """The tickers of a day; at the default cadence there are up to 864,000."""
    random = np.random.default_rng(8)
    prices = np.round(60_000 + np.cumsum(random.integers(-20, 21, rows)) / 100, 2)
    amounts = np.round(random.lognormal(-1, 1.5, (rows, 2)), 5)
    volumes = np.round(20_000 + np.cumsum(random.lognormal(-4, 1, rows)), 5)
    tape = []
    for n in range(rows):
        at, last = BEGIN + int(n * DAY_MS / rows), float(prices[n])
        tape.append(
            messages.encode(
                Ticker(
                    exchange="binance",
                    symbol="BTC/USDT",
                    timestamp=at,
                    received=at + 9,
                    last=last,
                    bid=round(last - 0.01, 2),
                    bid_amount=float(amounts[n][0]),
                    ask=last,
                    ask_amount=float(amounts[n][1]),
                    open=59_000.0,
                    high=61_500.0,
                    low=58_250.5,
                    volume=float(volumes[n]),
                    quote_volume=round(float(volumes[n]) * 60_000, 2),
                    conflated=n % 5,
                )
            )
        )
    return tape, rows


def candles(rows: int) -> tuple[list[bytes], int]:
    """Candles of seconds in pages as fetchers send them: 86,400 on a day."""
    random = np.random.default_rng(9)
    closes = np.round(60_000 + np.cumsum(random.integers(-300, 301, rows)) / 100, 2)
    volumes = np.round(random.lognormal(-2, 1.5, rows), 5)
    tape = []
    for begin in range(0, rows, PAGE):
        found = []
        for n in range(begin, min(rows, begin + PAGE)):
            close, open_ = float(closes[n]), float(closes[n - 1 if n else 0])
            high, low = max(close, open_), min(close, open_)
            found.append(
                (BEGIN + n * SECOND, open_, round(high + 0.5, 2), round(low - 0.5, 2), close, float(volumes[n]))
            )
        page = CandlePage(
            exchange="binance", symbol="BTC/USDT", timeframe="1s", since=found[0][0], until=found[-1][0] + SECOND,
            rows=found, volume_unit="base", origin="exchange",
        )  # fmt: skip
        tape.append(messages.encode(page))
    return tape, rows


def took(work: Callable[[], object]) -> float:
    """CPU seconds of this process, all threads."""
    begin = time.process_time()
    work()
    return time.process_time() - begin
