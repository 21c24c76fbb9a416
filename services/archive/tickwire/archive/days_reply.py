"""Answers `archive.days`: the certificates of a feed's days, in chunks. Blocks: call it in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from tickwire.archive.stream_feeds import feeds_of
from tickwire.archive_files import days
from tickwire.archive_files.layout import DAY_MS, ArchivedFeed, Through, begin_of
from tickwire.archive_files.removal import removed_of
from tickwire.archive_files.root import Root
from tickwire.errors import NotArchived
from tickwire.model.messages.archive import Certificate
from tickwire.model.messages.archiving import ArchivedDays, DaysRequest
from tickwire.model.nearest import markets_like

CHUNK_DAYS = 100
"""Days of one message: a certificate has about 3 KiB, and more only with many gaps or ranges."""


def chunks(root: Root, request: DaysRequest, through: Through | None = None) -> Iterator[ArchivedDays]:
    """The chunks of the reply, without parts of messages after `through`.

    Raises NotArchived if the feed has no files, StorageError, BadRequest.
    """
    feed = ArchivedFeed(request.kind, request.exchange, request.symbol)
    dates = archived_dates(root, feed)
    # Days before the first and after the last one with files, or that had some, are not listed: there are none.
    first, end = begin_of(dates[0]), begin_of(dates[-1]) + DAY_MS
    since = first if request.since is None else max(first, request.since)
    until = end if request.until is None else min(end, request.until)
    number = 0
    while True:
        later = min(until, since - since % DAY_MS + CHUNK_DAYS * DAY_MS)
        found: list[Certificate] = days.days(root, feed, since, later, through)
        yield ArchivedDays(days=found, chunk=number, more=later < until)
        if later >= until:
            return
        since, number = later, number + 1


def archived_dates(root: Root, feed: ArchivedFeed) -> list[date]:
    """The days of a feed that have files, and the ends of those that had some.

    Raises NotArchived, which names similar feeds, if there are none; StorageError, BadRequest.
    """
    dates = days.dates_of(root, feed)
    if (removed := removed_of(root, feed)) is not None:
        dates = sorted({*dates, date.fromisoformat(removed.first), date.fromisoformat(removed.last)})
    if not dates:
        raise _not_archived(root, feed)
    return dates


def _not_archived(root: Root, feed: ArchivedFeed) -> NotArchived:
    like = markets_like(
        feed.exchange, feed.symbol, [(each.exchange, each.symbol) for each in feeds_of(root, feed.kind)]
    )
    remedy = f"archived are {like}" if like else "nothing is archived yet; days appear once trades come"
    return NotArchived(f"{feed} is not archived", remedy)
