"""Which days of a feed are to be closed, and when. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from tickwire.archive_files.layout import ArchivedFeed, FeedDay, date_of
from tickwire.process.backoff import Backoff

FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 600.0
"""Delays before a day that could not be closed is tried again."""
MORE_MS = 60_000
"""How long after rows were added to a day it is closed, unless it is closed by request."""


@dataclass
class _Days:
    """The days of one feed."""

    until: int = 0
    """Every row before it (ms) is in files or in a gap; 0 if that is not known."""
    pending: set[date] = field(default_factory=set)
    """Days with files that no certificate speaks of."""
    unproven: set[date] = field(default_factory=set)
    """Days that were closed before the feed was declared complete beyond them."""
    following: date | None = None
    """The day after the last one that is pending or was, but for later ones that have parts already: days in between,
    without rows, come first."""


@dataclass
class _Wait:
    """A day that is not closed before `at` (ms)."""

    at: int
    backoff: Backoff


class OpenDays:
    """The days of the feeds of one partition that are not closed.

    A day has ended once its feed is declared complete beyond its end, or `certify_after_ms` after that end. A day that
    was closed and gets late rows is closed again, but no sooner than `certify_after_ms` after the last time.
    """

    def __init__(self, certify_after_ms: int) -> None:
        self._certify_after_ms = certify_after_ms
        self._feeds: dict[ArchivedFeed, _Days] = {}
        self._waits: dict[FeedDay, _Wait] = {}

    def __len__(self) -> int:
        return sum(len(each.pending) for each in self._feeds.values())

    def until(self, feed: ArchivedFeed) -> int | None:
        """Every row of a feed before it (ms) is in files or in a gap; None if that is not known."""
        return self._of(feed).until or None

    def declared(self, feed: ArchivedFeed, until: int) -> None:
        """Every row of a feed before `until` (ms) is in files that are written, or in a gap."""
        days = self._of(feed)
        days.until = max(days.until, until)
        proven = {each for each in days.unproven if each < date_of(days.until)}
        days.unproven -= proven
        days.pending |= proven

    def written(self, day: FeedDay) -> None:
        """A day has a part."""
        days = self._of(day.feed)
        days.pending.add(day.date)
        if days.following is None:
            days.following = day.date + timedelta(days=1)

    def added(self, day: FeedDay, now: int) -> None:
        """A day got rows at `now` (ms) that are not of the tape: more may follow soon."""
        self._of(day.feed).pending.add(day.date)
        wait = self._waits.get(day)
        self._waits[day] = _Wait(max(now + MORE_MS, wait.at if wait else 0), Backoff(FIRST_RETRY_S, LONGEST_RETRY_S))

    def found(self, feed: ArchivedFeed, pending: Iterable[date], newest: date, unproven: Iterable[date] = ()) -> None:
        """Days of a feed that were found not to be closed, or closed without proof; the newest one that has files."""
        days = self._of(feed)
        days.pending.update(pending)
        days.unproven.update(unproven)
        following = newest + timedelta(days=1)
        days.following = max(days.following or following, following)

    def due(self, now: int) -> list[FeedDay]:
        """The days to close at `now` (ms), those of a feed in order. Days without rows are among them."""
        due = []
        by_time = date_of(max(0, now - self._certify_after_ms))
        for feed, days in self._feeds.items():
            # Nothing is declared beyond the clock.
            declared = date_of(min(days.until, now))
            while days.following is not None and days.following < declared:
                days.pending.add(days.following)
                days.following += timedelta(days=1)
            ended = (feed.on(each) for each in sorted(days.pending) if each < max(declared, by_time))
            due += [day for day in ended if day not in self._waits or self._waits[day].at <= now]
        return due

    def closed(self, day: FeedDay, now: int) -> None:
        """A day was closed at `now` (ms)."""
        days = self._of(day.feed)
        days.pending.discard(day.date)
        if day.date >= date_of(days.until):
            days.unproven.add(day.date)
        self._waits[day] = _Wait(now + self._certify_after_ms, Backoff(FIRST_RETRY_S, LONGEST_RETRY_S))
        for each in [each for each, wait in self._waits.items() if wait.at <= now]:
            if each.date not in self._of(each.feed).pending:
                del self._waits[each]

    def removed(self, day: FeedDay) -> None:
        """A day that was closed has no files any more: it is not closed again, unless late rows come."""
        days = self._of(day.feed)
        days.pending.discard(day.date)
        days.unproven.discard(day.date)
        self._waits.pop(day, None)

    def failed(self, day: FeedDay, now: int) -> None:
        """A day could not be closed at `now` (ms)."""
        wait = self._waits.get(day)
        backoff = wait.backoff if wait else Backoff(FIRST_RETRY_S, LONGEST_RETRY_S, at_once=False)
        self._waits[day] = _Wait(now + int(backoff.next() * 1000), backoff)

    def _of(self, feed: ArchivedFeed) -> _Days:
        return self._feeds.setdefault(feed, _Days())
