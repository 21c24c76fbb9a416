"""Publishing to streams with acknowledgement, by one subscription for all acknowledgements of a connection.

nats-py's own `publish` makes a request of each, through `asyncio.wait_for`: 165 us of CPU against 125 us here, measured
(docs/performance.md). On the tape every message is acknowledged before the next, so this is most of what one costs.
One timer of the connection times out all acknowledgements: one for each cost 5 % of a streamer's time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import msgspec
import nats.errors
import nats.js.errors
from msgspec import Struct

from tickwire.bus.natspy import BusClient
from tickwire.bus.requests import AGAIN_S, PUBLISH_RETRY_S, STORAGE_REMEDY
from tickwire.errors import BadRequest, BrokerUnavailable, Busy, StorageError, Unacknowledged
from tickwire.model.subjects import check_subject, family_of

WRONG_SEQUENCE = 10071
"""JetStream's error code for an expected sequence that is not the subject's."""

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
"""The broker stores a message only if this is the sequence of the last one on its subject."""

ACK_S = 2.0
"""How long `append` waits for one acknowledgement before it publishes again."""
SWEEP_S = 0.1
"""How much later than its time limit an acknowledgement may be given up."""
SILENCE_S = 10.0
"""Publishes to a stream that get no acknowledgement for so long mean trouble: a cluster elects a leader within 5 s."""
FORGOTTEN_S = 60.0
"""A failure that was not repeated for so long is forgotten: nothing is published there any more."""
_HEAD_BYTES = len("NATS/1.0\r\n\r\n")
NO_STREAM = b"NATS/1.0 503"
"""Headers of the broker's answer when nothing receives a subject."""
_PER_SUBJECT = "maximum messages per subject"
"""In JetStream's description of the refusal; its code, 10077, says only that a message was not stored."""


@dataclass
class _Failing:
    """Since when (monotonic s) no stream has accepted a publish to one family of subjects; the last one, and why."""

    since: float
    last: float
    why: str


class Ack(Struct, frozen=True):
    """The acknowledgement of a stream: the message's sequence, or that of the earlier one it is a `duplicate` of."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: dict[str, Any] | None = None


class _Waiting(NamedTuple):
    """A publish without an acknowledgement: when it is given up (s of the loop's clock), and who is told."""

    until: float
    take: Callable[[_Answer | None], None]
    """Called with the answer, or with None when it is given up."""


class _Answer(NamedTuple):
    """What came on the reply subject of a publish."""

    headers: bytes
    data: bytes


_decode = msgspec.json.Decoder(Ack).decode


class AcknowledgedPublisher:
    """Publishes to streams and matches their acknowledgements, for one connection."""

    def __init__(self, client: BusClient) -> None:
        self._client = client
        self._inbox = ""
        self._numbers = count()
        self._waiting: dict[int, _Waiting] = {}
        self._sweeping = False
        self._opening = asyncio.Lock()
        self._failing: dict[str, _Failing] = {}

    async def publish(self, subject: str, data: bytes, *, headers: dict[str, str], timeout_s: float) -> Ack:
        """Publish once to the stream of `subject` and await its acknowledgement.

        Raises nats.js.errors.APIError when the stream refuses, nats.js.errors.NoStreamResponseError when there is no
        stream or no leader of it, nats.errors.TimeoutError after `timeout_s`: it may have stored the message then.
        Raises BadRequest for a message that is too long for the broker.
        """
        return self._read(subject, await self._answer(subject, data, headers, timeout_s))

    def _read(self, subject: str, answer: _Answer | None) -> Ack:
        """The acknowledgement that an answer is. Raises as `publish` does."""
        if answer is None:
            self.failed(subject, "it does not answer")
            raise nats.errors.TimeoutError
        if not answer.data and answer.headers.startswith(NO_STREAM):
            self.failed(subject, "there is no stream of it, or no leader of the stream")
            raise nats.js.errors.NoStreamResponseError
        try:
            ack = _decode(answer.data)
        except (msgspec.MsgspecError, ValueError) as error:
            raise nats.errors.Error(f"not an acknowledgement: {answer.data[:60]!r}") from error
        if ack.error is not None:
            if ack.error.get("err_code") != WRONG_SEQUENCE:
                self.failed(subject, str(ack.error.get("description")))
            nats.js.errors.APIError.from_error(ack.error)
        self.worked(subject)
        return ack

    async def append(self, subject: str, data: bytes, *, message_id: str) -> Ack:
        """Publish and await the acknowledgement, retrying for up to 15 s.

        Retrying is harmless: the stream drops a second message of the same `message_id`. Raises StorageError when the
        server answers but its store accepts nothing; BrokerUnavailable with the reason, for instance a full stream;
        Unacknowledged (a BrokerUnavailable) when the stream may have stored the message; and Busy, at once, when the
        stream holds as many messages of the subject as it may.
        """
        headers = {"Nats-Msg-Id": message_id}
        reason: Exception = nats.errors.TimeoutError()
        try:
            async with asyncio.timeout(PUBLISH_RETRY_S):
                while True:
                    try:
                        return await self.publish(subject, data, headers=headers, timeout_s=ACK_S)
                    except nats.errors.Error as error:
                        if isinstance(error, nats.js.errors.APIError) and _PER_SUBJECT in (error.description or ""):
                            raise Busy(f"as many messages wait on {subject} as may wait", "ask again later") from error
                        reason = error
                        await asyncio.sleep(AGAIN_S)
        except TimeoutError as error:
            await self._refuse_if_full(subject, reason)
            kind = BrokerUnavailable if isinstance(reason, nats.js.errors.APIError) else Unacknowledged
            raise kind(
                f"the broker did not acknowledge a message on {subject} within {PUBLISH_RETRY_S:.0f} s: {reason!r}",
                "is JetStream up, and does the stream have room?",
            ) from error

    def storage_error(self) -> StorageError | None:
        """Why the broker stores nothing on some subjects, with the remedy; None when it stores everything."""
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

    def worked(self, subject: str) -> None:
        """A stream stored a message on a subject."""
        if self._failing:
            self._failing.pop(family_of(subject), None)

    def forget(self) -> None:
        """Forget failures: the broker was restarted, or is another one."""
        self._failing.clear()

    async def _answer(self, subject: str, data: bytes, headers: dict[str, str], timeout_s: float) -> _Answer | None:
        """Publish, and await the answer; None if it does not come in time. Raises BadRequest."""
        if self._is_too_long(data, headers):
            # To send it would end the connection, again and again.
            raise BadRequest(
                f"a message of {len(data)} bytes on {subject} is too long for the broker",
                f"raise its max_payload, which is {self._client.max_payload}",
            )
        if not self._inbox:
            await self._open()
        answer: asyncio.Future[_Answer | None] = asyncio.get_running_loop().create_future()
        number = self._expect(timeout_s, partial(_settle, answer))
        reply = f"{self._inbox}.{number}"
        try:
            if not self._client.publish_now(check_subject(subject), data, reply, headers):
                async with asyncio.timeout(timeout_s):
                    await self._client.publish(subject, data, reply=reply, headers=headers)
            return await answer
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(number, None)

    def _is_too_long(self, data: bytes, headers: dict[str, str]) -> bool:
        """Whether the broker takes no message of this size; the headers count."""
        size = len(data)
        if size > self._client.max_payload // 2:
            size += _HEAD_BYTES + sum(len(name) + len(value) + 4 for name, value in headers.items())
        return size > self._client.max_payload

    def _expect(self, timeout_s: float, take: Callable[[_Answer | None], None]) -> int:
        """The number of a publish whose answer goes to `take`."""
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        self._waiting[number] = _Waiting(loop.time() + timeout_s, take)
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(SWEEP_S, self._sweep)
        return number

    def _sweep(self) -> None:
        """Give up the acknowledgements whose time is over; again as long as any are waited for."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for number in [number for number, waiting in self._waiting.items() if waiting.until <= now]:
            self._waiting.pop(number).take(None)
        self._sweeping = bool(self._waiting)
        if self._sweeping:
            loop.call_later(SWEEP_S, self._sweep)

    async def _refuse_if_full(self, subject: str, reason: Exception) -> None:
        """Raise StorageError when the server answers a ping but acknowledges nothing: its disk may be full."""
        if not isinstance(reason, nats.errors.TimeoutError) or not self._client.is_connected:
            return
        try:
            await self._client.flush(int(ACK_S))
        except (nats.errors.Error, TimeoutError):
            return
        what = f"the broker answers, and stores nothing on {family_of(subject)}"
        raise StorageError(what, STORAGE_REMEDY) from reason

    def failed(self, subject: str, why: str) -> None:
        """A stream did not store a message on a subject."""
        now = time.monotonic()
        failing = self._failing.setdefault(family_of(subject), _Failing(now, now, why))
        failing.last, failing.why = now, why

    async def _open(self) -> None:
        async with self._opening:
            if not self._inbox:
                inbox = self._client.new_inbox()
                await self._client.subscribe_directly(f"{inbox}.*", self._take)
                self._inbox = inbox

    def _take(self, subject: bytes, headers: bytes, data: bytes) -> None:
        waiting = self._waiting.pop(int(subject.rpartition(b".")[2]), None)
        if waiting is not None:
            waiting.take(_Answer(headers, data))


def _settle(future: asyncio.Future[_Answer | None], answer: _Answer | None) -> None:
    if not future.done():
        future.set_result(answer)
