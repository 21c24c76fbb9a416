"""Rounds: which consecutive messages of a stream are written together. Pure.

A round is the messages after `done` up to `last`. Its files depend on these messages alone, so whoever writes it again,
because its writer died, writes the same.

A message names the one before it of its feed. If that one was read, the feed is followed without a break. If it expired
unread, messages are missing; if it is older than all that was ever read of the stream, following the feed begins here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tickwire.archive_files import book_chain, ticker_rows
from tickwire.archive_files.chained_rows import EXPIRED
from tickwire.archive_files.kinds import RoundRows
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.parts import PartRows
from tickwire.bus.work_streams import HELD_PAGES
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.feeds import BookDeltas, Ticker, Trades
from tickwire.model.feeds.layout import PARTITIONED
from tickwire.model.subjects import exchange_name, symbol_of

MOST_HOLES = 100
"""Older ones are forgotten. One more comes each time that the archive was stopped for longer than the tape keeps."""
EXCERPT = 100
"""Bytes of a message that cannot be read that are kept, for the log."""
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
    """A message that cannot be decoded, its data cut, and why. Where its subject names a feed, the feed has a gap."""

    entry: TapeEntry
    error: BadRequest


class Position(msgspec.Struct, frozen=True):
    """How far a stream is archived.

    `generation` is in the names of parts. Messages `begin` to `done` are in files, but for those in `holes` (first and
    last sequence of each), which expired unread. Nothing was read yet if `done` is 0.
    """

    generation: int
    done: int = 0
    begin: int = 0
    holes: tuple[tuple[int, int], ...] = ()


class Round:
    """A round in the making, after `position`.

    `most` rows, or messages that cannot be read, end it. With `end` it is written again: it has the messages up to
    `end`, whatever they are. `parts` take the rows: of trades, unless they are given.
    """

    def __init__(self, position: Position, most: int, end: int | None = None, parts: RoundRows | None = None) -> None:
        self.done = position.done
        self.last = position.done
        """The last message taken; `done` before the first."""
        self.end = end
        self.begin = position.begin
        self.holes = list(position.holes)
        self.parts: RoundRows = parts or PartRows(position.generation, position.done)
        self.until: dict[ArchivedFeed, int] = {}
        """For each feed that declared it: every row before (ms) is in this round, in an earlier one, or in a gap."""
        self.unreadable: list[Unreadable] = []
        self._most = most
        self._seen: dict[str, int] = {}
        """The last message taken of each subject."""

    @property
    def is_full(self) -> bool:
        """Whether it takes no more."""
        if self.end is not None:
            return self.last >= self.end
        # A message that cannot be read is kept until the round is written, as a row is.
        return self.parts.rows + len(self.unreadable) >= self._most

    def take(self, entry: TapeEntry) -> bool:
        """Take a message in; False if it belongs to a later round, and this one is complete."""
        if self.end is not None:
            if entry.sequence > self.end:
                self.skip_to_end()
                return False
        elif self.is_full:
            return False
        if not self.last:
            self.begin = entry.sequence
        elif entry.sequence > self.last + 1:
            self._add_hole(self.last + 1, entry.sequence - 1)
        before = self._seen.get(entry.subject)
        self.last = entry.sequence
        if entry.subject.startswith(HANDOVER):
            return True
        self._seen[entry.subject] = entry.sequence
        try:
            feed = feed_of_subject(entry.subject)
        except BadRequest as error:
            self._note_unreadable(entry, error)
            return True
        lost = EXPIRED if before is not None and entry.previous is not None and entry.previous != before else ""
        until = self._append(entry, feed, lost)
        if until is not None:
            self.until[feed] = max(until, self.until.get(feed, 0))
        return True

    def skip_to_end(self) -> None:
        """Messages up to the end have expired."""
        assert self.end is not None
        if self.last < self.end:
            self._add_hole(self.last + 1, self.end)
            self.last = self.end

    def position(self, generation: int) -> Position:
        """The position once this round is in files."""
        return Position(generation, self.last, self.begin, tuple(self.holes))

    def _add_hole(self, first: int, last: int) -> None:
        self.holes = [*self.holes, (first, last)][-MOST_HOLES:]

    def _followed(self, previous: int | None) -> int | None:
        """The message before one of its feed if it was read; 0 if it is older than all that was; None if it expired."""
        if previous is None or any(first <= previous <= last for first, last in self.holes):
            return None
        return 0 if previous < self.begin else previous

    def _note_unreadable(self, entry: TapeEntry, error: BadRequest) -> None:
        self.unreadable.append(Unreadable(msgspec.structs.replace(entry, data=entry.data[:EXCERPT]), error))

    def _append(self, entry: TapeEntry, feed: ArchivedFeed, lost: str) -> int | None:
        """Add a message to the parts; one that cannot be read is a gap."""
        message = self._decoded(entry, feed)
        if message is None:
            message, lost = self.parts.unreadable(feed, entry.stored, lost)
        return self.parts.append(message, entry.sequence, self._followed(entry.previous), lost)

    def _decoded(self, entry: TapeEntry, feed: ArchivedFeed) -> Any:
        """The message; None, which is noted, if it cannot be read."""
        try:
            message = messages.decode(entry.data, self.parts.message)
            if (message.exchange, message.symbol) != feed[1:]:
                said = f"{message.exchange} {message.symbol}"
                raise BadRequest(f"a message of {said} on the subject of {feed}", "see docs/asyncapi.json")
        except BadRequest as error:
            self._note_unreadable(entry, error)
            return None
        return message


def declares(kind: str) -> bool:
    """Whether messages of a kind declare a time before which every row is on the tape."""
    return kind in _DECLARED


def declared_by(kind: str, data: bytes) -> int | None:
    """The time (ms) before which every row is on the tape, as a message of a kind declares; None if it does not."""
    message, declared = _DECLARED[kind]
    try:
        return declared(messages.decode(data, message))
    except BadRequest:
        return None


_DECLARED: dict[str, tuple[type[Any], Callable[[Any], int | None]]] = {
    "trade": (Trades, lambda message: message.until),
    "book_delta": (BookDeltas, book_chain.declared_until),
    "ticker": (Ticker, ticker_rows.declared_until),
}
"""The messages of a kind, and what one declares."""


def feed_of_subject(subject: str) -> ArchivedFeed:
    """The feed of a subject of a stream of the archive. Raises BadRequest.

    These are `tape.<kind>.<p>.<exchange>.<token>`, `tape.ticker.<exchange>.<token>`, and
    `ohlcv.held.<exchange>.<token>.<timeframe>`.
    """
    parts = subject.split(".")
    if len(parts) == 5 and parts[0] == "tape" and parts[1] in PARTITIONED and parts[2].isdecimal():
        kind, market = parts[1], parts[3:]
    elif len(parts) == 4 and parts[:2] == ["tape", "ticker"]:
        kind, market = "ticker", parts[2:]
    elif len(parts) == 5 and subject.startswith(f"{HELD_PAGES}."):
        kind, market = "candle", parts[2:4]
    else:
        raise BadRequest(f"{subject[:80]!r} is not a subject of the tape", "see docs/asyncapi.json")
    return ArchivedFeed(kind, exchange_name(market[0]), symbol_of(market[1]))
