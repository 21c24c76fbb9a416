"""The chain of a tape: each message names the one before it on its subject, so that a hole shows. No I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from nats.aio.msg import Msg

from tickwire.bus.publisher import EXPECTED
from tickwire.errors import BadRequest
from tickwire.model.messages import header_int

T = TypeVar("T")

_SEQUENCE = "Nats-Sequence"
_STAMP = "Nats-Time-Stamp"
_LAST = "Nats-Last-Sequence"
OWN_LAST = "Tickwire-Last-Sequence"
"""The sequence of the writer's own last message, where retention has taken it and the stream expects 0."""


@dataclass(frozen=True, slots=True)
class TapeMessage:
    """A message of a tape.

    `sequence` is its place in the stream. `read_back` tells that it was read from the stream, not heard live.
    `skipped` tells that messages between the one handed on before and this are no longer kept: for books, tickers and
    open candles, of which only the newest is kept, that is a matter of course; for trades it is a loss.
    """

    sequence: int
    data: bytes
    read_back: bool = False
    skipped: bool = False


@dataclass
class SequenceCheck:
    """How far a subject has been followed.

    `last` is the place in the stream, 0 before the first message; `stamp` the time of the message there, empty where
    none was handed on. `newest` is the newest time of the stream so far.
    """

    last: int = 0
    newest: str = ""
    stamp: str = ""
    before: int = 0
    """The place of the last message that was handed on, in a stream that is no more: the next one may know it."""

    def is_another_stream(self, sequence: int, stamp: str) -> bool:
        """Whether a message is of another stream of the same name: an earlier place, though written later."""
        return sequence <= self.last and stamp > self.newest

    def advance(self, sequence: int, stamp: str) -> None:
        """Go on to a message."""
        self.last = sequence
        self.stamp = stamp
        self.newest = max(self.newest, stamp)
        self.before = 0

    def anew(self) -> SequenceCheck:
        """At the beginning of another stream."""
        return SequenceCheck(newest=self.newest, before=self.last or self.before)

    def has_gap_before(self, previous: int | None) -> bool:
        """Whether a hole is between what was handed on and a message that names `previous` as the one before."""
        return has_gap(previous, self.last or self.before, exact=bool(self.stamp or self.before))


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """A message and its place in the chain; `previous` is absent where it is not told."""

    sequence: int
    previous: int | None
    stamp: str
    data: bytes


def stream_message_of(message: Msg, *, stored: bool = False) -> StreamMessage | None:
    """The place of a message that the broker republished, or read for us (`stored`); None of any other.

    Raises BadRequest where the message's place is no number: nobody but the broker says it, so this is not its word.
    """
    headers = message.headers or {}
    sequence = header_int(headers, _SEQUENCE)
    if not sequence:
        return None
    last = None if stored else header_int(headers, _LAST)
    return StreamMessage(sequence, expected_of(headers, last), stamp_of(headers.get(_STAMP, "")), message.data)


def expected_of(headers: Mapping[str, str] | None, last: int | None = None) -> int | None:
    """The place of the message before, by its writer's word; else `last`.

    What its writer expected is what the stream enforced, and a place that is no number is nobody's word. In a stored
    message the broker's own header speaks of the batch.
    """
    for name in (OWN_LAST, EXPECTED):
        try:
            told = header_int(headers, name)
        except BadRequest:
            continue
        if told is not None:
            return told
    return last


def has_gap(previous: int | None, last: int, *, exact: bool = True, known: bool = True) -> bool:
    """Whether messages between `last` (0: none was read) and the next one are no longer kept, or nobody knows.

    `previous` is what the next one's writer found before it on the subject; None: it is not told. Anything but `last`
    is a hole: a later place is a message that was missed; an earlier one, or none, is a subject that was emptied, or a
    stream that was made anew. Where `last` is any place in the stream (not `exact`), an earlier one is
    none; and where the subject may have had no message by then (not `known`), neither is a subject without one.
    """
    if not last or previous is None:
        return False
    return previous != last if exact else previous > last or (known and not previous)


def stamp_of(text: str) -> str:
    """A time as nats-server writes it (RFC 3339, nanoseconds without trailing zeros), so that texts compare."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction:0<9}" if seconds else ""


async def backwards(
    newest: T, previous: Callable[[T], int | None], read: Callable[[int], Awaitable[T | None]]
) -> AsyncIterator[T]:
    """A message of a tape and those before it on its subject, newest first, as far as the stream keeps them.

    `previous` tells of a message which sequence its writer expected to be the subject's last, which the stream
    enforced; `read` gets the message of a sequence. However many messages others have in between costs nothing.
    """
    message: T | None = newest
    while message is not None:
        yield message
        before = previous(message)
        message = await read(before) if before else None
