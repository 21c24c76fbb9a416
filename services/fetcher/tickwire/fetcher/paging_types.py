"""Types of paging: what is requested, what is known of the exchange, what a page proves, what was refused. No I/O."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from tickwire.fetcher.page_rows import PageRows, Volumes
from tickwire.model.messages import Row, VolumeUnit
from tickwire.model.ranges import Range, merge


@dataclass(frozen=True)
class PagingFacts:
    """How an exchange answers requests for candles, as far as its profile declares it.

    - `limit`: candles of the largest page.
    - `timeframes`: those that the exchange offers.
    - `honours_since`: an answer begins with the first candle at or after `since`.
    - `windowed`: an answer has only candles of the time of one page from `since` on.
    - `newest_rows`: the exchange keeps only so many candles, its newest; None where it is not declared.
    - `quiet_rows`: an interval without a trade has a row, so an absent row is a defect of the answer.
    """

    limit: int
    timeframes: frozenset[str] = frozenset()
    honours_since: bool = False
    windowed: bool = False
    newest_rows: int | None = None
    quiet_rows: bool = False

    def __post_init__(self) -> None:
        if self.limit < 2:
            raise ValueError("a page has at least two candles")


@dataclass(frozen=True)
class PageRequest:
    """A request for at most `limit` candles of `timeframe` that open in `[since, until)` (ms).

    Without `since` it is for the newest candles. `until` is set for exchanges that answer with the newest candles after
    `since` unless the request has an end.
    """

    timeframe: str
    since: int | None
    limit: int
    until: int | None = None


@dataclass(frozen=True)
class ProvenPage:
    """`rows` are all candles that open in `[since, until)`. The other fields are those of `messages.CandlePage`."""

    since: int
    until: int
    rows: list[Row]
    volume_unit: VolumeUnit | None = None
    settled: int | None = None
    opens_at: int | None = None


@dataclass(frozen=True)
class RefusedRequest:
    """The exchange refused a request. `for_good`: it does not answer requests for larger timeframes at all."""

    reason: str
    for_good: bool = False


@dataclass(frozen=True)
class RefusedRange:
    """`[since, until)` is missing because the exchange refused to serve it, or the cache to store it."""

    since: int
    until: int
    reason: str


Reply: TypeAlias = PageRows | Volumes | RefusedRequest
"""The reply to a PageRequest: PageRows of the key's own timeframe, Volumes of a larger one, or a refusal."""

T = TypeVar("T")
Steps: TypeAlias = Generator[PageRequest, Reply, T]
"""A part of the pager: yields requests, is sent their replies, returns its result."""


def merge_refused(refused: Iterable[RefusedRange]) -> list[RefusedRange]:
    """Merge adjacent and overlapping ranges that were refused for the same reason."""
    by_reason: dict[str, list[Range]] = {}
    for each in refused:
        by_reason.setdefault(each.reason, []).append(Range(each.since, each.until))
    return [RefusedRange(*part, reason) for reason, ranges in by_reason.items() for part in merge(ranges)]
