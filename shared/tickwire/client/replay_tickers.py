"""The tickers of a replay: archived ones, then those that the broker still keeps for the archive.

| subject | direction | what |
|---|---|---|
| `archive.rows`, `archive.days` | requests | tickers, and what is missing of them |
| `$JS.API.DIRECT.GET.ARCHIVE_TICKERS` | requests | the messages after the archive's |
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import msgspec

from tickwire.archive_files.layout import ArchivedFeed
from tickwire.bus.connection import Bus
from tickwire.client import archived
from tickwire.client.archived import Past, plain, table_of
from tickwire.client.merging import Block
from tickwire.client.missing import Missing, in_turn
from tickwire.client.trade_items import EXPIRED, MADE_ANEW, NOTHING_LATER
from tickwire.errors import BadRequest, NotArchived
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Ticker
from tickwire.model.messages.archived_trades import ArchivedTrades
from tickwire.tape.layout import layout_of
from tickwire.tape.sequence import TapeMessage
from tickwire.tape.stored import StoredTape

Tickers = Block[Ticker | Gap]
COLUMNS = (
    "timestamp", "received", "last", "bid", "bid_amount", "ask", "ask_amount", "open", "high", "low", "volume",
    "quote_volume", "mark", "mid", "conflated",
)  # fmt: skip
SPREAD_MS = 1_000
"""So much earlier than that of the one before may the time of a ticker be: of some it is that of the receipt."""
INTERRUPTED = "the ticker was interrupted"
NOT_YET = "not archived"
UNREADABLE = "a message of the tape cannot be read"


async def ticker_pages(bus: Bus, of: Feed, since: int, until: int | None) -> AsyncGenerator[Tickers, None]:
    """The tickers and gaps of a feed in `[since, until)` (ms), a page at a time.

    Raises NotArchived if the archive has none of the feed, NoSuchService where no archive runs, StorageError.
    """
    tickers, past = ReplayedTickers(of, since, until), Past()
    feed = ArchivedFeed("ticker", of.exchange, of.symbol)
    async with aclosing(archived.row_pages(bus, feed, since, past, partial(TickerRows, tickers), until)) as pages:
        async for blocks in pages:
            for block in blocks:
                yield block
    if past.refusal is not None and not isinstance(past.refusal, NotArchived):
        raise past.refusal
    if until is not None and past.known >= until + SPREAD_MS:
        return
    if past.remade:
        # An archive that has no tickers any more does not keep the stream.
        tickers.missing_before_next(NOT_YET if past.is_gone else MADE_ANEW)
    stored = StoredTape(bus, of.public, (await layout_of(bus)).archived(of.public))
    # To find that there is none takes a second: the archive's word saves that.
    if not past.is_gone and await stored.exists():
        if past.refusal is not None:
            # The first file is written some minutes after the first ticker.
            tickers.missing_before_next(NOT_YET)
        async with aclosing(stored.pages(0 if past.remade else past.sequence or 0)) as taped:
            async for page in taped:
                yield tickers.of_messages(page)
                if tickers.over:
                    break
    elif past.refusal is not None:
        raise NotArchived(f"{of} is not archived", 'tickers are archived with "ticker" among `archive.kinds`')
    yield tickers.rest(past.known)


class ReplayedTickers:
    """Tickers of a feed from `since` (ms) on, until one is at or after `until`. No I/O."""

    def __init__(self, of: Feed, since: int, until: int | None) -> None:
        self.over = False
        """Whether one reached `until`."""
        self._of = of
        self._since = since
        self._until = until
        self._time = since
        """Of the last item, ms."""
        self._read = 0
        """The time of the last message of the tape, ms."""
        self._lost = ""
        """Why tickers before the next one may be missing."""

    def missing_before_next(self, reason: str) -> None:
        """Tickers before the next one may be missing."""
        self._lost = self._lost or reason

    def of_rows(self, table: Any, gaps: list[Missing]) -> Tickers:
        """The tickers of archived rows, with those of `gaps` (the next one last) that are before one of them."""
        found: Tickers = Block([], [])
        exchange, symbol = self._of.exchange, self._of.symbol
        columns = {name: plain(table.column(name)) for name in COLUMNS}
        for values in zip(*columns.values(), strict=True):
            timestamp, is_after = values[0], False
            while gaps and gaps[-1].since < timestamp:
                self.missing(gaps.pop(), found)
                is_after = True
            ticker = Ticker(
                exchange=exchange, symbol=symbol, interrupted=is_after, **dict(zip(COLUMNS, values, strict=True))
            )
            self._add(timestamp, ticker, found)
        return found

    def missing(self, gap: Missing, found: Tickers) -> None:
        """Add a gap, unless it is after the range."""
        if self._until is None or gap.since < self._until:
            self._put(max(self._time, gap.since), Gap(since=gap.since - 1, until=gap.until, reason=gap.reason), found)

    def of_messages(self, page: Sequence[TapeMessage]) -> Tickers:
        """The tickers of messages of the tape."""
        found: Tickers = Block([], [])
        for taped in page:
            if taped.skipped:
                self.missing_before_next(EXPIRED)
            try:
                ticker = messages.decode(taped.data, Ticker)
            except BadRequest:
                self.missing_before_next(UNREADABLE)
                continue
            self._read = time = ticker.received if ticker.timestamp is None else ticker.timestamp
            if ticker.interrupted:
                self.missing_before_next(INTERRUPTED)
            self.over = self._until is not None and time >= self._until + SPREAD_MS
            if self.over:
                break
            if ticker.repeated or time < self._since or (self._until is not None and time >= self._until):
                continue
            if self._lost:
                gap = Gap(since=self._time, until=max(time, self._time + 1), reason=self._lost)
                self._put(self._time, gap, found)
                ticker, self._lost = msgspec.structs.replace(ticker, interrupted=True), ""
            self._add(time, ticker, found)
        return found

    def rest(self, known: int) -> Tickers:
        """What is to be said at the end; up to `known` (ms) the archive says what is missing."""
        found: Tickers = Block([], [])
        if self._lost:
            self._put(self._time, Gap(since=self._time, until=self._until, reason=self._lost), found)
        elif max(known, self._read) < self._since:
            self._put(self._time, Gap(since=self._since - 1, until=self._until, reason=NOTHING_LATER), found)
        return found

    def _add(self, time: int, ticker: Ticker, found: Tickers) -> None:
        self._put(max(self._time, time), ticker, found)

    def _put(self, time: int, item: Ticker | Gap, found: Tickers) -> None:
        self._time = time
        found.times.append(time)
        found.items.append(item)


class TickerRows:
    """See `archived.Rows`."""

    def __init__(self, tickers: ReplayedTickers, gaps: Sequence[Missing]) -> None:
        self._tickers = tickers
        self._gaps = list(reversed(gaps))

    def take(self, chunk: ArchivedTrades) -> list[Tickers]:
        """The tickers of a chunk, and gaps between them."""
        self._gaps = in_turn(self._gaps, chunk.removed)
        return [self._tickers.of_rows(table_of(chunk), self._gaps)]

    def rest(self) -> list[Tickers]:
        """The gaps after the last row."""
        found: Tickers = Block([], [])
        while self._gaps:
            self._tickers.missing(self._gaps.pop(), found)
        return [found]
