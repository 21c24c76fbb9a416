"""What the files of a day prove: where the feed was followed, what is missing, the condition of the day. Pure.

Files are in the order of the tape. A chain is an unbroken run of messages of a feed that were all read: as long as a
file `continues` the one before, every row between them is in the archive or in a gap, also where no file was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from tickwire.archive_files.file_meta import FileMeta
from tickwire.model.messages.archive import AddedRange, ArchivedGap, Condition, EndRow
from tickwire.model.ranges import Range, clip, covers, merge, subtract
from tickwire.model.times import LATEST_MS


class Neighbours(NamedTuple):
    """The files of the nearest days with files, before and after a day; None if there is no such day."""

    before: Sequence[FileMeta] | None = None
    after: Sequence[FileMeta] | None = None


class Reached(NamedTuple):
    """The end of a chain: the time (ms) before which every row is there, and its last row; None if not known."""

    until: int | None
    last: EndRow | None = None


class Watched(NamedTuple):
    """What was followed of a day, and what of it is missing; gaps have both bounds and are within the day."""

    ranges: list[Range]
    gaps: list[ArchivedGap]
    beyond: list[Range]
    """The ranges from the begin of the day, as far as files tell, also beyond its end."""
    until: int | None
    """Up to when (ms) the last chain of the day's files reaches; None if there is none."""
    whole_gaps: list[ArchivedGap]
    """The same gaps, also beyond the day: a day that is closed later may have no other file that tells of them."""


NOTHING = Watched([], [], [], None, [])
"""Of a day without files."""


def watched(files: Sequence[FileMeta], span: Range, neighbours: Neighbours, until: int | None) -> Watched:
    """What the files of a day, of `span` (ms), and its neighbours prove.

    `until` (ms): every row of the feed before it is in files that are written, or in a gap. It counts only if no later
    day has files.
    """
    if neighbours.before is None:
        # Earlier days may have been removed; without any file nothing was followed.
        earlier, begun = list[Range](), Reached(span.since if files else None)
    else:
        earlier, _, begun = _followed(neighbours.before, Reached(0))
    own, gaps, end = _followed(files, begun)
    at = end.until
    reached = at if files else None
    if neighbours.after:
        if neighbours.after[0].continues and at is not None:
            own.append(Range(at, max(at, span.until)))
        for index, each in enumerate(neighbours.after):
            gaps += [bounded(gap, end) for gap in each.gaps if gap.since is not None or (index == 0 and at is not None)]
    elif until is not None and at is not None:
        own.append(Range(at, max(at, min(until, span.until))))
    beyond = clip([*earlier, *own], Range(span.since, LATEST_MS))
    whole = _of_day(gaps, span)
    return Watched(clip(beyond, span), _within(whole, span), beyond, reached, whole)


def with_added(found: Watched, span: Range, added: Iterable[AddedRange]) -> Watched:
    """What is proven of a day, of `span` (ms), where these ranges were added to what the tape had."""
    proven = merge(Range(each.since, each.until) for each in added)
    if not proven:
        return found
    gaps = [part for gap in found.gaps for part in _left_of(gap, span, proven)]
    return found._replace(ranges=clip([*found.ranges, *proven], span), gaps=gaps)


def _left_of(gap: ArchivedGap, span: Range, proven: Sequence[Range]) -> list[ArchivedGap]:
    """The parts of a gap of a day in which rows may still be missing."""
    times = gap_times(gap)
    inside = Range(max(times.since, span.since), min(times.until, span.until))
    left = subtract(inside, proven)
    if left == [inside]:
        return [gap]
    return [ArchivedGap(since=each.since - 1, until=each.until, reason=gap.reason) for each in left]


def tape_proven(found: Watched) -> list[Range]:
    """The times (ms) of a day of which the tape has every row: it was followed, and there is no gap."""
    in_gaps = [gap_times(gap) for gap in found.gaps]
    return merge(part for each in found.ranges for part in subtract(each, in_gaps))


def _followed(files: Iterable[FileMeta], end: Reached) -> tuple[list[Range], list[ArchivedGap], Reached]:
    """Ranges and gaps of files in a row, and the end of their last chain; `end` is that of the one before."""
    ranges, gaps, (at, last) = [], [], end
    for each in files:
        if not each.continues:
            at = last = None
        gaps += [bounded(gap, Reached(at, last)) for gap in each.gaps]
        for index, (since, until) in enumerate(each.watched):
            joined = at is not None and index == 0
            since = min(at, since) if joined and at is not None else since
            ranges.append(Range(since, until))
            at = max(at or 0, until)
        if each.until is not None:
            at = max(at or 0, each.until)
        last = last if each.last is UNSET else each.last
    return ranges, gaps, Reached(at, last)


def bounded(gap: ArchivedGap, end: Reached) -> ArchivedGap:
    """A gap without begin begins at the end of what is before it, but not after its own end."""
    at, last = end
    if gap.since is not None:
        return gap
    if last is not None and last.timestamp >= (at or 0) and (gap.until is None or last.timestamp <= gap.until):
        # A bound is exclusive, but where it is followed by an id.
        return msgspec.structs.replace(gap, since=last.timestamp - (last.id is None), after_id=last.id)
    if at is None:
        return gap
    return msgspec.structs.replace(gap, since=max(-1, at - 1 if gap.until is None else min(at, gap.until) - 1))


def _of_day(gaps: Iterable[ArchivedGap], span: Range) -> list[ArchivedGap]:
    """The gaps that reach into a day, each once, ascending; a bound that is not known is that of the day."""
    found = []
    for gap in dict.fromkeys(gaps):
        times = gap_times(gap)
        if times.since < span.until and times.until > span.since:
            since = span.since - 1 if gap.since is None else gap.since
            until = span.until if gap.until is None else gap.until
            found.append(msgspec.structs.replace(gap, since=since, until=until))
    return sorted(dict.fromkeys(found), key=_order)


def _within(gaps: Iterable[ArchivedGap], span: Range) -> list[ArchivedGap]:
    """The parts of gaps of a day within it, each once, ascending."""
    found = []
    for gap in gaps:
        assert gap.since is not None
        assert gap.until is not None
        # A bound on another day has no row of this one.
        begins_before, ends_after = gap.since < span.since - 1, gap.until > span.until
        inside = msgspec.structs.replace(
            gap,
            since=span.since - 1 if begins_before else gap.since,
            until=span.until if ends_after else gap.until,
            after_id=None if begins_before else gap.after_id,
            before_id=None if ends_after else gap.before_id,
        )
        found.append(inside)
    return sorted(dict.fromkeys(found), key=_order)


def _order(gap: ArchivedGap) -> tuple[int, int | None]:
    return gap_times(gap).since, gap.until


def gap_times(gap: ArchivedGap) -> Range:
    """The times, ms, at which rows of a gap may be missing; those of an unknown bound begin at 0 or never end."""
    since = 0 if gap.since is None else gap.since if gap.after_id is not None else gap.since + 1
    if gap.until is None:
        return Range(since, 1 << 62)
    return Range(since, max(since + 1, gap.until + 1 if gap.before_id is not None else gap.until))


def condition(found: Watched, span: Range, rows: int) -> Condition:
    """The condition of a day; see Certificate."""
    if not rows and not tape_proven(found):
        return "missing"
    if not covers(found.ranges, span):
        return "partial"
    return "gaps" if found.gaps else "complete"
