"""What one writer of a stream has in flight, and what to send again after a doubt. No I/O.

Every message has the sequence that it will have in the stream: the writer is the only one, so it knows each. Messages
are sent in attempts. Within an attempt the stream accepts the messages in order up to the first that it refuses or
misses, and none after it; `tape/partition_writer.py` sees to that. So if a message of this writer is the last of the
stream, all before it are stored, and an acknowledgement of a message is one of all before it.

After a doubt nothing is sent until the end of the stream has been compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct

from tickwire.errors import Fenced

Done = Callable[[int], None]


class Entry(Struct, gc=False):
    """A message that is not known to be stored. `previous` is the sequence before it on its subject, 0 if none.

    `done`, if there is one, is to be called with its sequence when it is stored. Garbage collection does not visit it,
    because thousands are in flight: whoever keeps one that is stored or given up resets `done`, which may refer to it.
    """

    sequence: int
    subject: str
    previous: int
    data: bytes
    done: Done | None = None


class End(NamedTuple):
    """The end of a stream. `subject` and `data` are those of its last message, None if retention has removed it.

    `own`: the last message names this writer.
    """

    sequence: int
    subject: str | None = None
    data: bytes | None = None
    own: bool = False


class Pipeline:
    """The messages of one writer that are not known to be stored, in the order of the stream."""

    def __init__(self, durable: int) -> None:
        self.durable = durable
        """Sequence up to which the stream has everything."""
        self.sent = durable
        """Highest sequence that any attempt has sent."""
        self.pending: deque[Entry] = deque()
        self.unsent: deque[Entry] = deque()
        """Those at the end of `pending` that this attempt has not sent."""
        self.bytes = 0
        """Of the pending messages."""

    @property
    def newest(self) -> int:
        """Sequence of the last message, stored or not."""
        return self.durable + len(self.pending)

    def add(self, subject: str, previous: int, data: bytes, done: Done | None = None, *, sends: bool = False) -> Entry:
        """Put a message at the end. With `sends` the caller sends it now: nothing may be unsent before it."""
        sequence = self.durable + len(self.pending) + 1
        entry = Entry(sequence, subject, previous, data, done)
        self.pending.append(entry)
        self.bytes += len(data)
        if sends:
            if sequence > self.sent:
                self.sent = sequence
        else:
            self.unsent.append(entry)
        return entry

    def next(self) -> Entry | None:
        """The next message that this attempt has to send."""
        if not self.unsent:
            return None
        entry = self.unsent.popleft()
        self.sent = max(self.sent, entry.sequence)
        return entry

    def stored(self, sequence: int) -> list[Entry]:
        """Everything up to a sequence is stored; what of it was not known to be.

        Raises Fenced for a sequence that has not been sent: another writer's.
        """
        if sequence > self.sent:
            raise Fenced(f"sequence {sequence} is stored, which this writer has not sent", "another instance writes")
        found = [self.pending.popleft() for _ in range(sequence - self.durable)]
        self.bytes -= sum([len(entry.data) for entry in found])
        self.durable = max(self.durable, sequence)
        return found

    def forget(self) -> None:
        """Whoever appended the messages is not told any more."""
        for entry in self.pending:
            entry.done = None

    def compare(self, end: End) -> list[Entry]:
        """Take the end of the stream after a doubt: what is not stored is to be sent again, in a new attempt.

        Returns what is stored.

        If retention has removed the last message, the caller must have confirmed that no other instance is the owner.
        Raises Fenced if the last message is another writer's, or the stream does not have what it acknowledged.
        """
        if end.sequence < self.durable:
            raise Fenced(
                f"the stream ends at sequence {end.sequence} and had {self.durable}",
                "it was made anew, or lost its end",
            )
        if end.sequence > self.sent:
            raise Fenced(f"the stream ends at sequence {end.sequence}, after all of this writer", "another one writes")
        if end.sequence > self.durable and end.subject is not None:
            expected = self.pending[end.sequence - self.durable - 1]
            if not end.own or (end.subject, end.data) != (expected.subject, expected.data):
                raise Fenced(f"another instance has written sequence {end.sequence}", "it has taken over")
        found = self.stored(end.sequence)
        self.unsent = deque(self.pending)
        return found
