"""Answers `archive.days`, `archive.trades`, `archive.rows`, `archive.bars` and `archive.book` from the files.

| subject | direction | what |
|---|---|---|
| `archive.days` | answers | DaysRequest -> ArchivedDays, in chunks |
| `archive.trades` | answers | ArchivedTradesRequest -> ArchivedTrades in MessagePack, in chunks |
| `archive.rows` | answers | ArchivedRowsRequest -> ArchivedTrades in MessagePack, in chunks |
| `archive.bars` | answers | ArchivedBarsRequest -> ArchivedBars, in chunks |
| `archive.book` | answers | ArchivedBookRequest -> ArchivedBook, in chunks |
| `$KV.ARCHIVE.<stream>` | reads | ArchiveCheckpoint: which messages of the feed's stream are wholly in files |
| `$JS.API.STREAM.INFO.<stream>` | requests | when the feed's stream was created |
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
from nats.js.errors import NotFoundError

from tickwire.archive import days_reply
from tickwire.archive.days_reply import archived_dates
from tickwire.archive_files import bars, pages
from tickwire.archive_files import book_at as books
from tickwire.archive_files.layout import ArchivedFeed, Through
from tickwire.archive_files.root import Root
from tickwire.archive_files.schema import schema_of
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.fenced_entries import FencedEntries
from tickwire.bus.service import Call
from tickwire.model.messages.archived_book import ArchivedBookRequest
from tickwire.model.messages.archived_trades import ArchivedBarsRequest, ArchivedTradesRequest
from tickwire.model.messages.archiving import ArchiveCheckpoint, DaysRequest
from tickwire.tape.layout import layout_of


class Reads:
    """Answers requests for the rows of one root."""

    def __init__(self, bus: Bus, root: Root) -> None:
        self._bus = bus
        self._root = root

    async def answer_days(self, request: DaysRequest, call: Call) -> None:
        """Reply to `archive.days`. Raises NotArchived, BadRequest."""
        feed, through = ArchivedFeed(request.kind, request.exchange, request.symbol), None
        schema_of(feed.kind)
        if request.sequence is not None:
            present = await self._through(feed)
            if present.stream == request.stream:
                through = present._replace(sequence=request.sequence)
        await _reply(days_reply.chunks(self._root, request, through), call)

    async def answer_trades(self, request: ArchivedTradesRequest, call: Call) -> None:
        """Reply to `archive.trades` and `archive.rows`. Raises NotArchived, as `archive.days` does; BadRequest."""
        feed = pages.feed_of(request)
        schema_of(feed.kind)
        if request.cursor is None:
            await asyncio.to_thread(archived_dates, self._root, feed)
        # Read before the files: whatever the checkpoint calls done is in them.
        is_taped = request.cursor is None and feed.kind != "candle"
        through = await self._through(feed) if is_taped else Through(0, 0)
        chunks = pages.chunks(self._root, request, through)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            if chunk.stream and not chunk.more:
                # At last: a page takes seconds, and until then the stream may be made anew.
                chunk = msgspec.structs.replace(chunk, present=await self._created(feed))
            await call.reply(msgspec.msgpack.encode(chunk))

    async def answer_bars(self, request: ArchivedBarsRequest, call: Call) -> None:
        """Reply to `archive.bars`."""
        await _reply(bars.chunks(self._root, request), call)

    async def answer_book(self, request: ArchivedBookRequest, call: Call) -> None:
        """Reply to `archive.book`. Raises NotArchived, BookUnknown."""
        feed = ArchivedFeed("book_delta", request.exchange, request.symbol)
        await asyncio.to_thread(archived_dates, self._root, feed)
        chunks = books.chunks(self._root, request, await self._through(feed))
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            if chunk.stream and not chunk.more:
                chunk = msgspec.structs.replace(chunk, present=await self._created(feed))
            await call.reply(chunk)

    async def _through(self, feed: ArchivedFeed) -> Through:
        place = (await layout_of(self._bus)).archived(feed.public)
        # Another instance may write the entry: what was read before is not kept.
        entries = FencedEntries(self._bus, streams.ARCHIVE, ArchiveCheckpoint)
        found = await entries.of(place.stream)
        return Through(found.generation, found.done, found.stream)

    async def _created(self, feed: ArchivedFeed) -> int:
        """When the present stream of a feed was created, ms; 0 if there is none. Waits for the broker."""
        stream = (await layout_of(self._bus)).archived(feed.public).stream
        try:
            return await streams.read_created_ms(self._bus.jetstream, stream)
        except NotFoundError:
            return 0


async def _reply(chunks: Iterator[msgspec.Struct], call: Call) -> None:
    """Reply in chunks that take seconds to read."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        await call.reply(chunk)
