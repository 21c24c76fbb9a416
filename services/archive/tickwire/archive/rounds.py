"""Rounds: which consecutive messages of a stream are written together. Pure.

A round is the messages after `done` up to `last`. Its files depend on these messages alone, so whoever writes it again,
because its writer died, writes the same. It ends when it has enough rows, and before a message that follows one which
expired unread: the next round notes that as a gap.
"""

from __future__ import annotations

import msgspec

from tickwire.archive_files.parts import EXPIRED, PartRows
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trades
from tickwire.model.feeds.names import feed_of

UNREADABLE = "a message of the tape cannot be read"
HANDOVER = "tape.handover."
"""Before the subjects of messages of owners of a partition, which are of no feed."""


class TapeEntry(msgspec.Struct, frozen=True):
    """A message of a stream of the tape.

    `previous` is the sequence of the message before it on its subject, as its writer named it: 0 for the first, None if
    it names none. `stored` is when the broker stored it, ms.
    """

    sequence: int
    subject: str
    data: bytes
    previous: int | None
    stored: int


class Unreadable(msgspec.Struct, frozen=True):
    """A message that cannot be decoded, and why. Where its subject names a feed, the feed has a gap."""

    entry: TapeEntry
    error: BadRequest


class Round:
    """A round in the making.

    `most` rows end it. With `end` it is written again: it has the messages up to `end`, whatever they are.
    """

    def __init__(self, generation: int, done: int, most: int, end: int | None = None) -> None:
        self.done = done
        self.last = done
        """The last message taken; `done` before the first."""
        self.end = end
        self.parts = PartRows(generation, done)
        self.until: dict[Feed, int] = {}
        """For each feed that declared it: every trade before (ms) is in this round, in an earlier one, or in a gap."""
        self.unreadable: list[Unreadable] = []
        self._most = most
        self._seen: dict[str, int] = {}
        """The last message taken of each subject."""

    @property
    def is_full(self) -> bool:
        """Whether it takes no more."""
        return self.last >= self.end if self.end is not None else self.parts.rows >= self._most

    def take(self, entry: TapeEntry) -> bool:
        """Take a message in; False if it belongs to a later round, and this one is complete."""
        if self.end is not None:
            if entry.sequence > self.end:
                self.last = self.end
                return False
        elif self.is_full or (self.last > self.done and (entry.previous or 0) > self.last):
            return False
        before = self._seen.get(entry.subject)
        self.last = entry.sequence
        if entry.subject.startswith(HANDOVER):
            return True
        self._seen[entry.subject] = entry.sequence
        try:
            feed = feed_of_subject(entry.subject)
        except BadRequest as error:
            self.unreadable.append(Unreadable(entry, error))
            return True
        message = self._decoded(entry, feed)
        if before is not None and entry.previous is not None and entry.previous != before:
            # Only in a round that is written again: messages in its middle have expired meanwhile.
            message = msgspec.structs.replace(message, gap=_before(message, EXPIRED))
        self.parts.append(message, entry.sequence, entry.previous)
        if message.until is not None:
            self.until[feed] = max(message.until, self.until.get(feed, 0))
        return True

    def _decoded(self, entry: TapeEntry, feed: Feed) -> Trades:
        """The message; one that cannot be read is a gap."""
        try:
            message = messages.decode(entry.data, Trades)
            if message.feed != feed:
                raise BadRequest(f"trades of {message.feed} on the subject of {feed}", "see docs/asyncapi.json")
        except BadRequest as error:
            self.unreadable.append(Unreadable(entry, error))
            gap = Gap(since=None, until=None, reason=UNREADABLE)
            return Trades(exchange=feed.exchange, symbol=feed.symbol, trades=[], received=entry.stored, gap=gap)
        return message


def feed_of_subject(subject: str) -> Feed:
    """The feed of `tape.trade.<p>.<exchange>.<token>`. Raises BadRequest."""
    parts = subject.split(".")
    if len(parts) != 5 or parts[0] != "tape" or not parts[2].isdecimal():
        raise BadRequest(f"{subject[:80]!r} is not a subject of the tape", "see docs/asyncapi.json")
    return feed_of(".".join([parts[1], *parts[3:]]))


def _before(message: Trades, reason: str) -> Gap:
    """A gap that ends with the message's first trade; its end is not known if it has none."""
    if message.trades:
        return Gap(since=None, until=message.trades[0].timestamp, before_id=message.trades[0].id, reason=reason)
    return Gap(since=None, until=message.until, reason=reason)
