"""The one writer of a tape subject: one publish in flight, each bound to the sequence of the one before.

The stream itself refuses a publish whose expected last sequence is not the subject's, so whoever has been overtaken
learns it with the next publish, and nobody else ever sees that one.
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
from tickwire.bus.requests import cancellable
from tickwire.errors import BadRequest, Fenced
from tickwire.model.messages import header_int
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.tape.sequence import OWN_LAST

log = logs.get(__name__)

PUBLISH = "Tickwire-Publish"
"""Names a publish, so that one whose confirmation was lost is recognised on the tape: the instance that appends, this
writer of it, and a number."""
ACK_S = 2.0
RETRY_S = 0.1
SILENT_S = 6.0
"""A broker that is there and did not confirm for so long elects no leader: its disk may be full."""


Confirm = Callable[[], Awaitable[None]]
"""Returns when this instance still owns the feed, by the broker's word; raises Fenced when it does not."""


class TapeWriter:
    """A subject to append to. Made by `open_writer`; one `append` at a time."""

    def __init__(
        self, bus: Bus, stream: str, subject: str, last: RawStreamMsg | None, confirm: Confirm | None = None
    ) -> None:
        self.subject = subject
        self._confirm = confirm
        self.sequence = (last.seq or 0) if last else 0
        """Of the subject's last message, 0 where there is none."""
        self._own_last = 0
        """Of the writer's own last message, where retention took it before the next one; else 0."""
        self._bus = bus
        self._stream = stream
        self._writer = f"{bus.name} {secrets.token_hex(6)}"
        self._refused = Episode(log, "the tape refuses", subject=subject)
        self._count = 0

    async def append(self, data: bytes) -> int:
        """Append a message, repeating while the broker is away, until cancelled; its sequence.

        Raises Fenced when the subject's last message is not the one that this tape knows: somebody else writes.
        """
        if not self.sequence and self._confirm is not None:
            # No sequence shuts anybody out of a subject without messages.
            await self._confirm()
        self._count += 1
        name = f"{self._writer} {self._count}"
        began = time.monotonic()
        while True:
            headers = {EXPECTED: str(self.sequence), PUBLISH: name}
            if self._own_last:
                headers[OWN_LAST] = str(self._own_last)
            try:
                ack = await self._bus.publisher.publish(self.subject, data, headers=headers, timeout_s=ACK_S)
            except nats.js.errors.APIError as error:
                if error.err_code == WRONG_SEQUENCE:
                    last = await last_message(self._bus, self._stream, self.subject)
                    left = (last.seq or 0) if last else 0
                    if left < self.sequence and self._confirm is not None:
                        # Retention took the last message, which says nothing of who may write the next.
                        await self._confirm()
                        self._own_last, self.sequence = self.sequence, left
                        continue
                    return self._is_at(self._found(last, name))
                self._refused.occurs(error=repr(error))
            except nats.errors.Error as error:
                log.debug("not on the tape yet", subject=self.subject, error=repr(error))
                if self._bus.client.is_connected and time.monotonic() - began > SILENT_S:
                    self._refused.occurs(error=repr(error))
            else:
                self._refused.ends()
                return self._is_at(ack.seq)
            await asyncio.sleep(RETRY_S)

    def _is_at(self, sequence: int) -> int:
        """The subject's last message is the writer's own again: what comes next need not name another."""
        self.sequence, self._own_last = sequence, 0
        return sequence

    def _found(self, last: RawStreamMsg | None, name: str) -> int:
        """The sequence of a publish whose confirmation was lost. Raises Fenced when the last one is another."""
        if last is None or last.seq is None or (last.headers or {}).get(PUBLISH) != name:
            raise Fenced(f"another writes {self.subject}", "it has taken over")
        return last.seq


async def last_message(bus: Bus, stream: str, subject: str) -> RawStreamMsg | None:
    """The last message of a subject by the stream leader's word, repeating while the broker is away."""
    return await _read(partial(bus.jetstream.get_last_msg, stream, subject), subject)


async def message_at(bus: Bus, stream: str, sequence: int) -> RawStreamMsg | None:
    """The message of a sequence likewise; None where the stream does not keep it any more."""
    return await _read(partial(bus.jetstream.get_msg, stream, sequence), f"{stream} {sequence}")


async def _read(get: Callable[[], Awaitable[RawStreamMsg]], what: str) -> RawStreamMsg | None:
    while True:
        try:
            return await cancellable(get())
        except nats.js.errors.NotFoundError:
            return None
        except nats.errors.Error as error:
            log.debug("the tape does not answer", subject=what, error=repr(error))
        await asyncio.sleep(RETRY_S)


def expected(message: RawStreamMsg) -> int:
    """The sequence that a message's writer expected to be its subject's last, 0 where there was none."""
    try:
        return header_int(message.headers, EXPECTED) or 0
    except BadRequest:
        return 0


async def open_writer(
    bus: Bus, stream: str, subject: str, confirm: Confirm | None = None
) -> tuple[TapeWriter, bytes | None]:
    """The tape of a subject, and its last message where there is one.

    Until something was appended, an earlier writer may append as well: append at once to shut it out.
    """
    last = await last_message(bus, stream, subject)
    return TapeWriter(bus, stream, subject, last, confirm), last.data if last else None
