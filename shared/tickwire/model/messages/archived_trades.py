"""Trades of the archive, as Arrow, and candles rebuilt from them."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from tickwire.model.messages.pages import Row, VolumeUnit
from tickwire.model.ranges import Range
from tickwire.model.subjects import Exchange, Symbol, Timeframe
from tickwire.model.times import Count, Sequence, Time

PAGE_ROWS = 200_000
"""Most rows of one reply: about 13 MB."""

Cursor = Annotated[str, Meta(max_length=100)]


class ArchivedTradesRequest(Struct, frozen=True, kw_only=True):
    """`archive.trades`: a page of the trades of a feed in `[since, until)` (ms, by the exchange's timestamp).

    The page ends soon after `limit` rows. The next one is requested with the `cursor` of its last chunk, and otherwise
    the same fields.
    """

    exchange: Exchange
    symbol: Symbol
    since: Time = 0
    until: Time | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_ROWS)] = PAGE_ROWS
    cursor: Cursor | None = None


class ArchivedRowsRequest(ArchivedTradesRequest, frozen=True, kw_only=True):
    """`archive.rows`: the same of any kind that is archived: `trade`, `book_delta`, `candle` or `ticker`.

    Candles are by their open time, those of all timeframes together; each is there once, as the newest page has it.
    """

    kind: str


class BookEnd(Struct, frozen=True, kw_only=True):
    """A book at the end of its archived deltas, of which those that change nothing have no row.

    `update` is the number of its last update, null if the book is not known. Every change before `until` (ms) is in the
    rows, or in a gap; null if there was none.
    """

    update: Sequence | None
    until: Time | None


class ArchivedTrades(Struct, frozen=True, kw_only=True):
    """A chunk of a reply to `archive.trades` or `archive.rows`, in MessagePack.

    It has `rows` rows, day after day, each in the tape's order.

    `data` is an Arrow IPC stream. Its columns are those of the archive's files (docs/archive.md). `multiplier` and
    `inverse` say what one unit of `amount` is, as in `md.trade.…`. `chunk` counts from 0; the last chunk, with `more`
    false, has no rows. Its `cursor` requests the next page; null if there is none. That of a chunk with rows, if
    there is one, requests what follows the chunk: for a reply that broke off.

    Every row of the tape's messages up to `sequence`, in the stream of the feed, is in the archive; those of later
    messages are left out. So `sequence` is where to go on with the tape; of candles it is 0. It counts in the stream
    that was created at `stream` (ms). `present`, in the last chunk, is when the present stream was created, 0 if there
    is none: where the two differ the stream was made anew, and `sequence` says nothing of it. Both are 0 in replies of
    earlier versions, and of candles.

    `book`, in the last chunk of the last page of book deltas, is how the book is after message `sequence`.

    `removed` are days (ms) between the rows of the chunk before and these, or within the request after the last rows,
    that were removed from the archive, also since `archive.days` was requested.
    """

    exchange: Exchange
    symbol: Symbol
    rows: Count
    data: bytes
    sequence: Sequence
    multiplier: float | UnsetType | None = UNSET
    inverse: bool | UnsetType = UNSET
    removed: list[Range] = field(default_factory=list)
    cursor: Cursor | None = None
    chunk: Count = 0
    more: bool = False
    stream: Time = 0
    present: Time = 0
    book: BookEnd | UnsetType = UNSET


class ArchivedBarsRequest(Struct, frozen=True, kw_only=True):
    """`archive.bars`: the candles that open in `[since, until)` (ms), rebuilt from the trades of certified days.

    At most 50,000 candles, and 400 days. `opens_at` is as in `CandlePage`.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time
    until: Time
    opens_at: Time | None = None


class ArchivedBars(Struct, frozen=True, kw_only=True):
    """A chunk of a reply to `archive.bars`: candles, ascending. `chunk` counts from 0; the last one has no rows.

    There are only candles of which every day is certified `complete`; the last chunk has their ranges, `complete`. An
    interval within them that has no row had no trade. Without an archive of the feed there are none.

    Volumes are in base currency, or else `volume_unit` is `unknown`. `inverse`: they are sums of quotients, which an
    exchange may round otherwise.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    rows: list[Row] = field(default_factory=list)
    complete: list[Range] = field(default_factory=list)
    volume_unit: VolumeUnit = "base"
    inverse: bool = False
    chunk: Count = 0
    more: bool = False
