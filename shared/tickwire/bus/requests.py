"""Answers of the broker and of services: waited for as long as makes sense, and what they mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from tickwire.errors import BadRequest, BrokerUnavailable, NoSuchService, TickwireError, from_code
from tickwire.model import messages

PUBLISH_RETRY_S = 15.0
"""How long a publish is repeated: a cluster of three was measured silent for 4.9 s when its leader dies."""

AGAIN_S = 0.2
_ELECTING = frozenset({None, 10008, 10009, 10118})
"""JetStream's error codes while a cluster has no leader; another error of the server is an answer."""

ERROR_CODE = "Nats-Service-Error-Code"
ERROR_TEXT = "Nats-Service-Error"

T = TypeVar("T")


async def cancellable(call: Awaitable[T]) -> T:
    """Await a call of nats-py: a cancellation that arrives together with its answer is not forgotten.

    Source: https://github.com/python/cpython/issues/86296, `asyncio.wait_for` of Python 3.11.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        return await call
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


async def retry_jetstream(call: Callable[[], Awaitable[T]]) -> T:
    """The answer of JetStream to a call, asked again while the broker is away or a cluster elects a leader.

    Raises what JetStream answers when it says no (NotFoundError, BadRequestError), and BrokerUnavailable after 15 s.
    """
    deadline = asyncio.get_running_loop().time() + PUBLISH_RETRY_S
    while True:
        try:
            return await cancellable(call())
        except (nats.js.errors.NotFoundError, nats.js.errors.BadRequestError):
            raise
        except (nats.errors.Error, TimeoutError) as error:
            if isinstance(error, nats.js.errors.ServerError) and error.err_code not in _ELECTING:
                raise
            if asyncio.get_running_loop().time() > deadline:
                raise BrokerUnavailable(
                    f"JetStream does not answer: {error!r}", "is it enabled, and are most of its servers up?"
                ) from error
        await asyncio.sleep(AGAIN_S)


def payload_of(answer: Msg) -> bytes:
    """The payload of a reply. Raises the typed error when the reply is one."""
    headers = answer.headers or {}
    if ERROR_CODE in headers:
        try:
            error = messages.decode(answer.data, messages.ErrorReply)
        except BadRequest:
            raise TickwireError(headers.get(ERROR_TEXT, "the service answered an error")) from None
        raise from_code(error.code, error.message, error.remedy)
    return answer.data


def no_such_service(subject: str) -> NoSuchService:
    """Nobody serves `subject`, by the name of the service that would."""
    service = subject.split(".", 1)[0]
    return NoSuchService(
        f"no {service} is running, so nothing answers {subject}",
        f"start it with `tickwire service {service}`",
    )
