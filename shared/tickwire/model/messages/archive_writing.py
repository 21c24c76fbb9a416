"""Pages of trades that are added to the archive beside the tape."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from tickwire.model.feeds.tape import Trade
from tickwire.model.messages.archive import AddedSource, Date
from tickwire.model.subjects import Exchange, Symbol
from tickwire.model.times import Count, Time

PAGE_TRADES = 2000
"""Most trades of a page: about 200 KB; a message has 512 KiB at most."""


class TradePage(Struct, frozen=True, kw_only=True):
    """`archive.write.<p>`: trades of a feed, of one day, that did not come over the tape.

    They are in order, each with an id. The feed has no other trades in `[since, until)` (ms), which may be empty, than
    those of this page, of earlier ones, and of the tape. `received` is when they were fetched. The reply comes when
    they are durable; readers see them once the day was closed. The page may be sent again.
    """

    exchange: Exchange
    symbol: Symbol
    source: AddedSource
    since: Time
    until: Time
    received: Time
    trades: Annotated[list[Trade], Meta(max_length=PAGE_TRADES)]
    multiplier: float | UnsetType | None = UNSET
    inverse: bool | UnsetType = UNSET


class PageWritten(Struct, frozen=True, kw_only=True):
    """The reply to `archive.write.<p>`: so many trades of the page are durable."""

    rows: Count


class CloseRequest(Struct, frozen=True, kw_only=True):
    """`archive.close.<p>`: close a day that has ended now; the reply is its Certificate."""

    kind: str = "trade"
    exchange: Exchange
    symbol: Symbol
    date: Date
