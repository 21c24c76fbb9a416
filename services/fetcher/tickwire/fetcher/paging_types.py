"""The words of paging: what is asked, what is known of the venue, what an answer proved or refused. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tickwire.model.messages import Row, VolumeUnit
from tickwire.model.ranges import Range, merge


@dataclass(frozen=True)
class PagingFacts:
    """How a venue answers requests for candles, as far as it is known.

    `limit` is the largest page. `honoured`: its profile says that an answer begins with the first candle at or after
    `since`. `newest`: how many of the newest candles are all there is, where its profile says so. `flat`: its profile
    says that an interval without a trade is a row, so that one which is absent is something else: a hole of the venue.
    """

    limit: int
    timeframes: frozenset[str] = frozenset()
    honoured: bool = False
    newest: int | None = None
    flat: bool = False

    def __post_init__(self) -> None:
        if self.limit < 2:
            raise ValueError("a page has at least two candles")


@dataclass(frozen=True)
class PageRequest:
    """A request for at most `limit` candles of `timeframe` that open in `[since, until)` (ms).

    Without `since`, for the newest. With `until`, the request has to say it: without, the venue gave only newer ones.
    """

    timeframe: str
    since: int | None
    limit: int
    until: int | None = None


@dataclass(frozen=True)
class ProvenPage:
    """`rows` are all candles that open in `[since, until)`; the others are as in `messages.CandlePage`, once known."""

    since: int
    until: int
    rows: list[Row]
    volume_unit: VolumeUnit | None = None
    settled: int | None = None
    opens_at: int | None = None


@dataclass(frozen=True)
class RefusedRequest:
    """What the exchange refused to answer, in its words. `lasting`: smaller and other requests of the kind as well."""

    words: str
    lasting: bool = False


@dataclass(frozen=True)
class RefusedRange:
    """`[since, until)` is missing because the exchange refused to give it, or the cache to store it."""

    since: int
    until: int
    words: str


def together(refusals: Iterable[RefusedRange]) -> list[RefusedRange]:
    """The same, with ranges that touch and were refused for one reason as one."""
    by_words: dict[str, list[Range]] = {}
    for each in refusals:
        by_words.setdefault(each.words, []).append(Range(each.since, each.until))
    return [RefusedRange(*part, words) for words, ranges in by_words.items() for part in merge(ranges)]
