"""What of a range may be missing in the archive, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from tickwire.archive_files.certificate import gap_times
from tickwire.archive_files.layout import DAY_MS, begin_of
from tickwire.archive_files.removal import REASON
from tickwire.model.feeds import Gap
from tickwire.model.messages.archive import Certificate
from tickwire.model.ranges import Range, clip, labelled, merge, subtract

NOT_ARCHIVED = "not archived"


@dataclass(frozen=True)
class Missing:
    """A range of time (ms) of which trades may be missing in the archive, and why."""

    since: int
    until: int
    reason: str

    @property
    def as_gap(self) -> Gap:
        """As feeds have it: a bound is exclusive, but where it is followed by an id."""
        return Gap(since=max(-1, self.since - 1), until=self.until, reason=self.reason)


def missing(found: Sequence[Certificate], span: Range, beyond: int | None = None) -> list[Missing]:
    """What of a range (ms) may be missing by the certificates of its days: in order, each time once.

    With `beyond` (ms) gaps up to that time are listed, too.
    """
    end = span.until if beyond is None else beyond
    watched = [each for day in found for each in day.watched]
    removed = clip(merge([_span(day) for day in found if day.condition == "removed"]), span)
    ranges = [(each, REASON) for each in removed]
    for day in found:
        for gap in day.gaps:
            times = gap_times(gap)
            ranges.append((Range(max(times.since, span.since), min(times.until, end)), gap.reason))
    known = merge([*watched, *(each for each, _ in ranges)])
    ranges += [(each, NOT_ARCHIVED) for each in subtract(span, known)]
    return _once(ranges)


def with_removed(missing: Iterable[Missing], removed: Iterable[Range]) -> list[Missing]:
    """What is missing, and days (ms) that were removed since that was requested; in order, each time once."""
    found = [(Range(each.since, each.until), each.reason) for each in missing]
    known = merge(span for span, reason in found if reason == REASON)
    return _once([*found, *((part, REASON) for span in removed for part in subtract(span, known))])


def _once(ranges: Iterable[tuple[Range, str]]) -> list[Missing]:
    """Each time once, with all reasons that are given for it."""
    return [Missing(*span, "; ".join(reasons)) for span, reasons in labelled(ranges)]


def in_turn(gaps: list[Missing], removed: Sequence[Range]) -> list[Missing]:
    """Gaps, the next one last, with those of days that were removed meanwhile."""
    return with_removed(gaps, removed)[::-1] if removed else gaps


def _span(day: Certificate) -> Range:
    since = begin_of(date.fromisoformat(day.date))
    return Range(since, since + DAY_MS)
