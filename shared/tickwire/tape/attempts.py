"""How the messages of one attempt are bound to each other, so that none is stored after one that is not. No I/O.

The expected sequence of the stream alone is not enough: where another writer's message takes the place of one, the next
one expects exactly that sequence, and is stored (measured with nats-server 2.15.1). So the messages of an attempt are a
fast-ingest batch, or there is only one; the next attempt begins when this one has ended. To name the id of the message
before (`Nats-Expected-Last-Msg-Id`) is no way: with three replicas a mismatch stops the stream (measured, too).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from tickwire.bus import fast_ingest
from tickwire.bus.publisher import Ack


class Answer(NamedTuple):
    """Everything up to `sequence` is stored. `ended`: the attempt is. `refused` is an error, with its `code`."""

    sequence: int = 0
    ended: bool = False
    refused: str = ""
    code: int = 0


class Attempt(Protocol):
    """Messages of one writer that are sent one after another, from the one after sequence `base`."""

    ending: bool
    """Nothing more may be sent in this attempt."""

    def __init__(self, inbox: str, number: str, base: int, writer: str) -> None: ...

    def add(self) -> str:
        """The reply subject of the next message."""
        ...

    def end(self) -> str | None:
        """The reply subject of the request to acknowledge everything; None if that is not needed."""
        ...

    def is_of(self, subject: str) -> bool:
        """Whether an answer on this subject is one to this attempt."""
        ...

    def read(self, data: bytes) -> Answer:
        """Read an answer."""
        ...


_START, _APPEND = fast_ingest.START, fast_ingest.APPEND


class BatchAttempt:
    """One fast-ingest batch."""

    def __init__(self, inbox: str, number: str, base: int, writer: str) -> None:
        self.ending = False
        # A batch is one of the stream, whoever sends it.
        batch = f"{number}-{writer.rpartition(' ')[2]}"
        self._prefix = f"{inbox}.{batch}."
        self._reply = fast_ingest.batch_prefix(inbox, batch)
        self._base = base
        self._count = 0

    def add(self) -> str:
        """See `Attempt`."""
        self._count = count = self._count + 1
        # As `reply_to`, for each message.
        return f"{self._reply}{count}.{_APPEND if count > 1 else _START}.$FI"

    def end(self) -> str | None:
        """See `Attempt`."""
        if not self._count:
            return None
        self.ending = True
        return fast_ingest.reply_to(self._reply, self._count + 1, fast_ingest.END)

    def is_of(self, subject: str) -> bool:
        """See `Attempt`."""
        return subject.startswith(self._prefix)

    def read(self, data: bytes) -> Answer:
        """See `Attempt`."""
        stored, ended, refused, code = fast_ingest.answer_of(data)
        if ended and stored != self._count:
            return Answer(refused=f"the batch ended after {stored} of {self._count} messages")
        return Answer(self._base + stored, ended, refused, code)


class SingleAttempt:
    """One message: for brokers without fast-ingest batches, where nothing else keeps later messages out."""

    def __init__(self, inbox: str, number: str, base: int, writer: str) -> None:
        self.ending = False
        self._reply = f"{inbox}.{number}"

    def add(self) -> str:
        """See `Attempt`."""
        self.ending = True
        return self._reply

    def end(self) -> str | None:
        """Not needed: the message is acknowledged."""
        return None

    def is_of(self, subject: str) -> bool:
        """See `Attempt`."""
        return subject == self._reply

    def read(self, data: bytes) -> Answer:
        """See `Attempt`."""
        try:
            ack = _decode_ack(data)
        except (msgspec.MsgspecError, ValueError):
            return Answer(refused=f"not an acknowledgement: {data[:60]!r}")
        if ack.error is not None:
            return Answer(refused=str(ack.error.get("description")), code=int(ack.error.get("err_code") or 0))
        return Answer(ack.seq, ended=True)


_decode_ack = msgspec.json.Decoder(Ack).decode
