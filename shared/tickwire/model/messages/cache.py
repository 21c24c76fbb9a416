"""Requests that the cache answers, and its replies: coverage, candles, verification, repair."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from tickwire.model.messages.fetch import DifferentField
from tickwire.model.messages.pages import Row, VolumeUnit
from tickwire.model.ranges import Range
from tickwire.model.subjects import Exchange, Key, Symbol, Timeframe
from tickwire.model.times import Count, Time


class KeyRequest(Struct, frozen=True, kw_only=True):
    """`cache.coverage`, `cache.verify` and `cache.repair`: one key.

    With `since` or `until`, a coverage counts `rows` and `holes` only within `[since, until)`, and `verified` is
    clipped to it; `first`, `last` and `bytes` are always those of the whole file. With `quiet` it says where nothing
    traded, too.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time | None = None
    until: Time | None = None
    quiet: bool = False

    @property
    def key(self) -> Key:
        """The key of the request."""
        return Key(self.exchange, self.symbol, self.timeframe)


class Provenance(Struct, frozen=True, kw_only=True):
    """Where the candles of a key come from, as ranges of open times; what is in none of them is unknown.

    `exchange`: the exchange's own rows. `tape`: built from the trades on the tape. `audited`: compared with the
    exchange's own rows once these had settled, and equal or replaced by them.

    Any of these may also be `archived`: compared with candles rebuilt from the archive's trades of days that are
    certified as complete. They are equal, but for rows in `disputed`: those are the exchange's own, and differ from the
    trades that it gave. Where many rows of a day differ, `disputed` has the rows between them, too.
    """

    exchange: list[Range] = field(default_factory=list)
    tape: list[Range] = field(default_factory=list)
    audited: list[Range] = field(default_factory=list)
    archived: list[Range] = field(default_factory=list)
    disputed: list[Range] = field(default_factory=list)


class ProvenanceRows(Struct, frozen=True, kw_only=True):
    """How many rows of a file come from where (see Provenance).

    `exchange`, `tape`, `audited` and `unknown` are all rows; of these, so many are `archived` and `disputed`.
    """

    exchange: Count = 0
    tape: Count = 0
    audited: Count = 0
    unknown: Count = 0
    archived: Count = 0
    disputed: Count = 0


class Coverage(Struct, frozen=True, kw_only=True):
    """The candles of a key in the cache. `first` and `last` are open times, absent without rows.

    `verified` are the ranges proven complete; `holes` counts the candles absent within them (without trades); `bytes`
    is the size of the data file. `quiet`, where it was requested, are the stretches of a day or longer within
    `verified` in which nothing traded: candles are absent there, or have volume 0. None for candles longer than a day.

    `volume_unit` is the unit of the volumes within `verified`, absent if it is not known. Not within `verified` are
    rows of contract markets that an earlier version stored in an unknown unit, and the newest rows while the exchange
    may still revise them. `opens_at` as in CandlePage. `provenance` says where the rows come from, unknown for those
    that earlier versions stored; it is clipped as `verified` is.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    rows: Count = 0
    first: Time | None = None
    last: Time | None = None
    verified: list[Range] = field(default_factory=list)
    holes: Count = 0
    quiet: list[Range] = field(default_factory=list)
    bytes: Count = 0
    volume_unit: VolumeUnit | None = None
    opens_at: Time | None = None
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def key(self) -> Key:
        """The key of the coverage."""
        return Key(self.exchange, self.symbol, self.timeframe)


class CandlesRequest(Struct, frozen=True, kw_only=True):
    """`cache.get`: the rows that open in `[since, until)`, the first `limit` of them, with `last` the newest.

    `format` is `rows` (JSON) or `columns` (MessagePack, see CandleColumns); columns may be packed if `compact`. The
    broker ends the connection of a reader that is 64 MiB behind: request millions of rows in pages, by a `limit` of
    200,000 for instance, each with `since` the time of the last row before it + 1.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time | None = None
    until: Time | None = None
    limit: Count | None = None
    last: bool = False
    format: Literal["rows", "columns"] = "rows"
    compact: bool = False

    @property
    def key(self) -> Key:
        """The key of the request."""
        return Key(self.exchange, self.symbol, self.timeframe)


class Candles(Struct, frozen=True, kw_only=True):
    """A reply to `cache.get`: one chunk of at most 512 KiB. `more`: chunk + 1 follows."""

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    rows: list[Row]
    chunk: Count = 0
    more: bool = False


class CandleColumns(Struct, frozen=True, kw_only=True):
    """A reply to `cache.get` with `"format":"columns"`, in MessagePack.

    `dates` is raw little-endian int64, the others are raw little-endian float64, `count` values each. In replies to a
    request with `compact`, if `step` is not 0, `dates` is the first alone and each row is `step` (ms) after the one
    before; and if a number of `decimals` (opens, highs, lows, closes, volumes) is not negative, that column is raw
    little-endian int32, to be divided by ten to that power.
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
    step: Count = 0
    decimals: tuple[int, int, int, int, int] = (-1, -1, -1, -1, -1)


class ListRequest(Struct, frozen=True, kw_only=True):
    """`cache.list`: every key in the cache, or those of one exchange."""

    exchange: Exchange | None = None


class CacheList(Struct, frozen=True, kw_only=True):
    """A reply to `cache.list`: one chunk. `damaged` names files that are refused, each with the reason."""

    keys: list[Coverage]
    damaged: list[str] = field(default_factory=list)
    chunk: Count = 0
    more: bool = False


class Problem(Struct, frozen=True, kw_only=True):
    """A finding of `cache.verify`. `line` counts from 1; 0 is the file as a whole."""

    line: Count
    message: str


class Verification(Struct, frozen=True, kw_only=True):
    """The reply to `cache.verify`: the files are sound without problems. The first 100 are listed.

    `provenance` is absent where the file is refused, and in replies of earlier versions.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    rows: Count
    holes: Count
    problems: list[Problem] = field(default_factory=list)
    problem_count: Count = 0
    provenance: ProvenanceRows | None = None


class Repair(Struct, frozen=True, kw_only=True):
    """The reply to `cache.repair`: where the damaged file was moved, what was kept, what must be fetched again.

    `problems` gives the reason for each of the first 100 dropped lines.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    moved_to: str
    rows_kept: Count
    lines_dropped: Count
    unverified: list[Range] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class RebuiltDifference(Struct, frozen=True, kw_only=True):
    """A field of the candle that opens at `timestamp` that differs in the cache and as rebuilt from archived trades.

    The value is absent on the side that has no such candle.
    """

    timestamp: Time
    field: DifferentField
    cached: float | None = None
    rebuilt: float | None = None


class Comparison(Struct, frozen=True, kw_only=True):
    """A chunk of the reply to `cache.compare`: the rows of a part of the range against those rebuilt from the archive.

    `compared` are the ranges that were compared; `rows` counts the rows of the cache in them, `difference_count` the
    fields that differ, of which `differences` lists the first 100. Nothing in the cache is changed. `volumes` is false
    if volumes were not compared, because the unit of one side is not known, or is no sum of decimals. `made_of_trades`
    says whether the exchange's candles are known to be those of its public trades; null: not known, so that a
    difference may be the exchange's way. `remarks` say why something was not compared, in the last chunk.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    compared: list[Range] = field(default_factory=list)
    rows: Count = 0
    difference_count: Count = 0
    differences: list[RebuiltDifference] = field(default_factory=list)
    volumes: bool = True
    made_of_trades: bool | None = None
    remarks: list[str] = field(default_factory=list)
    chunk: Count = 0
    more: bool = False
