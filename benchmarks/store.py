"""The cache's files against pandas on the same file in the same run: `python benchmarks/store.py`.

Appending 1 and 1,000 candles durably (append, sync) and reading 1,000 rows from the middle, at three file sizes.
pandas does what one does with a CSV and pandas: read it all, add the rows, write it all again; or read it all and
take the part. Each number is the median of several rounds, in milliseconds. What is measured for the store is a
whole `Store.commit`: lock, comparison of epochs, append, fdatasync.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from tickwire.cache.fence import Fence
from tickwire.cache.store import Store
from tickwire.model.messages import CandlePage, Row
from tickwire.model.subjects import Key

KEY = Key("binance", "BTC/USDT", "1m")
MINUTE = 60_000
SIZES = (1_000, 100_000, 1_000_000)
ROUNDS = 200
BUDGET_S = 6.0
PAGE = 1_000


def main() -> None:
    """Run all measurements and print the table."""
    table = Table("rows in file", "what", "store ms", "pandas ms", "times faster", title="candle files: medians")
    with tempfile.TemporaryDirectory(prefix="tickwire-bench-", dir=Path.cwd()) as folder:
        for size in SIZES:
            directory = Path(folder, str(size))
            store, took = filled(directory, size)
            path = directory / "binance_BTC-USDT_1m.csv"
            copy = directory / "copy.csv"
            contents = path.read_bytes()
            table.add_row(
                f"{size:,}", f"backfill in pages of {PAGE:,}", f"{took * 1e3:,.0f}", "", f"{size / took:,.0f} rows/s"
            )
            for count in (1, PAGE):
                ours = median(Appender(store, count))
                theirs = median(PandasAppender(copy, contents, count))
                table.add_row(
                    f"{size:,}", f"append {count:,}", f"{ours:,.3f}", f"{theirs:,.1f}", f"{theirs / ours:,.0f}"
                )
            copy.write_bytes(contents)
            since = size // 2 * MINUTE
            ours = median(partial(store.read, KEY, since, None, PAGE))
            lines = median(partial(store.read_lines, KEY, since, None, PAGE))
            theirs = median(partial(pandas_read, copy, since))
            table.add_row(
                f"{size:,}", f"read {PAGE:,} as columns", f"{ours:,.3f}", f"{theirs:,.1f}", f"{theirs / ours:,.0f}"
            )
            table.add_row(
                f"{size:,}", f"read {PAGE:,} as lines", f"{lines:,.3f}", f"{theirs:,.1f}", f"{theirs / lines:,.0f}"
            )
    Console(width=110).print(table)


def rows(start: int, count: int) -> list[Row]:
    """Return plausible candles."""
    prices = np.round(40_000 + np.cumsum(np.random.default_rng(start).normal(0, 5, (count, 1))), 2).tolist()
    return [((start + n) * MINUTE, p, p + 3.25, p - 2.5, p + 0.75, p / 7) for n, p in enumerate(prices)]


def page(start: int, count: int) -> CandlePage:
    """Return a page without holes."""
    return CandlePage(
        exchange=KEY.exchange,
        symbol=KEY.symbol,
        timeframe=KEY.timeframe,
        since=start * MINUTE,
        until=(start + count) * MINUTE,
        rows=rows(start, count),
    )


def filled(directory: Path, size: int) -> tuple[Store, float]:
    """Return a store with `count` candles, and the seconds for group commits of 8 pages."""
    store = Store.open(directory, 0, partitions=1, claim=Fence(1, 1), stream="benchmark")
    pages = [(at, page(at, PAGE)) for at in range(0, size, PAGE)]
    began = time.perf_counter()
    for at in range(0, len(pages), 8):
        store.commit(pages[at : at + 8])
    store.checkpoint()
    return store, time.perf_counter() - began


class Appender:
    """Each call appends the next `count` candles."""

    def __init__(self, store: Store, count: int) -> None:
        self.store = store
        self.count = count
        last = store.coverage(KEY).last
        assert last is not None
        self.next = last // MINUTE + 1
        self.prepare()

    def prepare(self) -> None:
        """Make the page, outside of the measured time."""
        self.page = page(self.next, self.count)

    def __call__(self) -> None:
        assert self.store.commit([(self.next, self.page)]).stored
        self.next += self.count


class PandasAppender:
    """Each call reads everything, adds rows, and writes everything, always from the same file."""

    def __init__(self, path: Path, contents: bytes, count: int) -> None:
        self.path = path
        self.contents = contents
        self.count = count

    def prepare(self) -> None:
        """Restore the file."""
        self.path.write_bytes(self.contents)

    def __call__(self) -> None:
        frame = pd.read_csv(self.path)
        start = int(frame["dates"].iloc[-1]) // MINUTE + 1
        more = pd.DataFrame(rows(start, self.count), columns=frame.columns)
        pd.concat([frame, more]).drop_duplicates("dates").sort_values("dates").to_csv(self.path, index=False)


def pandas_read(path: Path, since: int) -> None:
    """Read the whole file, return a part."""
    frame = pd.read_csv(path)
    assert len(frame[frame["dates"] >= since].head(PAGE))


def median(call: Callable[[], object]) -> float:
    """Return the median milliseconds of a call, over at most ROUNDS rounds or BUDGET_S seconds, at least three."""
    taken: list[float] = []
    until = time.perf_counter() + BUDGET_S
    while len(taken) < ROUNDS and (len(taken) < 3 or time.perf_counter() < until):
        if isinstance(call, Appender | PandasAppender):
            call.prepare()
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e3


if __name__ == "__main__":
    main()
