"""Paths of the archive, relative to its root. Pure.

    <kind>/exchange=<id>/symbol=<token>/date=<YYYY-MM-DD>/part-<generation>-<first>-<last>.parquet   while it is open
                                                          added-<since>-<until>-<digest>.parquet    until it is merged
                                                          data.parquet                              once it has ended
                                                          day.json                                  its certificate

The token of a symbol has `%` where other names have `=` (`BTC-USDT%3AUSDT`): DuckDB and Polars take no `=` in the value
of such a folder, and decode `%3A` (docs/decisions/0037).

A part has the rows of the tape's messages `first` to `last` (sequences of its stream). A stream that was created anew
counts from 1 again, so the name begins with its `generation`: when it was created, ms. All numbers have leading zeros:
names sort as the tape does.

An `added` file has rows that are not of the tape, and proves that `[since, until)` (ms) has no others. Its name ends
with a digest of its content: who writes it again, replaces it.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from tickwire.errors import BadRequest
from tickwire.model.ranges import Range
from tickwire.model.subjects import exchange_name, symbol_of, token

DAY_MS = 86_400_000
DATA = "data.parquet"
CERTIFICATE = "day.json"
LONGEST_KIND = 32
_PART = re.compile(r"part-(\d{13})-(\d{20})-(\d{20})\.parquet\Z")
_ADDED = re.compile(r"added-(\d{13})-(\d{13})-([0-9a-f]{16})\.parquet\Z")
_DATE = re.compile(r"date=(\d{4}-\d{2}-\d{2})\Z")
_EPOCH = date(1970, 1, 1)


class Sequences(NamedTuple):
    """Messages `first` to `last` (inclusive) of the stream that was created at `generation` (ms)."""

    generation: int
    first: int
    last: int

    @property
    def part(self) -> str:
        """The name of the part with these messages."""
        return f"part-{self.generation:013}-{self.first:020}-{self.last:020}.parquet"

    def includes(self, other: Sequences) -> bool:
        """Whether all messages of `other` are among these."""
        return self.generation == other.generation and self.first <= other.first and other.last <= self.last


def sequences_of(name: str) -> Sequences | None:
    """The inverse of `Sequences.part`; None for other names."""
    match = _PART.match(name)
    return Sequences(*map(int, match.groups())) if match else None


class Through(NamedTuple):
    """All messages of a feed's stream up to `sequence` are in files. `generation` is in the names of its parts, ms.

    `stream` is when the stream was created (ms), 0 if that is not known.
    """

    generation: int
    sequence: int
    stream: int = 0


class AddedName(NamedTuple):
    """What the name of an added file says: the range that it proves (ms), and a digest of its content."""

    since: int
    until: int
    digest: str

    @property
    def file(self) -> str:
        """The name."""
        return f"added-{self.since:013}-{self.until:013}-{self.digest}.parquet"


def added_of(name: str) -> AddedName | None:
    """The inverse of `AddedName.file`; None for other names."""
    match = _ADDED.match(name)
    return AddedName(int(match[1]), int(match[2]), match[3]) if match else None


def is_unmerged(name: str) -> bool:
    """Whether a file shows that its day is to be closed, or closed again."""
    return sequences_of(name) is not None or added_of(name) is not None


def is_later(name: str, through: Through | None) -> bool:
    """Whether a file is a part with messages after `through`; never without."""
    found = sequences_of(name)
    return through is not None and found is not None and (found.generation, found.last) > through[:2]


class ArchivedFeed(NamedTuple):
    """A feed whose messages are archived."""

    kind: str
    exchange: str
    symbol: str

    def __str__(self) -> str:
        return " ".join(self)

    @property
    def folder(self) -> str:
        """The folder of its days. Raises BadRequest."""
        if not self.kind.replace("_", "").isalpha() or not self.kind.isascii() or len(self.kind) > LONGEST_KIND:
            raise BadRequest(f"{self.kind[:40]!r} is not a kind", "such as trade")
        return f"{self.kind}/exchange={exchange_name(self.exchange)}/symbol={symbol_folder(self.symbol)}"

    @property
    def public(self) -> str:
        """The subject of its messages. Raises BadRequest."""
        return f"md.{self.kind}.{exchange_name(self.exchange)}.{token(self.symbol)}"

    def on(self, day: date) -> FeedDay:
        """A day of the feed."""
        return FeedDay(*self, day)


class FeedDay(NamedTuple):
    """A day of a feed: UTC, by the exchange's timestamps."""

    kind: str
    exchange: str
    symbol: str
    date: date

    def __str__(self) -> str:
        return f"{self.feed} {self.date.isoformat()}"

    @property
    def feed(self) -> ArchivedFeed:
        """The feed of the day."""
        return ArchivedFeed(self.kind, self.exchange, self.symbol)

    @property
    def folder(self) -> str:
        """The folder of its files. Raises BadRequest."""
        return f"{self.feed.folder}/date={self.date.isoformat()}"

    @property
    def data(self) -> str:
        """The path of its file, once it has ended."""
        return f"{self.folder}/{DATA}"

    @property
    def certificate(self) -> str:
        """The path of its certificate."""
        return f"{self.folder}/{CERTIFICATE}"

    @property
    def span(self) -> Range:
        """Its begin and end, ms."""
        since = begin_of(self.date)
        return Range(since, since + DAY_MS)


def symbol_folder(symbol: str) -> str:
    """How a symbol is written in a folder's name, `BTC-USDT%3AUSDT`. Raises BadRequest."""
    return token(symbol).replace("=", "%")


def feed_of_folder(folder: str) -> ArchivedFeed:
    """The inverse of `ArchivedFeed.folder`. Raises BadRequest."""
    parts = folder.split("/")
    if len(parts) == 3 and parts[1].startswith("exchange=") and parts[2].startswith("symbol="):
        symbol = symbol_of(parts[2].removeprefix("symbol=").replace("%", "="))
        feed = ArchivedFeed(parts[0], parts[1].removeprefix("exchange="), symbol)
        if feed.folder == folder:
            return feed
    raise BadRequest(f"{folder[:200]!r} is not a folder of the archive", "see docs/archive.md")


def date_of_folder(name: str) -> date | None:
    """The day of a folder named `date=…`; None for other names."""
    match = _DATE.match(name)
    if match is None:
        return None
    try:
        return date.fromisoformat(match[1])
    except ValueError:
        return None


def date_of(moment: int) -> date:
    """The UTC day of a time, ms."""
    return _EPOCH + timedelta(days=moment // DAY_MS)


def begin_of(day: date) -> int:
    """When a UTC day begins, ms."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
