"""The archive's files against raw JSON lines and CSV, in one run.

    python benchmarks/archive.py [--rows 1000000] [--kinds]

A day of a busy market in the messages of the tape: prices on a grid of ticks that wander, amounts of which most are
small, ids that count up, a few trades in a message. Measured with one thread: messages decoded and written as parts,
the day closed; bytes of each trade; the day read into a DataFrame, and by pandas the same rows of a CSV; the day
replayed by a client, with broker and archive as other processes. With `--kinds` other kinds are written and closed.
Times are CPU seconds of this process for writing, and for reading the medians of several rounds in which each is done
once.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from archived import kinds
from archived.replaying import measured
from tickwire.archive_files import days, parts
from tickwire.archive_files.layout import DAY_MS, ArchivedFeed, date_of
from tickwire.archive_files.root import FolderRoot
from tickwire.model import messages
from tickwire.model.feeds import Trade, Trades

FEED = ArchivedFeed("trade", "binance", "BTC/USDT")
OTHER = ArchivedFeed("trade", "kraken", "BTC/USD")
"""Has the same trades: two feeds are replayed on one clock."""
BEGIN = 20_500 * DAY_MS
GENERATION = BEGIN - DAY_MS
PART_ROWS = 50_000
ROUNDS = 9
COLUMNS = ["timestamp", "received", "id", "side", "price", "amount", "source", "sequence"]


def main() -> None:
    """Run all measurements and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kinds", action="store_true", help="book deltas, tickers and candles instead")
    arguments = parser.parse_args()
    rows = arguments.rows
    pa.set_cpu_count(1)
    if arguments.kinds:
        with tempfile.TemporaryDirectory(prefix="tickwire-bench-", dir=Path.cwd()) as folder:
            for table in kinds.measured(rows, Path(folder)):
                Console().print(table)
        return
    with tempfile.TemporaryDirectory(prefix="tickwire-bench-", dir=Path.cwd()) as folder:
        root, tape = FolderRoot(Path(folder) / "archive"), [messages.encode(each) for each in day_of(rows)]
        day = FEED.on(date_of(BEGIN))
        writing, closing = took(lambda: write_parts(root, tape)), took(lambda: close(root))
        written = Table("what", "CPU s", "rows/s of one core", title=f"a day of {rows:,} trades: writing")
        for name, seconds in (("messages to parts", writing), ("parts to the day's file", closing)):
            written.add_row(name, f"{seconds:.2f}", f"{rows / seconds:,.0f}")
        written.add_row("both", f"{writing + closing:.2f}", f"{rows / (writing + closing):,.0f}")
        plain, packed = Path(folder) / "day.csv", Path(folder) / "day.csv.gz"
        write_csv(plain, tape)
        packed.write_bytes(gzip.compress(plain.read_bytes(), 6))
        sizes = Table("what", "MB", "bytes of a trade", title="size")
        for name, size in (
            ("raw JSON lines", sum(len(each) + 1 for each in tape)),
            ("the same, gzip", len(gzip.compress(b"\n".join(tape), 6))),
            ("CSV", plain.stat().st_size),
            ("CSV, gzip", packed.stat().st_size),
            ("the archive", (Path(root.url) / day.data).stat().st_size),
        ):
            sizes.add_row(name, f"{size / 1e6:.1f}", f"{size / rows:.1f}")
        reading = Table("what", "s", "times as long", title="read into a DataFrame")
        ours, *theirs = medians(lambda: frame(root), lambda: read_csv(plain), lambda: read_csv(packed))
        reading.add_row("the archive", f"{ours:.2f}", "")
        for name, seconds in zip(("pandas, CSV", "pandas, CSV, gzip"), theirs, strict=True):
            reading.add_row(name, f"{seconds:.2f}", f"{seconds / ours:.1f}")
        pd.testing.assert_frame_equal(frame(root), read_csv(plain), check_dtype=False, check_categorical=False)
        replaying = replays(root, tape, Path(folder))
    for table in (written, sizes, reading, replaying):
        Console().print(table)


def day_of(rows: int) -> Iterator[Trades]:
    """The messages of a day with so many trades."""
    random = np.random.default_rng(7)
    times = np.sort(random.integers(BEGIN, BEGIN + DAY_MS, rows))
    prices = 60_000 + np.cumsum(random.choice([-0.01, 0, 0, 0, 0.01], rows) * random.integers(1, 200, rows))
    amounts = np.round(random.lognormal(-5, 1.8, rows), 5) + 1e-5
    bought = random.random(rows) < 0.5
    at = 0
    while at < rows:
        until = min(rows, at + int(random.integers(1, 6)))
        trades = [
            Trade(
                id=str(3_900_000_000 + n), timestamp=int(times[n]), side="buy" if bought[n] else "sell",
                price=round(float(prices[n]), 2), amount=round(float(amounts[n]), 5),
            )
            for n in range(at, until)
        ]  # fmt: skip
        last = trades[-1].timestamp
        yield Trades(exchange="binance", symbol="BTC/USDT", trades=trades, received=last + 12, until=last)
        at = until


def write_parts(root: FolderRoot, tape: list[bytes], feed: ArchivedFeed = FEED) -> None:
    """Decode the messages and write their parts, in rounds."""
    rows = parts.PartRows(GENERATION, 0)
    names = {"exchange": feed.exchange, "symbol": feed.symbol}
    for sequence, data in enumerate(tape, 1):
        message = messages.decode(data, Trades)
        rows.append(message if feed == FEED else msgspec.structs.replace(message, **names), sequence, sequence - 1)
        if rows.rows >= PART_ROWS or sequence == len(tape):
            for part in rows.parts(sequence):
                parts.write_part(root, part)
            rows = parts.PartRows(GENERATION, sequence)


def close(root: FolderRoot, feed: ArchivedFeed = FEED) -> None:
    """Close the day."""
    days.close_day(root, feed.on(date_of(BEGIN)), BEGIN + DAY_MS, lambda: None)


def replays(root: FolderRoot, tape: list[bytes], folder: Path) -> Table:
    """How many rows in a second are replayed, beside a bare reader of the file."""
    write_parts(root, tape, OTHER)
    close(root, OTHER)
    files = {(each.exchange, each.symbol): Path(root.url) / each.on(date_of(BEGIN)).data for each in (FEED, OTHER)}
    rates = asyncio.run(measured(Path(root.url), folder, files, BEGIN, BEGIN + DAY_MS))
    _, objects, *_ = rates.values()
    table = Table("what", "rows/s", "of a bare reader with objects", title="replay, as fast as possible")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / objects:.2f}")
    return table


def write_csv(path: Path, tape: list[bytes]) -> None:
    """The same columns as the archive's."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for sequence, data in enumerate(tape, 1):
            sent = messages.decode(data, Trades)
            for each in sent.trades:
                writer.writerow(
                    [each.timestamp, sent.received, each.id, each.side, each.price, each.amount, sent.source, sequence]
                )


def frame(root: FolderRoot) -> pd.DataFrame:
    """The day from the archive."""
    found: pd.DataFrame = pa.Table.from_batches(days.read_rows(root, FEED, BEGIN, BEGIN + DAY_MS)).to_pandas()
    return found


def read_csv(path: Path) -> pd.DataFrame:
    """The day by pandas."""
    found = pd.read_csv(path, dtype={"id": "str", "side": "category", "source": "category"})
    for name in ("timestamp", "received"):
        found[name] = pd.to_datetime(found[name], unit="ms", utc=True)
    return found


def took(work: Callable[[], object]) -> float:
    """CPU seconds of this process, all threads."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def medians(*works: Callable[[], object]) -> list[float]:
    """Seconds of each."""
    found = [list[float]() for _ in works]
    for _ in range(ROUNDS):
        for work, times in zip(works, found, strict=True):
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
    return [statistics.median(times) for times in found]


if __name__ == "__main__":
    main()
