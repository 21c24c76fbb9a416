"""The book of a feed at a moment, from the archive."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from tickwire.model.numbers import Signed, Total
from tickwire.model.subjects import Exchange, Symbol
from tickwire.model.times import Count, Sequence, Time


class ArchivedBookRequest(Struct, frozen=True, kw_only=True):
    """`archive.book`: the book after all changes up to `time` (ms); `depth` levels of a side, all by default."""

    exchange: Exchange
    symbol: Symbol
    time: Time
    depth: Annotated[int, Meta(ge=1, le=2**53)] | None = None


class ArchivedBook(Struct, frozen=True, kw_only=True):
    """A chunk of a reply to `archive.book`: further levels of the book, best first on each side.

    `timestamp` and `received` are of its last change, `update` is the exchange's number of it. `until` is the time of
    the newest archived change. If it is not after the requested time (`is_end`), this is the whole book after the
    messages of the tape up to `sequence`, and what the tape has after it decides: without `update` the book is not
    known there. `stream` and `present` are as in `ArchivedTrades`.
    """

    exchange: Exchange
    symbol: Symbol
    bids: list[tuple[Signed, Total]] = field(default_factory=list)
    asks: list[tuple[Signed, Total]] = field(default_factory=list)
    timestamp: Time | None = None
    received: Time | None = None
    update: Sequence | None = None
    until: Time | None = None
    is_end: bool = False
    sequence: Sequence = 0
    chunk: Count = 0
    more: bool = False
    stream: Time = 0
    present: Time = 0
