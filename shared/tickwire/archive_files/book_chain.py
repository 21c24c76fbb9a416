"""Which deltas of a book continue each other, and where some are missing. Pure.

A delta states the number of the update before it (`first` - 1) and its own (`last`). The publisher of deltas puts a
snapshot where their sequence breaks, and now and then one where it does not: then the snapshot has the number of the
delta before it, and changes nothing. A message without deltas is the first one of a new publisher.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from tickwire.model.feeds.tape import BookDelta, BookDeltas
from tickwire.model.messages.archive import ArchivedGap

RESYNCHRONISED = "the book was resynchronised"
NEW_PUBLISHER = "another streamer took over the book, or nobody subscribed to its deltas"
MISSING_DELTA = "a delta is missing on the tape"


def declared_until(message: BookDeltas) -> int | None:
    """The time (ms) before which every change is in a message up to this one, or in a gap; None if it tells none."""
    times = [each.timestamp for each in message.deltas if each.timestamp is not None]
    return max(times, default=message.received) if message.deltas else None


class Step(NamedTuple):
    """What a delta does to the book.

    It `begins` a book, `changes` it, or is to be left out: because it `repeats` what the book has, or because there is
    no book that it could change (`unusable`). `gap` is what is missing before it.
    """

    action: Literal["begins", "changes", "repeats", "unusable"]
    timestamp: int
    """The exchange's time of the delta, that of its receipt where it has none, but never before the last one's; ms."""
    gap: ArchivedGap | None = None


class BookChain:
    """Follows the deltas of a book after update number `update`, at time `until` (ms); both None before the first."""

    def __init__(self, update: int | None = None, until: int | None = None) -> None:
        self.update = update
        """The number of the book's last update; None while there is no book."""
        self.until = until
        """The latest time of a delta, ms: every change before it was in a delta, or is in a gap."""
        self.lost: str | None = None
        """Why the book is not known, if it was: a gap has begun at `lost_at`."""
        self.lost_at: int | None = None
        """When it was lost, ms; None if that is not known."""
        self._repeating = False

    def interrupt(self, reason: str, at: int | None) -> None:
        """The book is not known any more since `at` (ms; None: since an unknown time)."""
        if self.lost is None:
            self.lost, self.lost_at = reason, at
        self.update = None

    def open(self, message: BookDeltas) -> None:
        """Begin a message: one without deltas interrupts the book."""
        # Its receipt is by another clock: a later one would be the time of changes that come after it.
        if not message.deltas and self.update is not None:
            self.interrupt(NEW_PUBLISHER, self.until)

    def take(self, delta: BookDelta, received: int) -> Step:
        """What the next delta, of a message `received` at a time (ms), does."""
        timestamp = received if delta.timestamp is None else delta.timestamp
        if delta.snapshot:
            self._repeating = delta.last == self.update
            if not self._repeating:
                return self._begun(delta, timestamp)
        elif self.update is not None and delta.first != self.update + 1 and not self._continues_snapshot(delta):
            self.interrupt(MISSING_DELTA, self.until)
        self.until = timestamp = max(self.until or 0, timestamp)
        if self.update is None:
            return Step("unusable", timestamp)
        if delta.snapshot or (self._repeating and self._continues_snapshot(delta)):
            return Step("repeats", timestamp)
        self._repeating = False
        self.update = delta.last
        return Step("changes", timestamp)

    def gap(self) -> ArchivedGap | None:
        """The gap from where the book was lost up to the latest time; None while there is a book."""
        return None if self.lost is None or self.until is None else self._gap_until(self.until)

    def _begun(self, delta: BookDelta, timestamp: int) -> Step:
        if self.update is not None:
            self.interrupt(RESYNCHRONISED, self.until)
        self.until = timestamp = max(self.until or 0, timestamp)
        gap = None if self.lost is None else self._gap_until(timestamp)
        self.lost = self.lost_at = None
        self.update = delta.last
        return Step("begins", timestamp, gap)

    def _gap_until(self, until: int) -> ArchivedGap:
        """Changes at the time of the last known one may be missing; those at the time of the new book are in it."""
        assert self.lost is not None
        since = None if self.lost_at is None else max(-1, self.lost_at - 1)
        return ArchivedGap(since=since, until=until if since is None else max(until, since + 1), reason=self.lost)

    def _continues_snapshot(self, delta: BookDelta) -> bool:
        """Whether it has further levels of the snapshot before: one message cannot hold all of a large book."""
        return delta.first == delta.last == self.update
