"""Removes the days of a stream's feeds that are older, or larger in all, than what is kept.

| subject | direction | what |
|---|---|---|
| `md.archived.<kind>.<exchange>.<token>` | publishes | Certificate, `removed`, right before a day is removed |

Every owner looks at all days of the kind, and removes those of its own feeds (docs/decisions/0043).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec
import nats.errors

from tickwire.archive.metrics import ArchiveMetrics
from tickwire.archive.open_days import OpenDays
from tickwire.archive.storage import Storage
from tickwire.archive.stream_feeds import StreamFeeds
from tickwire.archive_files import days as day_files
from tickwire.archive_files.layout import FeedDay, date_of
from tickwire.archive_files.removal import has_unmerged, remove_day, removed_of
from tickwire.archive_files.retention import Limits, StoredDay, stored_days, to_remove
from tickwire.archive_files.root import Root
from tickwire.bus.connection import Bus
from tickwire.errors import StorageError
from tickwire.model import subjects
from tickwire.model.messages.archive import Certificate
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.episodes import Episodes
from tickwire.process.backoff import Backoff
from tickwire.settings import ArchiveSettings

log = logs.get(__name__)

EVERY_S = 3600.0
"""How often days are looked for that have become too old."""
SHARE = 0.01
"""Most of the time that listing all files may take: an archive of years has millions."""
FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 600.0
"""Delays before it is tried again after a failure."""

MOST_FAILURES = 3
"""Days that cannot be removed before it is tried again later: the root may be away."""


class ListingPace:
    """When the files are listed again. Pure; times in s, by any clock that goes on."""

    def __init__(self) -> None:
        self._due = self._earliest = float("-inf")

    def is_due(self, now: float) -> bool:
        """Whether to list the files now."""
        return now >= max(self._due, self._earliest)

    def hurry(self) -> None:
        """Do it as soon as its cost allows."""
        self._due = self._earliest

    def listed(self, began: float, ended: float, after_s: float) -> None:
        """They were listed; do it again after so many seconds, or later if it took long."""
        self._due = ended + after_s
        self._earliest = ended + (ended - began) / SHARE


class Removing:
    """Retention for the feeds of one stream, for one owner."""

    def __init__(
        self, bus: Bus, feeds: StreamFeeds, storage: Storage, settings: ArchiveSettings, metrics: ArchiveMetrics
    ) -> None:
        self._limits = Limits(settings.keep_days.get(feeds.kind), settings.keep_bytes.get(feeds.kind))
        self._bus = bus
        self._feeds = feeds
        self._storage = storage
        self._metrics = metrics
        self._failures = Episodes(log, "archived days cannot be removed", most=100)
        self._backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S, at_once=False)
        self._pace = ListingPace()

    def day_closed(self) -> None:
        """A day was certified: an older one may have to make room, unless an attempt has just failed."""
        if not self._backoff.failures:
            self._pace.hurry()

    async def remove_due(
        self, days: OpenDays, confirm: Callable[[], Coroutine[Any, Any, None]], stop: asyncio.Event
    ) -> None:
        """Remove what is to be removed; `confirm` raises Fenced if another owner archives the stream."""
        if self._limits == Limits() or not self._pace.is_due(began := time.monotonic()):
            return
        check = self._storage.from_thread(confirm)
        failures = 0
        try:
            found = await self._storage.run(partial(planned, self._feeds, self._limits, now_ms()))
        except StorageError as error:
            self._failed(self._feeds.stream, error)
            found, failures = [], 1
        ended = time.monotonic()
        for stored in found:
            if stop.is_set() or failures == MOST_FAILURES:
                break
            try:
                if await self._remove(stored, check):
                    days.removed(stored.day)
            except StorageError as error:
                # Such as a certificate that is damaged: other days are not affected.
                self._failed(str(stored.day), error)
                failures += 1
        if failures:
            self._pace.listed(began, ended, self._backoff.next())
        else:
            self._backoff.worked()
            self._pace.listed(began, ended, EVERY_S)

    def _failed(self, what: str, error: StorageError) -> None:
        self._metrics.unremoved.inc()
        self._failures.occurs(what, of=what, reason=str(error))

    async def _remove(self, stored: StoredDay, check: Callable[[], None]) -> bool:
        """Say it, and remove a day; False if it got rows since that was planned. Raises StorageError, Fenced."""
        day = stored.day
        certificate = await self._storage.run(partial(_certificate_of, self._feeds.root, day, check))
        if certificate is None:
            return False
        said = msgspec.structs.replace(certificate, condition="removed")
        log.info("a day is removed from the archive", day=str(day), rows=said.rows, bytes=stored.bytes)
        try:
            await self._bus.publish(subjects.archived(day.kind, day.exchange, day.symbol), said)
        except nats.errors.Error as error:
            # The folder of the feed says it too.
            log.debug("a removal cannot be announced", day=str(day), error=repr(error))
        if not await self._storage.run(partial(remove_day, self._feeds.root, day, check)):
            return False
        self._metrics.removed.inc()
        self._metrics.removed_bytes.inc(stored.bytes)
        return True


def planned(feeds: StreamFeeds, limits: Limits, now: int) -> list[StoredDay]:
    """The days of these feeds to remove at `now` (ms), oldest first. Raises StorageError."""
    stored = stored_days(feeds.root.sizes(feeds.kind))
    chosen = {each.day for each in to_remove(stored, limits, date_of(now))}
    return [
        each
        for each in stored
        if feeds.has(each.day.feed) and (each.day in chosen or _is_half_removed(feeds.root, each))
    ]


def _is_half_removed(root: Root, stored: StoredDay) -> bool:
    """Whether somebody died between the removal of a day's file and that of its certificate."""
    if stored.has_data or not stored.is_certified:
        return False
    removed = removed_of(root, stored.day.feed)
    return removed is not None and removed.includes(stored.day.date)


def _certificate_of(root: Root, day: FeedDay, check: Callable[[], None]) -> Certificate | None:
    """The certificate of a day to remove; None if it got rows, `check` as in `remove_day`. Raises StorageError."""
    check()
    if has_unmerged(root, day):
        return None
    found = day_files.read_certificate(root, day)
    if found is None:
        raise StorageError(f"{day} has no certificate any more", "only the archive may write to its folder")
    return found
