"""Half-open ranges of time, `[since, until)` in integer milliseconds, and sets of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from tickwire.model.times import Bound

T = TypeVar("T")


class Range(NamedTuple):
    """`[since, until)`, ms epoch. In messages it is a JSON array of two numbers."""

    since: Bound
    until: Bound


def merge(ranges: Iterable[Range]) -> list[Range]:
    """The same times as ascending, disjoint, non-touching ranges; empty ranges are dropped."""
    merged: list[Range] = []
    for since, until in sorted(ranges):
        if until <= since:
            continue
        if merged and since <= merged[-1].until:
            merged[-1] = Range(merged[-1].since, max(merged[-1].until, until))
        else:
            merged.append(Range(since, until))
    return merged


def subtract(whole: Range, known: Iterable[Range]) -> list[Range]:
    """The parts of `whole` that are in none of `known`, ascending."""
    missing: list[Range] = []
    at = whole.since
    for since, until in merge(known):
        if since >= whole.until:
            break
        if since > at:
            missing.append(Range(at, since))
        at = max(at, until)
    if at < whole.until:
        missing.append(Range(at, whole.until))
    return missing


def labelled(ranges: Iterable[tuple[Range, T]]) -> list[tuple[Range, list[T]]]:
    """The same times as ascending, disjoint ranges, each with its labels in the order in which they were given.

    Touching ranges have other labels. Empty ranges are dropped.
    """
    given = [(span, label) for span, label in ranges if span.since < span.until]
    begins = [(span.since, True, number) for number, (span, _) in enumerate(given)]
    ends = [(span.until, False, number) for number, (span, _) in enumerate(given)]
    found: list[tuple[Range, list[T]]] = []
    present: set[int] = set()
    at = 0
    for time, is_begin, number in sorted([*begins, *ends]):
        if present and at < time:
            labels = list(dict.fromkeys(given[each][1] for each in sorted(present)))
            if found and found[-1][0].until == at and found[-1][1] == labels:
                found[-1] = Range(found[-1][0].since, time), labels
            else:
                found.append((Range(at, time), labels))
        (present.add if is_begin else present.discard)(number)
        at = time
    return found


def remove(ranges: Iterable[Range], gone: Range) -> list[Range]:
    """`ranges` without the times of `gone`, merged."""
    return merge(part for whole in ranges for part in subtract(whole, [gone]))


def clip(ranges: Iterable[Range], bounds: Range) -> list[Range]:
    """The parts of `ranges` within `bounds`, merged."""
    return merge(Range(max(r.since, bounds.since), min(r.until, bounds.until)) for r in ranges)


def common(one: Sequence[Range], other: Sequence[Range]) -> list[Range]:
    """The times that are in both; both are ascending and disjoint."""
    both: list[Range] = []
    i = j = 0
    while i < len(one) and j < len(other):
        since, until = max(one[i].since, other[j].since), min(one[i].until, other[j].until)
        if since < until:
            both.append(Range(since, until))
        if one[i].until < other[j].until:
            i += 1
        else:
            j += 1
    return both


def covers(ranges: Sequence[Range], whole: Range) -> bool:
    """Whether every time of `whole` is in one of `ranges`."""
    return not subtract(whole, ranges)
