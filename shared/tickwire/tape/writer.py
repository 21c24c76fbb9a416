"""The one writer of a tape subject: one publish in flight, each bound to the sequence of the message before.

The stream refuses a publish whose expected last sequence is not the subject's. So a writer that was overtaken learns it
at its next publish, and no reader ever sees that message.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial

import nats.errors
import nats.js.errors
from nats.js.api import RawStreamMsg

from tickwire.bus.connection import Bus
from tickwire.bus.publisher import EXPECTED, WRONG_SEQUENCE
from tickwire.bus.requests import until_answered
from tickwire.errors import Fenced
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process.backoff import Backoff
from tickwire.tape.sequence import OWN_LAST

log = logs.get(__name__)

PUBLISH = "Tickwire-Publish"
"""Header that names a publish, so that the writer recognises its own message on the tape if the acknowledgement was
lost: the instance, the writer, and a number."""
ACK_S = 2.0
RETRY_S, LONGEST_RETRY_S = 0.1, 1.0
"""Delays before a message is published again."""
SILENT_S = 6.0
"""A connected broker that acknowledges nothing for this long is not electing a leader: its disk may be full."""


Confirm = Callable[[], Awaitable[None]]
"""Returns if this instance still owns the feed, as the broker confirms; raises Fenced if not."""


class TapeWriter:
    """Appends to one subject. Made by `open_writer`; one `append` at a time."""

    def __init__(
        self, bus: Bus, stream: str, subject: str, last: RawStreamMsg | None, confirm: Confirm | None = None
    ) -> None:
        self.subject = subject
        self.sequence = (last.seq or 0) if last else 0
        """Of the subject's last message, 0 if there is none."""
        self._own_last = 0
        """Of this writer's last message, if retention has removed it since; else 0."""
        self._bus = bus
        self._stream = stream
        self._confirm = confirm
        self._name = f"{bus.name} {secrets.token_hex(6)}"
        self._refused = Episode(log, "the stream does not store messages", subject=subject)
        self._count = 0

    async def append(self, data: bytes) -> int:
        """Append a message and return its sequence; retries while the broker is away, until cancelled.

        Raises Fenced if the subject's last message is not the one that this writer knows: another instance writes.
        """
        if not self.sequence and self._confirm is not None:
            # On an empty subject the expected sequence does not fence another writer.
            await self._confirm()
        return await self._store(self._next_name(), data)

    def _next_name(self) -> str:
        self._count += 1
        return f"{self._name} {self._count}"

    async def _store(self, name: str, data: bytes) -> int:
        """Publish a message until it is stored; its sequence. Raises Fenced."""
        began = time.monotonic()
        backoff = Backoff(RETRY_S, LONGEST_RETRY_S, at_once=False)
        while True:
            try:
                ack = await self._bus.publisher.publish(
                    self.subject, data, headers=self._headers(name), timeout_s=ACK_S
                )
            except nats.js.errors.APIError as error:
                if error.err_code == WRONG_SEQUENCE:
                    if (sequence := await self._resolve(name)) is not None:
                        return sequence
                    continue
                self._refused.occurs(error=repr(error))
            except nats.errors.Error as error:
                if not backoff.failures:
                    log.debug("not acknowledged yet", subject=self.subject, error=repr(error))
                if self._bus.client.is_connected and time.monotonic() - began > SILENT_S:
                    self._refused.occurs(error=repr(error))
            else:
                self._refused.ends()
                return self._advance(ack.seq)
            await asyncio.sleep(backoff.next())

    def _headers(self, name: str) -> dict[str, str]:
        # Also as a header of our own: a mirror has no headers that begin with Nats-Expected.
        return {EXPECTED: str(self.sequence), OWN_LAST: str(self._own_last or self.sequence), PUBLISH: name}

    async def _resolve(self, name: str) -> int | None:
        """The sequence of a publish that was refused because it is stored already; None if it is to be repeated.

        Raises Fenced if another writer's message is the last one.
        """
        last = await last_message(self._bus, self._stream, self.subject)
        sequence = (last.seq or 0) if last else 0
        if sequence < self.sequence and self._confirm is not None:
            # Retention removed the last message, which says nothing about who may write the next.
            await self._confirm()
            self._own_last, self.sequence = self.sequence, sequence
            return None
        if last is None or (last.headers or {}).get(PUBLISH) != name:
            raise Fenced(f"another instance writes {self.subject}", "it has taken over")
        return self._advance(sequence)

    def _advance(self, sequence: int) -> int:
        self.sequence, self._own_last = sequence, 0
        return sequence


async def open_writer(
    bus: Bus, stream: str, subject: str, confirm: Confirm | None = None
) -> tuple[TapeWriter, bytes | None]:
    """The writer of a subject, and the payload of the subject's last message if there is one.

    An earlier writer may still append until this one has: append at once to fence it.
    """
    last = await last_message(bus, stream, subject)
    return TapeWriter(bus, stream, subject, last, confirm), last.data if last else None


async def last_message(bus: Bus, stream: str, subject: str) -> RawStreamMsg | None:
    """The last message of a subject, from the stream's leader; retries while the broker is away."""
    return await _read(partial(bus.jetstream.get_last_msg, stream, subject), subject)


async def message_at(bus: Bus, stream: str, sequence: int) -> RawStreamMsg | None:
    """The message of a sequence, from the stream's leader; None if it is no longer stored."""
    return await _read(partial(bus.jetstream.get_msg, stream, sequence), f"{stream} {sequence}")


async def _read(get: Callable[[], Awaitable[RawStreamMsg]], what: str) -> RawStreamMsg | None:
    try:
        return await until_answered(get, what, answers=nats.js.errors.NotFoundError)
    except nats.js.errors.NotFoundError:
        return None
