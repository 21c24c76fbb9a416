"""Closes the days of a stream's feeds that have ended, and announces their certificates.

| subject | direction | what |
|---|---|---|
| `md.archived.<kind>.<exchange>.<token>` | publishes | Certificate, each time that a day is certified |
| `$JS.API.STREAM.MSG.GET.<stream>` | requests | after a takeover: up to when a feed was declared complete |
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import nats.errors

from tickwire.archive.metrics import ArchiveMetrics
from tickwire.archive.open_days import OpenDays
from tickwire.archive.rounds import declared_by, declares
from tickwire.archive.storage import Storage
from tickwire.archive.stream_feeds import StreamFeeds
from tickwire.archive_files import days as day_files
from tickwire.archive_files.layout import ArchivedFeed, FeedDay
from tickwire.bus.connection import Bus
from tickwire.errors import BadRequest, StorageError
from tickwire.model import subjects
from tickwire.model.messages.archive import Certificate
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.episodes import Episodes
from tickwire.process.gathering import gathered
from tickwire.settings import ArchiveSettings
from tickwire.tape.layout import layout_of
from tickwire.tape.sequence import previous_of
from tickwire.tape.writer import last_message, message_at

log = logs.get(__name__)

LONGEST_S = 60.0
"""How long days are closed before the next round is written: hundreds of each feed are due after a stop of months, and
meanwhile messages expire."""
AT_ONCE = 16
"""Feeds whose messages are read back at the same time."""
READ_BACK = 500
"""Messages of a feed that are read back to find the last one that declares the feed complete."""


class DayClosing:
    """The days of one stream's feeds, for one owner."""

    def __init__(
        self, bus: Bus, feeds: StreamFeeds, storage: Storage, settings: ArchiveSettings, metrics: ArchiveMetrics
    ) -> None:
        self.days = OpenDays(int(settings.certify_after_s * 1000))
        self.is_behind = False
        """Whether further days were due when `close_due` returned."""
        self._bus = bus
        self._feeds = feeds
        self._storage = storage
        self._metrics = metrics
        self._failures = Episodes(log, "a day cannot be closed", most=100)

    async def find_open(self, done: int) -> bool:
        """Find the days that earlier owners have left open; False if the root cannot be read, which is tried again.

        Messages of the stream up to `done` are in files.
        """
        try:
            found = await self._storage.run(self._feeds.left_open)
        except StorageError as error:
            log.info("open days cannot be looked for yet", stream=self._feeds.stream, reason=str(error))
            return False
        for each in found:
            self.days.found(each.feed, each.pending, each.newest, each.unproven)
            known = self.days.until(each.feed)
            if known is not None:
                # What is declared since the takeover proves days that are only known now.
                self.days.declared(each.feed, known)
        asked = [each.feed for each in found if self.days.until(each.feed) is None and (each.pending or each.unproven)]
        untils = await gathered(asked, partial(self._declared, done), AT_ONCE)
        for feed, until in zip(asked, untils, strict=True):
            self.days.declared(feed, until)
        return True

    async def close_due(self, confirm: Callable[[], Coroutine[Any, Any, None]], stop: asyncio.Event) -> bool:
        """Close the days that have ended, for LONGEST_S at most; whether there was one.

        `confirm` raises Fenced if another owner archives the stream.
        """
        closed = self.is_behind = False
        check, began = self._storage.from_thread(confirm), time.monotonic()
        for number, day in enumerate(self.days.due(now_ms())):
            self.is_behind = number > 0 and time.monotonic() - began >= LONGEST_S
            if stop.is_set() or self.is_behind:
                break
            try:
                await self._close(day, check)
            except (StorageError, BadRequest):
                # The files of other days are not affected.
                continue
            closed = True
        return closed

    async def close(self, day: FeedDay, confirm: Callable[[], Coroutine[Any, Any, None]]) -> Certificate:
        """Close a day that has ended now; `confirm` as in `close_due`. Raises StorageError, BadRequest, Fenced."""
        return await self._close(day, self._storage.from_thread(confirm))

    async def _close(self, day: FeedDay, check: Callable[[], None]) -> Certificate:
        call = partial(day_files.close_day, self._feeds.root, day, self.days.until(day.feed), check)
        try:
            made = await self._storage.run(call)
        except (StorageError, BadRequest) as error:
            self._metrics.unclosed.inc()
            self._failures.occurs(str(day), day=str(day), reason=str(error))
            self.days.failed(day, now_ms())
            raise
        self.days.closed(day, now_ms())
        await self._announce(day, made)
        return made

    async def _declared(self, done: int, feed: ArchivedFeed) -> int:
        """Up to when (ms) the messages up to `done` declare a feed complete; 0 if that is not known."""
        if not declares(feed.kind):
            return 0
        place = (await layout_of(self._bus)).archived(feed.public)
        message = await last_message(self._bus, *place)
        for _ in itertools.repeat(None, READ_BACK):
            if message is None or message.seq is None:
                break
            if message.seq <= done:
                until = declared_by(feed.kind, message.data or b"")
                if until is not None:
                    return until
            previous = previous_of(message.headers)
            message = await message_at(self._bus, place.stream, previous) if previous else None
        return 0

    async def _announce(self, day: FeedDay, made: Certificate) -> None:
        self._metrics.days.labels(made.condition).inc()
        log.info("a day is certified", day=str(day), condition=made.condition, rows=made.rows, version=made.version)
        try:
            await self._bus.publish(subjects.archived(day.kind, day.exchange, day.symbol), made)
        except nats.errors.Error as error:
            # The certificate is beside the file.
            log.debug("a certificate cannot be announced", day=str(day), error=repr(error))
