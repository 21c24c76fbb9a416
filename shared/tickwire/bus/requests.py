"""Requests and their replies: one inbox for all of them, and retries while JetStream has no leader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from tickwire.bus import graceful_close
from tickwire.errors import (
    BadRequest,
    BrokerUnavailable,
    NoSuchService,
    RequestTimeout,
    StorageError,
    TickwireError,
    from_code,
)
from tickwire.model import messages
from tickwire.observe import logs
from tickwire.process.backoff import Backoff

log = logs.get(__name__)

PUBLISH_RETRY_S = 15.0
"""How long a publish is retried: a cluster of three was measured silent for 4.9 s when its leader dies."""
AGAIN_S = 0.2
FIRST_REREAD_S, LONGEST_REREAD_S = 0.1, 1.0
_ELECTING = frozenset({None, 10008, 10009, 10118})
"""JetStream's error codes while a cluster has no leader; another error of the server is an answer."""
NO_STREAM = 10059
"""JetStream's error code for a stream that does not exist."""
_NO_STORE = 10012
"""JetStream's error code when it cannot make the files of a consumer."""
STORAGE_REMEDY = (
    "make room on the broker's disk, then restart nats-server, which keeps its write error until then "
    "(`tickwire up` restarts the one that it embeds by itself)"
)

ERROR_CODE = "Nats-Service-Error-Code"
ERROR_TEXT = "Nats-Service-Error"
WORKING = "Tickwire-Working"
"""In a request: its sender understands replies with this header, which are empty: the answer is being made."""
_PENDING = "Nats-Num-Pending"
_SEQUENCE = "Nats-Sequence"

T = TypeVar("T")


class Inbox:
    """A reply subject of its own, and the replies that arrived there. Made by `open_inbox`."""

    def __init__(self, client: Client) -> None:
        self.subject = client.new_inbox()
        self._client = client
        self._asked = ""
        self._replies: asyncio.Queue[Msg | None] = asyncio.Queue()
        """None after the last reply of a connection that was lost."""

    async def ask(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        """Publish a request whose replies come here. Raises nats' errors."""
        self._asked = subject
        await self._client.publish(subject, data, reply=self.subject, headers=headers)

    async def reply(self, timeout_s: float) -> Msg:
        """The next reply.

        Raises TimeoutError after `timeout_s`, NoSuchService when nothing serves the subject, and RequestTimeout when
        the connection was lost after the replies so far.
        """
        async with asyncio.timeout(timeout_s):
            reply = await self._replies.get()
        if reply is None:
            raise RequestTimeout(f"the connection was lost while {self._asked} answered", "ask again")
        if status_of(reply) == "503":
            raise no_such_service(self._asked)
        return reply

    async def replies(self, wait_s: float, most: int | None = None) -> list[Msg]:
        """All replies within `wait_s`, at most `most` of them; none when nothing serves the subject."""
        found: list[Msg] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while most is None or len(found) < most:
                    reply = await self._replies.get()
                    if reply is None or status_of(reply) == "503":
                        break
                    found.append(reply)
        return found

    async def take(self, message: Msg) -> None:
        """Queue a reply."""
        self._replies.put_nowait(message)

    def end(self) -> None:
        """The connection was lost: nothing comes after the replies that are here."""
        self._replies.put_nowait(None)


@asynccontextmanager
async def open_inbox(client: Client) -> AsyncIterator[Inbox]:
    """An inbox for as long as the block lasts. Raises nats' errors."""
    inbox = Inbox(client)
    subscription = await client.subscribe(inbox.subject, cb=inbox.take)
    try:
        yield inbox
    finally:
        await graceful_close.unsubscribe(client, subscription)


async def request_once(
    client: Client, subject: str, data: bytes, timeout_s: float, headers: dict[str, str] | None = None
) -> Msg | None:
    """Send a request once; its first reply, or None if none comes within `timeout_s` or nothing serves the subject.

    Raises nats' errors.
    """
    async with open_inbox(client) as inbox:
        await inbox.ask(subject, data, headers)
        return next(iter(await inbox.replies(timeout_s, most=1)), None)


async def direct_get(client: Client, stream: str, request: dict[str, object], timeout_s: float) -> list[Msg]:
    """Messages of a stream by a direct get (ADR-31), in order; none where the stream has no such message.

    `request` selects them: `seq`, `last_by_subj`, `next_by_subj`, `start_time`, `batch`, `max_bytes`. Any replica
    answers, so the newest messages may be missing. Raises TimeoutError when one of the replies takes longer than
    `timeout_s`, nats.errors.Error when the broker refuses or cannot answer.
    """
    subject = f"$JS.API.DIRECT.GET.{stream}"
    found: list[Msg] = []
    async with open_inbox(client) as inbox:
        await inbox.ask(subject, msgspec.json.encode(request))
        while True:
            try:
                reply = await inbox.reply(timeout_s)
            except NoSuchService as error:
                raise nats.errors.NoRespondersError from error
            status, headers = status_of(reply), reply.headers or {}
            if status in ("204", "404"):
                # The end of a batch; no such message.
                return found
            if _SEQUENCE not in headers:
                raise nats.errors.Error(f"{subject} answered {status}")
            found.append(reply)
            # A single reply has no such header, nor has a broker before 2.11, which knows no batches.
            if _PENDING not in headers:
                return found


async def cancellable(call: Awaitable[T]) -> T:
    """Await a call of nats-py without losing a cancellation that arrives together with its result.

    `asyncio.wait_for` of Python 3.11 loses it: https://github.com/python/cpython/issues/86296.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        return await call
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


async def until_answered(
    read: Callable[[], Awaitable[T]], what: str, *, answers: type[nats.errors.Error] | tuple[()] = ()
) -> T:
    """The result of a read from the broker, repeated while the broker is away or a cluster elects a leader.

    Waits without a limit: the caller cancels it, or `read` raises another error than nats'. Raises nats' errors of the
    type `answers`, such as NotFoundError. `what` names in the log what is read.
    """
    backoff = Backoff(FIRST_REREAD_S, LONGEST_REREAD_S, at_once=False)
    while True:
        try:
            found = await cancellable(read())
        except answers:
            raise
        except (nats.errors.Error, TimeoutError) as error:
            # nats-py raises its own TimeoutError, and at times that of asyncio.
            delay_s = backoff.next()
            if backoff.failures == 1:
                log.debug("the broker does not answer, reading again", what=what, error=repr(error))
        else:
            if backoff.failures:
                log.debug("the broker answers again", what=what, failures=backoff.failures)
            return found
        await asyncio.sleep(delay_s)


async def retry_jetstream(call: Callable[[], Awaitable[T]]) -> T:
    """JetStream's answer to a call, retried while the broker is away or a cluster elects a leader.

    Raises JetStream's refusal (NotFoundError, BadRequestError), StorageError when its disk has no room for a consumer,
    and BrokerUnavailable after 15 s without an answer.
    """
    deadline = asyncio.get_running_loop().time() + PUBLISH_RETRY_S
    while True:
        try:
            return await cancellable(call())
        except (nats.js.errors.NotFoundError, nats.js.errors.BadRequestError):
            raise
        except (nats.errors.Error, TimeoutError) as error:
            if isinstance(error, nats.js.errors.ServerError) and error.err_code not in _ELECTING:
                if error.err_code == _NO_STORE:
                    raise StorageError(f"the broker stores nothing: {error.description}", STORAGE_REMEDY) from error
                raise
            if asyncio.get_running_loop().time() > deadline:
                raise BrokerUnavailable(
                    f"JetStream does not answer: {error!r}", "is it enabled, and are most of its servers up?"
                ) from error
        await asyncio.sleep(AGAIN_S)


def payload_of(reply: Msg) -> bytes:
    """The payload of a service's reply. Raises the typed error that the reply carries."""
    headers = reply.headers or {}
    if ERROR_CODE in headers:
        try:
            error = messages.decode(reply.data, messages.ErrorReply)
        except BadRequest:
            raise TickwireError(headers.get(ERROR_TEXT, "the service answered an error")) from None
        raise from_code(error.code, error.message, error.remedy)
    return reply.data


def status_of(message: Msg) -> str | None:
    """The status that the broker gave a reply; None where there is none.

    A reply with a sequence is a stored message, whose headers are its publisher's: "Status" may be among them.
    """
    headers = message.headers or {}
    return None if _SEQUENCE in headers else headers.get("Status")


def no_such_service(subject: str) -> NoSuchService:
    """The error of a request to `subject` that nothing serves; names the service that would."""
    service = subject.split(".", 1)[0]
    return NoSuchService(
        f"no {service} is running, so nothing answers {subject}",
        f"start it with `tickwire service {service}`",
    )
