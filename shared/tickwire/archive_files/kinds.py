"""The kinds that are archived: what takes the rows of a round of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from tickwire.archive_files.book_parts import BookPartRows
from tickwire.archive_files.book_rows import book_before
from tickwire.archive_files.candle_rows import CandleRows
from tickwire.archive_files.chained_rows import Part
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.parts import PartRows
from tickwire.archive_files.root import Root
from tickwire.archive_files.ticker_rows import TickerRows


class RoundRows(Protocol):
    """The rows of one round of one stream, in memory; the caller bounds them by `rows`. See `ChainedRows`."""

    rows: int

    @property
    def message(self) -> type[Any]:
        """The messages that it takes."""

    def append(self, message: Any, sequence: int, prev: int | None, lost: str = "") -> int | None:
        """Add a message."""

    def unreadable(self, feed: ArchivedFeed, received: int, lost: str) -> tuple[Any, str]:
        """What stands for a message that cannot be read."""

    def parts(self, last: int) -> Iterator[Part]:
        """The parts of the round that ends with message `last`. Raises StorageError."""


_ROWS: dict[str, Callable[[Root, int, int], RoundRows]] = {
    "trade": lambda _, generation, done: PartRows(generation, done),
    "book_delta": lambda root, generation, done: BookPartRows(generation, done, partial(book_before, root)),
    "candle": lambda _, generation, done: CandleRows(generation, done),
    "ticker": lambda _, generation, done: TickerRows(generation, done),
}


def round_rows(kind: str, root: Root, generation: int, done: int) -> RoundRows:
    """What takes the rows of a round of a kind, after message `done` of the stream of a generation."""
    return _ROWS[kind](root, generation, done)
