"""What the archive knows of a day of a feed: its certificate."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from tickwire.model.numbers import Total
from tickwire.model.ranges import Range
from tickwire.model.subjects import Exchange, Symbol
from tickwire.model.times import Bound, Count, Time

Date = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
"""A day in UTC, `2026-03-27`."""
Condition = Literal["complete", "gaps", "partial", "missing", "open", "removed"]


class ArchivedGap(Struct, frozen=True, kw_only=True):
    """Rows that are missing: those after `since`/`after_id` and before `until`/`before_id` (ms), all exclusive.

    A row at the very time of a bound may be missing too where that bound has an id. `since` is null in a part if it is
    not known; a certificate has both bounds, within its day.
    """

    since: Bound | None
    until: Bound | None
    after_id: str | None = None
    before_id: str | None = None
    reason: str = ""


AddedSource = Literal["history", "file"]
"""Where rows that are not of the tape are from: the venue's REST history, or a file that the venue publishes."""


class AddedRange(Struct, frozen=True, kw_only=True):
    """Every row in `[since, until)` (ms) was added from a source, or was there."""

    since: Time
    until: Time
    source: AddedSource


class EndRow(Struct, frozen=True, kw_only=True):
    """The first or the last row of a day, in the order of the file."""

    timestamp: Time
    id: str | None = None


class HourTotals(Struct, frozen=True, kw_only=True):
    """Sums of an hour: `amount` as the exchange says it, `quote_amount` in quote currency, null if not known."""

    rows: Count = 0
    amount: Total = 0.0
    quote_amount: float | None = None


class Certificate(Struct, frozen=True, kw_only=True):
    """`day.json` beside a day's file, `md.archived.<kind>.<exchange>.<token>`, and an item of `archive.days`.

    `complete`: watched over the whole day, and no row is missing. `gaps`: watched over all of it but for named gaps.
    `partial`: not watched from its begin to its end. `missing`: nothing of it was watched, or all of it is in gaps, and
    there are no rows. `open`: rows or gaps came after the last certificate, or there is none; the fields are as far as
    they are known. `removed`: certified once, and removed since, as its age or size was beyond what is kept; this is
    announced right before, with the rows and bytes that are removed.

    `version` counts the certificates of the day, which late rows open again; 0 if it has none. `rows` are those that
    came `live`, by `rest` (fetched after an interruption), as `history` (fetched later), and `imported` (from a file of
    the venue) together. `watched` are the ranges of the day in which the feed was followed, or that history or files
    prove; `added` are these. `sha256` and `bytes` are of `file`. `hours` are the 24 hours of the day in UTC. `made` is
    when it was written (ms).
    """

    kind: str
    exchange: Exchange
    symbol: Symbol
    date: Date
    condition: Condition
    version: Count = 0
    rows: Count = 0
    live: Count = 0
    rest: Count = 0
    history: Count = 0
    imported: Count = 0
    first: EndRow | None = None
    last: EndRow | None = None
    watched: list[Range] = field(default_factory=list)
    gaps: list[ArchivedGap] = field(default_factory=list)
    added: list[AddedRange] = field(default_factory=list)
    file: str = ""
    sha256: str = ""
    bytes: Count = 0
    hours: list[HourTotals] = field(default_factory=list)
    made: Time = 0
