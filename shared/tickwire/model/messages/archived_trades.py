"""Trades of the archive, as Arrow."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from tickwire.model.subjects import Exchange, Symbol
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


class ArchivedTrades(Struct, frozen=True, kw_only=True):
    """A chunk of a reply to `archive.trades`, in MessagePack: `rows` rows, day after day, each in the tape's order.

    `data` is an Arrow IPC stream. Its columns are those of the archive's files (docs/archive.md). `multiplier` and
    `inverse` say what one unit of `amount` is, as in `md.trade.…`. `chunk` counts from 0; the last chunk, with `more`
    false, has no rows. Its `cursor` requests the next page; null if there is none.

    Every trade of the tape's messages up to `sequence`, in the stream of the feed, is in the archive; those of later
    messages are left out. So `sequence` is where to go on with the tape.
    """

    exchange: Exchange
    symbol: Symbol
    rows: Count
    data: bytes
    sequence: Sequence
    multiplier: float | UnsetType | None = UNSET
    inverse: bool | UnsetType = UNSET
    cursor: Cursor | None = None
    chunk: Count = 0
    more: bool = False
