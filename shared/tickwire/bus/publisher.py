"""Publishing to streams with confirmation, by one subscription for all of a connection's confirmations.

nats-py's own `publish` makes a request of each, through `asyncio.wait_for`: 165 us of CPU against 125 us here, measured
(docs/performance.md). On the tape every message is confirmed before the next, so this is most of what one costs.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec
import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from tickwire.errors import StorageError
from tickwire.model.subjects import family_of

WRONG_SEQUENCE = 10071
"""JetStream's error code for an expected sequence that is not the subject's."""

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
"""The broker stores a message only if this is the sequence of the last one on its subject."""


SILENCE_S = 10.0
"""How long publishes to a stream may stay without an answer: a cluster elects a leader within 5 s."""
FORGOTTEN_S = 60.0
"""A failure that was not repeated for so long is forgotten: nobody publishes there any more."""
STORAGE_REMEDY = (
    "make room on the broker's disk, then restart nats-server, which keeps its write error until then "
    "(`tickwire up` restarts the one that it embeds by itself)"
)


@dataclass
class _Failing:
    """Publishes to subjects of one kind since when (monotonic s) no stream has taken one; the last, and why."""

    since: float
    last: float
    why: str


class Ack(Struct, frozen=True):
    """A stream took a message: its sequence, or that of the earlier one that it is a `duplicate` of."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(Ack).decode


class AcknowledgedPublisher:
    """The confirmations of one connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = ""
        self._numbers = count()
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._opening = asyncio.Lock()
        self._failing: dict[str, _Failing] = {}

    async def publish(self, subject: str, data: bytes, *, headers: dict[str, str], timeout_s: float) -> Ack:
        """Publish to the stream that has `subject`, and wait for its word.

        Raises nats.js.errors.APIError when it refuses, nats.js.errors.NoStreamResponseError when there is none (or no
        leader of it), nats.errors.TimeoutError after `timeout_s`: it may have taken the message then.
        """
        if not self._inbox:
            await self._open()
        number = str(next(self._numbers))
        answered: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answered
        try:
            async with asyncio.timeout(timeout_s):
                await self._client.publish(subject, data, reply=f"{self._inbox}.{number}", headers=headers)
                answer = await answered
        except TimeoutError:
            self._fails(subject, "it does not answer")
            raise nats.errors.TimeoutError from None
        finally:
            self._waiting.pop(number, None)
        if not answer.data and (answer.headers or {}).get("Status") == "503":
            raise nats.js.errors.NoStreamResponseError
        try:
            ack = _decode(answer.data)
        except (msgspec.MsgspecError, ValueError) as error:
            raise nats.errors.Error(f"not a confirmation: {answer.data[:60]!r}") from error
        if ack.error is not None:
            if ack.error.get("err_code") != WRONG_SEQUENCE:
                self._fails(subject, str(ack.error.get("description")))
            nats.js.errors.APIError.from_error(ack.error)
        if self._failing:
            self._failing.pop(family_of(subject), None)
        return ack

    def storage_error(self) -> StorageError | None:
        """What the broker does not store, why, and what to do; None where it takes what it is given."""
        now = time.monotonic()
        for family, failing in list(self._failing.items()):
            if now - failing.last > FORGOTTEN_S:
                del self._failing[family]
            elif now - failing.since > SILENCE_S:
                seconds = now - failing.since
                return StorageError(
                    f"the broker stores nothing on {family} since {seconds:.0f} s: {failing.why}", STORAGE_REMEDY
                )
        return None

    def forget(self) -> None:
        """The broker was restarted, or is another one: what it did not store before says nothing any more."""
        self._failing.clear()

    def _fails(self, subject: str, why: str) -> None:
        now = time.monotonic()
        failing = self._failing.setdefault(family_of(subject), _Failing(now, now, why))
        failing.last, failing.why = now, why

    async def _open(self) -> None:
        async with self._opening:
            if not self._inbox:
                inbox = self._client.new_inbox()
                await self._client.subscribe(f"{inbox}.*", cb=self._take)
                self._inbox = inbox

    async def _take(self, message: Msg) -> None:
        answered = self._waiting.get(message.subject.rpartition(".")[2])
        if answered is not None and not answered.done():
            answered.set_result(message)
