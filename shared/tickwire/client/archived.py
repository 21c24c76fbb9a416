"""Trades of the archive, by requests to any of its instances.

| subject | direction | what |
|---|---|---|
| `archive.days` | requests | which days of a feed the archive has, and what is missing of them |
| `archive.trades` | requests | trades, a page at a time (docs/decisions/0034) |
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import msgspec

from tickwire.archive_files.certificate import gap_times
from tickwire.archive_files.layout import DAY_MS, begin_of
from tickwire.archive_files.removal import REASON
from tickwire.bus.connection import Bus
from tickwire.client.decoded import DecodedMessage
from tickwire.errors import NoSuchService, NotArchived
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trade, Trades
from tickwire.model.messages.archive import Certificate
from tickwire.model.messages.archived_trades import ArchivedTrades, ArchivedTradesRequest
from tickwire.model.messages.archiving import ArchivedDays, DaysRequest
from tickwire.model.ranges import Range, clip, merge, subtract
from tickwire.model.times import LATEST_MS
from tickwire.tape.sequence import TapeMessage

ANSWER_S = 60.0
"""Time limit for a chunk: an object store may be slow."""
NOT_ARCHIVED = "not archived"
_decode = msgspec.msgpack.Decoder(ArchivedTrades).decode


@dataclass(frozen=True)
class Missing:
    """A range of time (ms) of which trades may be missing in the archive, and why."""

    since: int
    until: int
    reason: str


async def days(bus: Bus, feed: Feed, since: int, until: int | None) -> list[Certificate]:
    """The days of a feed from the first to the last one that the archive has of `[since, until)` (ms).

    Raises NotArchived, NoSuchService, StorageError.
    """
    request = DaysRequest(kind=feed.kind, exchange=feed.exchange, symbol=feed.symbol, since=since, until=until)
    found: list[Certificate] = []
    decode = partial(messages.decode, kind=ArchivedDays)
    async with aclosing(bus.request_chunks("archive.days", request, decode, timeout_s=ANSWER_S)) as chunks:
        async for chunk in chunks:
            found += chunk.days
    return found


def missing(found: Sequence[Certificate], span: Range, beyond: int | None = None) -> list[Missing]:
    """What of a range (ms) may be missing by the certificates of its days, in order. Pure.

    With `beyond` (ms) gaps up to that time are listed, too.
    """
    end = span.until if beyond is None else beyond
    watched = [each for day in found for each in day.watched]
    removed = clip(merge([_span(day) for day in found if day.condition == "removed"]), span)
    ranges = [Missing(each.since, each.until, REASON) for each in removed]
    ranges += [Missing(each.since, each.until, NOT_ARCHIVED) for each in subtract(span, merge([*watched, *removed]))]
    for day in found:
        for gap in day.gaps:
            times = gap_times(gap)
            since, until = max(times.since, span.since), min(times.until, end)
            if since < until:
                ranges.append(Missing(since, until, gap.reason))
    return sorted(ranges, key=lambda each: (each.since, each.until))


def _span(day: Certificate) -> Range:
    since = begin_of(date.fromisoformat(day.date))
    return Range(since, since + DAY_MS)


async def chunks(bus: Bus, feed: Feed, since: int, until: int | None) -> AsyncGenerator[ArchivedTrades, None]:
    """The archived trades of a feed in `[since, until)` (ms): chunks, of which the last of each page has no rows.

    The next page is requested when the one before was taken. Raises NoSuchService, StorageError, RequestTimeout.
    """
    request = ArchivedTradesRequest(exchange=feed.exchange, symbol=feed.symbol, since=since, until=until)
    while True:
        cursor = None
        async with aclosing(bus.request_chunks("archive.trades", request, _decode, timeout_s=ANSWER_S)) as parts:
            async for part in parts:
                cursor = part.cursor
                yield part
        if cursor is None:
            return
        request = msgspec.structs.replace(request, cursor=cursor)


@dataclass
class Past:
    """Where the archive ends: `sequence` is where to go on with the tape; None without an archive of the feed.

    `refusal` is why nothing is read from the archive.
    """

    sequence: int | None = None
    refusal: NoSuchService | NotArchived | None = None

    @property
    def begins_late(self) -> str:
        """Why trades are missing before the tape begins."""
        archive = ", and no archive answers" if isinstance(self.refusal, NoSuchService) else ""
        return f"the tape does not go back so far{archive}"


async def message_pages(bus: Bus, feed: Feed, since: int, past: Past) -> AsyncGenerator[list[TapeMessage], None]:
    """The archived messages of a feed from `since` (ms) on, as the tape had them, with gaps where some are missing.

    Nothing where no archive runs, or it has nothing of the feed: `past.refusal`. Sets `past.sequence` at the end.
    """
    async with aclosing(chunks(bus, feed, since, None)) as parts:
        try:
            part = await anext(parts)
            # After the first chunk, which decides where the archive ends: what its rounds say until then is in files.
            certificates = await days(bus, feed, since, None)
        except (NoSuchService, NotArchived) as error:
            past.refusal = error
            return
        known = _known_until(certificates)
        if known is None:
            return
        rows = Rows(feed, missing(certificates, Range(since, max(since, known)), LATEST_MS))
        while True:
            if part.rows:
                yield list(rows.take(part))
            past.sequence = part.sequence
            try:
                part = await anext(parts)
            except StopAsyncIteration:
                break
    yield list(rows.rest())


def _known_until(certificates: Sequence[Certificate]) -> int | None:
    """Up to when (ms) certificates say what is missing but for gaps: later rows are there, or on the tape.

    That is where following ends, or the first row of a feed that never was declared complete; None if there is neither.
    """
    watched = [each.until for day in certificates for each in day.watched]
    rows = [day.first.timestamp for day in certificates if day.first is not None]
    return max(watched, default=None) or min(rows, default=None)


class Rows:
    """Makes messages of archived rows: rows of one message of the tape are one again. No I/O."""

    def __init__(self, feed: Feed, gaps: Sequence[Missing]) -> None:
        self._feed = feed
        self._gaps = list(reversed(gaps))
        self._open: tuple[Trades, int] | None = None
        """The last message, of which the next chunk may have further rows, and its sequence."""
        self._sequence = 0

    def take(self, chunk: ArchivedTrades) -> Iterator[TapeMessage]:
        """The messages that are whole with the rows of a chunk, and gaps before them."""
        table = table_of(chunk)
        names = ("timestamp", "received", "id", "side", "price", "amount", "source", "sequence")
        columns = [plain(table.column(name)) for name in names]
        for timestamp, received, id_, side, price, amount, source, sequence in zip(*columns, strict=True):
            trade = Trade(id=id_, timestamp=timestamp, side=side, price=price, amount=amount)
            if self._open is not None:
                message, before = self._open
                if before == sequence and message.received == received and message.source == source:
                    message.trades.append(trade)
                    continue
                yield from self._closed()
            self._open = (
                Trades(
                    exchange=self._feed.exchange,
                    symbol=self._feed.symbol,
                    trades=[trade],
                    received=received,
                    source="live" if source == "live" else "rest",
                    multiplier=chunk.multiplier,
                    inverse=chunk.inverse,
                ),
                sequence,
            )

    def rest(self) -> Iterator[TapeMessage]:
        """The last message, and the gaps after it."""
        yield from self._closed()
        while self._gaps:
            yield self._gap(self._gaps.pop())

    def _closed(self) -> Iterator[TapeMessage]:
        if self._open is None:
            return
        (message, sequence), self._open = self._open, None
        while self._gaps and self._gaps[-1].since < message.trades[-1].timestamp:
            yield self._gap(self._gaps.pop())
        self._sequence = sequence
        yield DecodedMessage(sequence, b"", read_back=True, message=message)

    def _gap(self, gap: Missing) -> TapeMessage:
        # A bound is exclusive, but where it is followed by an id.
        found = Gap(since=max(-1, gap.since - 1), until=gap.until, reason=gap.reason)
        empty = Trades(exchange=self._feed.exchange, symbol=self._feed.symbol, trades=[], received=gap.until, gap=found)
        return DecodedMessage(self._sequence, b"", read_back=True, message=empty)


def table_of(chunk: ArchivedTrades) -> Any:
    """The rows of a chunk as a `pyarrow.Table`."""
    # Imported late: only who reads archived trades needs it.
    import pyarrow as pa

    return pa.ipc.open_stream(chunk.data).read_all()


def plain(column: Any) -> list[Any]:
    """The values of a column of a table, times in ms."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if not column.null_count and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        # Five times as fast as `to_pylist`.
        numbers: list[Any] = column.to_numpy().tolist()
        return numbers
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    found: list[Any] = column.to_pylist()
    return found
