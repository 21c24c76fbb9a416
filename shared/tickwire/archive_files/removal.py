"""Removes days of the archive. Blocks, and raises StorageError.

`removed.json` in the folder of a feed has the first and the last day that was removed. It is written before anything is
removed: a day between them without its file was removed, whatever a crash has left of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from msgspec import Struct

from tickwire.archive_files.layout import DATA, ArchivedFeed, FeedDay, date_of, is_unmerged
from tickwire.archive_files.root import Absent, Root, read, write
from tickwire.errors import BadRequest, StorageError
from tickwire.model import messages
from tickwire.model.messages.archive import ArchivedGap, Date
from tickwire.model.ranges import Range, clip, merge

NAME = "removed.json"
REASON = "removed from the archive"
"""Of gaps where trades were removed."""


class Removed(Struct, frozen=True, kw_only=True):
    """The first and the last day of a feed that was removed. A day between them that has its file is there."""

    first: Date
    last: Date

    def includes(self, day: date) -> bool:
        """Whether a day is between them."""
        return self.first <= day.isoformat() <= self.last


def removed_of(root: Root, feed: ArchivedFeed) -> Removed | None:
    """Which days of a feed were removed; None if none was."""
    path = f"{feed.folder}/{NAME}"
    try:
        return messages.decode(read(root, path), Removed)
    except Absent:
        return None
    except BadRequest as error:
        raise StorageError(f"{path}: {error.message}", "remove it: removed days are then missing") from error


def was_removed(root: Root, day: FeedDay) -> bool:
    """Whether the file that a day had was removed, or may have been."""
    found = removed_of(root, day.feed)
    return found is not None and found.includes(day.date)


def removed_between(root: Root, feed: ArchivedFeed, span: Range) -> list[Range]:
    """The days that were removed, as far as they are in a range (ms)."""
    if span.since >= span.until or (removed := removed_of(root, feed)) is None:
        return []
    first = max(date_of(span.since), date.fromisoformat(removed.first))
    last = min(date_of(span.until - 1), date.fromisoformat(removed.last))
    days = (feed.on(first + timedelta(days=number)) for number in range((last - first).days + 1))
    return clip(merge(each.span for each in days if DATA not in root.names(each.folder)), span)


def gap_of(day: FeedDay) -> ArchivedGap:
    """The gap that a removed day is where late rows of it are archived."""
    return ArchivedGap(since=day.span.since - 1, until=day.span.until, reason=REASON)


def has_unmerged(root: Root, day: FeedDay) -> bool:
    """Whether a day has rows that its certificate does not speak of."""
    return any(map(is_unmerged, root.names(day.folder)))


def remove_day(root: Root, day: FeedDay, check: Callable[[], None]) -> bool:
    """Remove a day: its file, then its certificate; False if it got rows, and is to be closed first.

    Repeatable at any step. `check` raises if the caller must not write any more.
    """
    if has_unmerged(root, day):
        return False
    # As in `close_day`: a former owner puts back no older record.
    root.sweep(day.feed.folder, 0)
    before, date_ = removed_of(root, day.feed), day.date.isoformat()
    first, last = (before.first, before.last) if before else (date_, date_)
    now = Removed(first=min(first, date_), last=max(last, date_))
    if now != before:
        write(root, f"{day.feed.folder}/{NAME}", messages.encode(now) + b"\n", check)
    check()
    root.remove(day.data)
    check()
    root.remove(day.certificate)
    root.remove_folder(day.folder)
    return True
