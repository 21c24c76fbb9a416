"""What the archive's files have of one stream of the tape. All of it blocks: call it in a thread."""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

from tickwire.archive.checkpoint import Archived
from tickwire.archive_files import days
from tickwire.archive_files.layout import CERTIFICATE, ArchivedFeed, date_of_folder, feed_of_folder, is_unmerged
from tickwire.archive_files.reading import list_day
from tickwire.archive_files.removal import removed_of
from tickwire.archive_files.root import Root
from tickwire.errors import BadRequest, StorageError
from tickwire.model.feeds.layout import PARTITIONED, archived_kind
from tickwire.model.subjects import tape_partition_of
from tickwire.observe import logs

log = logs.get(__name__)

COVERED_DAYS = 3
"""Days with files of each feed, the newest ones, that may have the newest messages of the stream."""
QUIET_DAYS = 40
"""Days before the newest one of each feed that may have no file, and no certificate yet."""
UNPROVEN_DAYS = 3
"""Likewise, that may have been certified before the feed was declared complete beyond them."""


class LeftOpen(NamedTuple):
    """Days of a feed that are not closed, and its newest day with files.

    `unproven` are closed ones whose certificate does not say that the feed was followed up to their end.
    """

    feed: ArchivedFeed
    pending: list[date]
    newest: date
    unproven: list[date]


class StreamFeeds:
    """The feeds of a stream, one of `partitions`, that have files below a root."""

    def __init__(self, root: Root, stream: str, partitions: int) -> None:
        self.root = root
        self.stream = stream
        self.kind = archived_kind(stream)
        self._number = int(stream.rpartition("-")[2]) if self.kind in PARTITIONED else None
        self._partitions = partitions

    def archived(self, created: int) -> Archived:
        """How far the stream that was created at `created` (ms) is in files. Raises StorageError."""
        newest = Archived()
        for feed in self._feeds():
            for each in days.dates_of(self.root, feed)[-COVERED_DAYS:]:
                for meta in list_day(self.root, feed.on(each)).metas:
                    for covered in meta.covered:
                        if covered.generation >= created:
                            newest = max(newest, Archived(covered.generation, covered.last))
        return newest

    def left_open(self) -> list[LeftOpen]:
        """For each feed the days that have parts, or no certificate, also those without files. Raises StorageError."""
        found = []
        for feed in self._feeds():
            names = self._names(feed)
            dates = sorted(names)
            pending = [each for each in dates if CERTIFICATE not in names[each] or any(map(is_unmerged, names[each]))]
            if dates:
                pending = sorted([*pending, *self._quiet(feed, dates)])
                closed = [each for each in dates[-UNPROVEN_DAYS:] if each not in pending]
                unproven = [each for each in closed if not self._is_followed_to_its_end(feed, each)]
                found.append(LeftOpen(feed, pending, dates[-1], unproven))
        return found

    def has(self, feed: ArchivedFeed) -> bool:
        """Whether a feed is one of the stream."""
        if feed.kind != self.kind:
            return False
        return self._number in (None, tape_partition_of(feed.exchange, feed.symbol, self._partitions))

    def _names(self, feed: ArchivedFeed) -> dict[date, list[str]]:
        """The names of the files of each day of a feed; an empty folder, left of a removed day, is none.

        In one listing: a store takes as long for a thousand files as for one day.
        """
        found: dict[date, list[str]] = {}
        for path, _ in self.root.sizes(feed.folder):
            folder, _, name = path.rpartition("/")
            if (day := date_of_folder(folder.rpartition("/")[2])) is not None:
                found.setdefault(day, []).append(name)
        return found

    def _quiet(self, feed: ArchivedFeed, dates: list[date]) -> list[date]:
        """Newer days without any file between days that have some: nothing traded, and they were not closed yet."""
        try:
            removed, known, newest = removed_of(self.root, feed), set(dates), dates[-1]
        except StorageError as error:
            # Those who read the feed are told; it must not keep other days from being closed.
            log.warning("which days were removed cannot be read", feed=str(feed), reason=str(error))
            return []
        first = max(dates[0], newest - timedelta(days=QUIET_DAYS))
        between = (first + timedelta(days=number) for number in range((newest - first).days))
        return [each for each in between if each not in known and not (removed and removed.includes(each))]

    def _is_followed_to_its_end(self, feed: ArchivedFeed, day: date) -> bool:
        """Whether the certificate of a day says so; also if there is none."""
        try:
            made = days.read_certificate(self.root, feed.on(day))
        except StorageError as error:
            # Those who read the day are told; it must not keep other days from being closed.
            log.warning("the certificate of a day cannot be read", day=str(feed.on(day)), reason=str(error))
            return True
        return made is None or bool(made.watched and made.watched[-1].until >= feed.on(day).span.until)

    def _feeds(self) -> list[ArchivedFeed]:
        return [each for each in feeds_of(self.root, self.kind) if self.has(each)]


def feeds_of(root: Root, kind: str) -> list[ArchivedFeed]:
    """Every feed of a kind with files. Raises StorageError."""
    found = []
    for exchange in root.names(kind):
        for symbol in root.names(f"{kind}/{exchange}"):
            try:
                found.append(feed_of_folder(f"{kind}/{exchange}/{symbol}"))
            except BadRequest:
                # A folder of somebody else's.
                continue
    return found
