"""Requests that the cache answers, and its replies: coverage, candles, verification, repair."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from tickwire.model.messages.pages import Row, VolumeUnit
from tickwire.model.ranges import Range
from tickwire.model.subjects import Exchange, Key, Symbol, Timeframe
from tickwire.model.times import Count, Time


class KeyRequest(Struct, frozen=True, kw_only=True):
    """`cache.coverage`, `cache.verify` and `cache.repair`: one key.

    With `since` or `until`, a coverage counts `rows` and `holes` only within `[since, until)`, and `verified`
    is clipped to it; `first`, `last` and `bytes` stay those of the whole file.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time | None = None
    until: Time | None = None

    @property
    def key(self) -> Key:
        """The key asked about."""
        return Key(self.exchange, self.symbol, self.timeframe)


class Coverage(Struct, frozen=True, kw_only=True):
    """What the cache knows of a key. `first` and `last` are open times, absent without rows.

    `verified` are the ranges known to be complete; `holes` counts candles absent within them (nothing was
    traded then); `bytes` is the size of the data file.

    `volume_unit` is what the volumes within `verified` count, absent where nothing says it. Rows that an earlier
    version stored of a contract market, in who knows which unit, are in the file but not within `verified`; so are the
    newest while the exchange may still revise them. `opens_at` as in CandlePage.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    rows: Count = 0
    first: Time | None = None
    last: Time | None = None
    verified: list[Range] = field(default_factory=list)
    holes: Count = 0
    bytes: Count = 0
    volume_unit: VolumeUnit | None = None
    opens_at: Time | None = None

    @property
    def key(self) -> Key:
        """The key that this is about."""
        return Key(self.exchange, self.symbol, self.timeframe)


class CandlesRequest(Struct, frozen=True, kw_only=True):
    """`cache.get`: the rows that open in `[since, until)`, the first `limit` of them, or with `last` the newest.

    `format` is `rows` (JSON) or `columns` (MessagePack, see CandleColumns).
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time | None = None
    until: Time | None = None
    limit: Count | None = None
    last: bool = False
    format: Literal["rows", "columns"] = "rows"

    @property
    def key(self) -> Key:
        """The key asked for."""
        return Key(self.exchange, self.symbol, self.timeframe)


class Candles(Struct, frozen=True, kw_only=True):
    """A reply to `cache.get`: one chunk of at most 512 KiB. `more` says that chunk + 1 follows it."""

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    rows: list[Row]
    chunk: Count = 0
    more: bool = False


class CandleColumns(Struct, frozen=True, kw_only=True):
    """A reply to `cache.get` with `"format":"columns"`, in MessagePack.

    `dates` is raw little-endian int64, the others are raw little-endian float64, `count` values each.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    count: Count
    dates: bytes
    opens: bytes
    highs: bytes
    lows: bytes
    closes: bytes
    volumes: bytes
    chunk: Count = 0
    more: bool = False


class ListRequest(Struct, frozen=True, kw_only=True):
    """`cache.list`: every key that the cache holds, of one exchange if it is named."""

    exchange: Exchange | None = None


class CacheList(Struct, frozen=True, kw_only=True):
    """A reply to `cache.list`: one chunk. `damaged` names files that are refused, with the reason."""

    keys: list[Coverage]
    damaged: list[str] = field(default_factory=list)
    chunk: Count = 0
    more: bool = False


class Problem(Struct, frozen=True, kw_only=True):
    """One finding of `cache.verify`. `line` counts from 1; 0 is the file as a whole."""

    line: Count
    message: str


class Verification(Struct, frozen=True, kw_only=True):
    """The reply to `cache.verify`: clean when there is no problem. At most the first 100 are listed."""

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    rows: Count
    holes: Count
    problems: list[Problem] = field(default_factory=list)
    problem_count: Count = 0


class Repair(Struct, frozen=True, kw_only=True):
    """The reply to `cache.repair`: where the damaged file was moved, what was kept, what must be fetched again.

    `problems` says of each dropped line why it was, of the first 100.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    moved_to: str
    rows_kept: Count
    lines_dropped: Count
    unverified: list[Range] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
