"""Trades of the archive, by requests to any of its instances.

| subject | direction | what |
|---|---|---|
| `archive.days` | requests | which days of a feed the archive has, and what is missing of them |
| `archive.trades`, `archive.rows` | requests | trades, or rows of any kind, a page at a time (docs/decisions/0034) |
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from tickwire.archive_files.layout import ArchivedFeed
from tickwire.bus.connection import Bus
from tickwire.client.attempts import Attempts
from tickwire.client.decoded import DecodedMessage
from tickwire.client.missing import Missing, in_turn, missing
from tickwire.errors import NoSuchService, NotArchived
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trade, Trades
from tickwire.model.messages.archive import Certificate
from tickwire.model.messages.archived_trades import ArchivedRowsRequest, ArchivedTrades, ArchivedTradesRequest, BookEnd
from tickwire.model.messages.archiving import ArchivedDays, DaysRequest
from tickwire.model.ranges import Range
from tickwire.model.times import LATEST_MS
from tickwire.tape.sequence import TapeMessage

ANSWER_S = 20.0
"""Time limit for a chunk; an archive that works on one, because an object store is slow, says so each 2 s."""
T = TypeVar("T")
AnyFeed: TypeAlias = Feed | ArchivedFeed
_decode = msgspec.msgpack.Decoder(ArchivedTrades).decode


async def days(
    bus: Bus, feed: AnyFeed, since: int | None, until: int | None, rows: ArchivedTrades | None = None
) -> list[Certificate]:
    """The days of a feed from the first to the last one that the archive has of `[since, until)` (ms).

    With `rows` they are as they were when these were read: what is archived since then is left out.
    Outlives a restart of the archive. Raises NotArchived, NoSuchService, StorageError, RequestTimeout.
    """
    request = DaysRequest(kind=feed.kind, exchange=feed.exchange, symbol=feed.symbol, since=since, until=until)
    if rows is not None and rows.stream:
        request = msgspec.structs.replace(request, sequence=rows.sequence, stream=rows.stream)
    decode, attempts = partial(messages.decode, kind=ArchivedDays), Attempts("archive.days")
    asked = partial(bus.request_chunks, "archive.days", request, decode, timeout_s=ANSWER_S)
    while True:
        found: list[Certificate] = []
        with attempts:
            async with aclosing(bus.service_wait.items(asked)) as parts:
                async for part in parts:
                    found += part.days
            return found


async def chunks(
    bus: Bus, feed: AnyFeed, since: int, until: int | None, *, waits: bool = True
) -> AsyncGenerator[ArchivedTrades, None]:
    """The archived trades of a feed in `[since, until)` (ms): chunks, of which the last of each page has no rows.

    The next page is requested when the one before was taken. Outlives restarts of the archive; `waits`: also if it is
    absent at first. Raises NotArchived, NoSuchService, StorageError, RequestTimeout.
    """
    request = ArchivedTradesRequest(exchange=feed.exchange, symbol=feed.symbol, since=since, until=until)
    subject = "archive.trades"
    if feed.kind != "trade":
        request, subject = ArchivedRowsRequest(kind=feed.kind, **msgspec.structs.asdict(request)), "archive.rows"
    attempts = Attempts(subject)
    while True:
        asked = partial(bus.request_chunks, subject, request, _decode, timeout_s=ANSWER_S)
        # Chunks after the last cursor: they come again if the reply breaks off.
        held: list[ArchivedTrades] = []
        with attempts:
            async with aclosing(bus.service_wait.items(asked) if waits else asked()) as parts:
                async for part in parts:
                    held.append(part)
                    if part.more and part.cursor is None:
                        continue
                    waits = True
                    attempts.went_on()
                    request = msgspec.structs.replace(request, cursor=part.cursor)
                    while held:
                        yield held.pop(0)
            if request.cursor is None:
                return


@dataclass
class Past:
    """Where the archive ends: the `sequence` to go on with; None without one of the feed, which is the `refusal`.

    Up to `known` (ms) it says what is missing. `remade`: the sequence is of a stream that is not there any more;
    `is_gone`: nor is another one in its place.
    `book` is how a book is there, unless that is not said.
    """

    sequence: int | None = None
    known: int = 0
    remade: bool = False
    is_gone: bool = False
    book: BookEnd | UnsetType = UNSET
    refusal: NoSuchService | NotArchived | None = None

    @property
    def begins_late(self) -> str:
        """Why trades are missing before the tape begins."""
        return "the tape does not go back so far" + ", and no archive answers" * isinstance(self.refusal, NoSuchService)


async def message_pages(bus: Bus, feed: Feed, since: int, past: Past) -> AsyncGenerator[list[TapeMessage], None]:
    """The archived messages of a feed from `since` (ms) on, as the tape had them, with gaps where some are missing.

    Nothing where no archive runs, or it has nothing of the feed (`past.refusal`). Sets `past.sequence` at the end.
    """
    async with aclosing(row_pages(bus, feed, since, past, partial(MessageRows, feed))) as pages:
        async for page in pages:
            yield page


async def item_pages(bus: Bus, feed: Feed, since: int, past: Past) -> AsyncGenerator[list[Trade | Gap], None]:
    """The trades and gaps of `message_pages`, several times as fast."""
    async with aclosing(row_pages(bus, feed, since, past, ItemRows)) as pages:
        async for page in pages:
            yield page


async def row_pages(
    bus: Bus,
    feed: AnyFeed,
    since: int,
    past: Past,
    rows_of: Callable[[Sequence[Missing]], Rows[T]],
    until: int | None = None,
) -> AsyncGenerator[list[T], None]:
    """What archived rows of a feed in `[since, until)` (ms) are made into, a chunk at a time.

    Nothing where no archive runs, or it has nothing of the feed (`past.refusal`). Sets `past.sequence` at the end.
    """
    async with aclosing(chunks(bus, feed, since, until, waits="archive" in bus.service_wait.expected)) as parts:
        try:
            part = await anext(parts)
            # After the first chunk, which decides where the archive ends: what its rounds say until then is in files,
            # and what later ones say comes with the tape.
            certificates = await days(bus, feed, since, None, part)
        except (NoSuchService, NotArchived) as error:
            past.refusal = error
            return
        known = _known_until(certificates)
        if known is None:
            return
        past.known = known
        rows = rows_of(missing(certificates, Range(since, max(since, known)), LATEST_MS))
        while True:
            if says_something(part):
                yield rows.take(part)
            past.sequence, past.book = part.sequence, part.book
            past.remade = not part.more and part.present != part.stream
            past.is_gone = past.remade and not part.present
            try:
                part = await anext(parts)
            except StopAsyncIteration:
                break
    yield rows.rest()


def says_something(part: ArchivedTrades) -> bool:
    """Whether a chunk has anything for `Rows`: rows, removed days, or how a book is at the end of the files."""
    return bool(part.rows or part.removed) or part.book is not UNSET


def _known_until(certificates: Sequence[Certificate]) -> int | None:
    """Up to when (ms) certificates say what is missing but for gaps: later rows are there, or on the tape.

    That is where following ends, or the first row of a feed that never was declared complete; None if there is neither.
    """
    watched = [each.until for day in certificates for each in day.watched]
    rows = [day.first.timestamp for day in certificates if day.first is not None]
    return max(watched, default=None) or min(rows, default=None)


class Rows(Protocol[T]):
    """What archived rows are made into, with gaps where some are missing. No I/O."""

    def take(self, chunk: ArchivedTrades) -> list[T]:
        """What the rows of a chunk give, those of the next one notwithstanding."""

    def rest(self) -> list[T]:
        """What is left at the end."""


class MessageRows:
    """Makes messages of archived rows: rows of one message of the tape are one again."""

    def __init__(self, feed: Feed, gaps: Sequence[Missing]) -> None:
        self._feed = feed
        self._gaps = list(reversed(gaps))
        self._open: tuple[Trades, int] | None = None
        """The last message, of which the next chunk may have further rows, and its sequence."""
        self._sequence = 0

    def take(self, chunk: ArchivedTrades) -> list[TapeMessage]:
        """The messages that are whole with the rows of a chunk, and gaps before them."""
        found: list[TapeMessage] = []
        self._gaps = in_turn(self._gaps, chunk.removed)
        for head, trades in split(table_of(chunk)):
            if self._open is not None:
                message, sequence = self._open
                if (sequence, message.received, message.source) == head:
                    message.trades.extend(trades)
                    continue
                self._close(found)
            self._open = (
                Trades(
                    exchange=self._feed.exchange,
                    symbol=self._feed.symbol,
                    trades=trades,
                    received=head.received,
                    source=head.source,
                    multiplier=chunk.multiplier,
                    inverse=chunk.inverse,
                ),
                head.sequence,
            )
        return found

    def rest(self) -> list[TapeMessage]:
        """The last message, and the gaps after it."""
        found: list[TapeMessage] = []
        self._close(found)
        gaps, self._gaps = self._gaps, []
        return found + [self._gap(each) for each in reversed(gaps)]

    def _close(self, found: list[TapeMessage]) -> None:
        if self._open is None:
            return
        (message, sequence), self._open = self._open, None
        while self._gaps and self._gaps[-1].since < message.trades[-1].timestamp:
            found.append(self._gap(self._gaps.pop()))
        self._sequence = sequence if sequence > 0 else self._sequence
        found.append(DecodedMessage(self._sequence, b"", read_back=True, message=message))

    def _gap(self, gap: Missing) -> TapeMessage:
        empty = Trades(
            exchange=self._feed.exchange, symbol=self._feed.symbol, trades=[], received=gap.until, gap=gap.as_gap
        )
        return DecodedMessage(self._sequence, b"", read_back=True, message=empty)


class ItemRows:
    """Makes trades of archived rows, with each gap before the message whose last trade is after its begin."""

    def __init__(self, gaps: Sequence[Missing]) -> None:
        self._gaps = list(reversed(gaps))

    def take(self, chunk: ArchivedTrades) -> list[Trade | Gap]:
        """The trades of a chunk, and gaps between them."""
        table = table_of(chunk)
        self._gaps = in_turn(self._gaps, chunk.removed)
        if not self._gaps:
            return list(trades_of(table))
        found: list[Trade | Gap] = []
        for _, trades in split(table):
            while self._gaps and self._gaps[-1].since < trades[-1].timestamp:
                found.append(self._gaps.pop().as_gap)
            found += trades
        return found

    def rest(self) -> list[Trade | Gap]:
        """The gaps after the last trade."""
        gaps, self._gaps = self._gaps, []
        return [each.as_gap for each in reversed(gaps)]


class Head(NamedTuple):
    """What is the same for all trades of a message; `sequence` is that of the tape, of added trades -1 × their time."""

    sequence: int
    received: int
    source: Literal["live", "rest"]


def split(table: Any) -> Iterator[tuple[Head, list[Trade]]]:
    """The rows of a table as messages of the tape; the first and the last may have rows in other tables."""
    import numpy

    if not table.num_rows:
        return
    sequences, received = (table.column(name).cast("int64").to_numpy() for name in ("sequence", "received"))
    # Added trades are of no message: a day of them may have one receipt. Those of one time are together.
    sequences = numpy.where(sequences == 0, -table.column("timestamp").cast("int64").to_numpy(), sequences)
    live = numpy.array([each == "live" for each in plain(table.column("source"))])
    differs = (sequences[1:] != sequences[:-1]) | (received[1:] != received[:-1]) | (live[1:] != live[:-1])
    starts = numpy.flatnonzero(numpy.concatenate(([True], differs)))
    heads = zip(sequences[starts].tolist(), received[starts].tolist(), live[starts].tolist(), strict=True)
    trades, begins = trades_of(table), starts.tolist()
    for begin, end, (sequence, at, is_live) in zip(begins, [*begins[1:], len(trades)], heads, strict=True):
        yield Head(sequence, at, "live" if is_live else "rest"), trades[begin:end]


def trades_of(table: Any) -> list[Trade]:
    """The trades of a table."""
    columns = [plain(table.column(name)) for name in ("id", "timestamp", "side", "price", "amount")]
    return [
        Trade(id=id_, timestamp=timestamp, side=side, price=price, amount=amount)
        for id_, timestamp, side, price, amount in zip(*columns, strict=True)
    ]


def table_of(chunk: ArchivedTrades) -> Any:
    """The rows of a chunk as a `pyarrow.Table`."""
    # Imported late: only who reads archived trades needs it.
    import pyarrow as pa

    return pa.ipc.open_stream(chunk.data).read_all()


def plain(column: Any) -> list[Any]:
    """The values of a column of a table, times in ms. Several times as fast as `to_pylist`."""
    import pyarrow as pa

    if column.null_count:
        if pa.types.is_dictionary(column.type):
            found: list[Any] = []
            for chunk in column.chunks:
                # The index of a null is the last one, that of None.
                words = [*chunk.dictionary.to_pylist(), None]
                found += [words[index] for index in chunk.indices.fill_null(-1).to_numpy().tolist()]
            return found
        return list(column.cast(pa.int64()).to_pylist() if pa.types.is_timestamp(column.type) else column.to_pylist())
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    elif pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_numpy().tolist()
    return values
