"""Detects missing messages of a tape: each names the one before it on its subject. No I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from nats.aio.msg import Msg

from tickwire.bus.publisher import EXPECTED
from tickwire.errors import BadRequest
from tickwire.model.feeds.layout import Place
from tickwire.model.messages import header_int

T = TypeVar("T")

_SEQUENCE = "Nats-Sequence"
_STREAM = "Nats-Stream"
_SUBJECT = "Nats-Subject"
_STAMP = "Nats-Time-Stamp"
_LAST = "Nats-Last-Sequence"
OWN_LAST = "Tickwire-Last-Sequence"
"""The sequence of the last message on the subject. The stream may expect its own last sequence instead, or another one
where retention has removed that message."""
EXPECTED_OF_STREAM = "Nats-Expected-Last-Sequence"
"""The broker stores a message only if this is the sequence of the last one of the stream."""


@dataclass(frozen=True, slots=True)
class TapeMessage:
    """A message of a tape, as it is delivered to a reader.

    `sequence` is its position in the stream. `read_back`: it was read from the stream, not received live. `skipped`:
    messages between the one delivered before and this one are no longer stored. That is normal for books, tickers and
    open candles, of which the stream keeps only the newest; for trades it is a loss.
    """

    sequence: int
    data: bytes
    read_back: bool = False
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """A message and its position in the stream. `previous` is the sequence before it on its subject, if known."""

    sequence: int
    previous: int | None
    stamp: str
    data: bytes
    place: Place | None = None
    """Where it is stored, if the broker republished it."""


@dataclass
class SequenceCheck:
    """How far a subject has been read, and whether the next message continues it.

    `last` is the sequence of the last delivered message, 0 before the first; `stamp` its time, empty if none was
    delivered. `newest` is the newest time seen in the stream.
    """

    last: int = 0
    newest: str = ""
    stamp: str = ""
    before: int = 0
    """Sequence of the last message delivered from a former stream: the next writer may still name it."""

    def is_another_stream(self, sequence: int, stamp: str) -> bool:
        """Whether a message belongs to a recreated stream of the same name: an earlier sequence, stored later."""
        return sequence <= self.last and stamp > self.newest

    def advance(self, sequence: int, stamp: str) -> None:
        """A message is delivered."""
        self.last = sequence
        self.stamp = stamp
        self.newest = max(self.newest, stamp)
        self.before = 0

    def restarted(self) -> SequenceCheck:
        """The check at the beginning of a recreated stream."""
        return SequenceCheck(newest=self.newest, before=self.last or self.before)

    def has_gap_before(self, previous: int | None) -> bool:
        """Whether messages are missing between the last delivered one and one whose writer names `previous`."""
        return has_gap(previous, self.last or self.before, exact=bool(self.stamp or self.before))


def has_gap(previous: int | None, last: int, *, exact: bool = True, known: bool = True) -> bool:
    """Whether messages are missing between `last` (0: none was read) and the next message.

    `previous` is the sequence that the next message's writer found before it; None means unknown, and no gap. Any value
    but `last` is a gap: a later one is a missed message; an earlier one, or 0, is a purged subject or a recreated
    stream. If `last` is merely a position in the stream (not `exact`), an earlier one is no gap. If the subject may
    have had no message at that position (not `known`), 0 is no gap either.
    """
    if not last or previous is None:
        return False
    return previous != last if exact else previous > last or (known and not previous)


def stream_message_of(message: Msg, *, stored: bool = False) -> StreamMessage | None:
    """The position of a message that the broker republished, or read from a stream (`stored`); None for any other.

    Raises BadRequest if the sequence is not a number: only the broker sets it, so the message is not from the broker.
    """
    headers = message.headers or {}
    sequence = header_int(headers, _SEQUENCE)
    if not sequence:
        return None
    # In a stored message the broker's own header refers to the batch.
    last = None if stored else header_int(headers, _LAST)
    place = None if stored else Place(headers.get(_STREAM, ""), headers.get(_SUBJECT, ""))
    return StreamMessage(sequence, previous_of(headers, last), stamp_of(headers.get(_STAMP, "")), message.data, place)


def previous_of(headers: Mapping[str, str] | None, default: int | None = None) -> int | None:
    """The sequence before a message on its subject, as its writer named it; else `default`.

    The stream enforced what the writer expected. A value that is not a number was not set by a writer of ours.
    """
    for name in (OWN_LAST, EXPECTED):
        try:
            previous = header_int(headers, name)
        except BadRequest:
            continue
        if previous is not None:
            return previous
    return default


def enforced_of(headers: Mapping[str, str] | None) -> int:
    """The sequence that the stream enforced to be the last of the subject, 0 if there was none: it is stored."""
    # Where the stream enforces its own sequence, there is one writer, which names that of the subject.
    name = OWN_LAST if headers and EXPECTED_OF_STREAM in headers else EXPECTED
    try:
        return header_int(headers, name) or 0
    except BadRequest:
        return 0


def stamp_of(text: str) -> str:
    """A time as nats-server writes it (RFC 3339), with trailing zeros restored so that stamps compare as text."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction:0<9}" if seconds else ""


async def backwards(
    newest: T, previous: Callable[[T], int | None], read: Callable[[int], Awaitable[T | None]]
) -> AsyncIterator[T]:
    """A message and those before it on its subject, newest first, as far as the stream stores them.

    `previous` returns the sequence before a message, `read` the message of a sequence. Costs one read for each message
    of the subject, however many messages of other subjects lie between.
    """
    message: T | None = newest
    while message is not None:
        yield message
        before = previous(message)
        message = await read(before) if before else None
