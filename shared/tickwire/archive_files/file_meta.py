"""What a file of the archive says of itself: JSON under the key `tickwire` of Parquet's own metadata. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET, Struct, UnsetType, field

from tickwire.archive_files.layout import FeedDay, Sequences
from tickwire.model.messages.archive import AddedRange, AddedSource, ArchivedGap, Date, EndRow
from tickwire.model.messages.pages import VolumeUnit
from tickwire.model.ranges import Range, merge
from tickwire.model.subjects import Exchange, Symbol
from tickwire.model.times import Sequence, Time

VERSION = 1
"""Of the columns and of this metadata. A reader refuses a higher one."""
KEY = b"tickwire"
"""The key of Parquet's metadata."""


class Unit(Struct, frozen=True):
    """What one unit of `amount` is, as in `Trades`: both are absent on spot markets."""

    multiplier: float | UnsetType | None = UNSET
    inverse: bool | UnsetType = UNSET

    def quote_factors(self) -> tuple[float, bool] | None:
        """The quote amount of a row is amount × this factor, × price if the flag is set; None if it is not known."""
        multiplier = 1.0 if self.multiplier is UNSET else self.multiplier
        return None if multiplier is None else (multiplier, self.inverse is not True)

    def merged(self, later: Unit) -> Unit:
        """The unit of rows of both: not known if they differ."""
        return self if self == later else Unit(None, later.inverse)


class ProvenCandles(Struct, frozen=True):
    """What a file says of the candles of a timeframe that open on its day; times in ms, ranges ascending.

    `proven`: all candles that open there are in the files of the day up to this one. Of `unsettled` ranges the exchange
    may still revise them: that was proven before does not count. Of `replaced` ranges this file has all candles, and
    those of files before are void. `opens_at` and `volume_unit` are as in CandlePage.
    """

    proven: list[Range]
    unsettled: list[Range] = field(default_factory=list)
    replaced: list[Range] = field(default_factory=list)
    opens_at: Time | None = None
    volume_unit: VolumeUnit | None = None


class FileMeta(Struct, frozen=True, kw_only=True):
    """The metadata of a part or of a day's file.

    `covered`: the messages of the tape that it was made from. `continues`: the feed was followed without a break
    since the file before. `watched` (ms): in a part, from the first to the last time before which every row was on
    the tape, of any day; in a day's file, the ranges in which the feed was followed, from the begin of the day,
    perhaps beyond its end. `until` (ms) is the last time before which every row was on the tape, of any day; null
    if there was none since the feed's first message. `gaps`: rows that are missing, which may reach into other
    days; without `since` it begins where the files before end: after their last row, or later if they are complete
    until then. `update`: of book deltas, the exchange's number of the last update of the book at the file's end;
    null if the book is not known there. `rows` of a day's file are how many rows of the tape are of each of
    `covered`; they come in this order. `last`: of trades, the last row of the tape. All of these are of the tape.
    `added` are the ranges that history or files prove, and `edition` counts how often rows were inserted among
    earlier ones. `timeframes`: of candles, what is known of each timeframe.
    """

    version: int = VERSION
    kind: str
    exchange: Exchange
    symbol: Symbol
    date: Date
    unit: Unit = field(default_factory=Unit)
    covered: list[Sequences] = field(default_factory=list)
    continues: bool = True
    watched: list[Range] = field(default_factory=list)
    until: Time | None = None
    gaps: list[ArchivedGap] = field(default_factory=list)
    update: Sequence | UnsetType | None = UNSET
    rows: list[int] | UnsetType = UNSET
    last: EndRow | UnsetType = UNSET
    added: list[AddedRange] = field(default_factory=list)
    edition: int = 0
    timeframes: dict[str, ProvenCandles] | UnsetType = UNSET

    @property
    def has_tape(self) -> bool:
        """Whether it says anything of the tape; a file of added rows alone does not."""
        return bool(self.covered or self.watched or self.gaps or self.until is not None)

    @staticmethod
    def of(day: FeedDay, **fields: object) -> FileMeta:
        """The metadata of a file of a day."""
        named = {"kind": day.kind, "exchange": day.exchange, "symbol": day.symbol, "date": day.date.isoformat()}
        return FileMeta(**named, **fields)  # type: ignore[arg-type]


def merge_covered(covered: list[Sequences]) -> list[Sequences]:
    """For each generation one range, from its first to its last message."""
    found: dict[int, Sequences] = {}
    for each in covered:
        before = found.get(each.generation, each)
        found[each.generation] = Sequences(each.generation, min(before.first, each.first), max(before.last, each.last))
    return [found[generation] for generation in sorted(found)]


def merge_added(added: Iterable[AddedRange]) -> list[AddedRange]:
    """The ranges of each source, joined where they touch; ascending."""
    found: dict[AddedSource, list[Range]] = {}
    for each in added:
        if each.since < each.until:
            found.setdefault(each.source, []).append(Range(each.since, each.until))
    joined = [
        AddedRange(since=since, until=until, source=source)
        for source, ranges in found.items()
        for since, until in merge(ranges)
    ]
    return sorted(joined, key=lambda each: (each.since, each.until, each.source))
