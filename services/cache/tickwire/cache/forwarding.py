"""Forwards requests between the instances of the cache.

An instance that does not own a partition sends the request on `cache.partition.<p>.<endpoint>`, with the client's reply
subject in a header. The owner confirms at once that it has the request, then replies to the client directly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import nats.errors
from nats.aio.msg import Msg

from tickwire.bus import graceful_close, security
from tickwire.bus.connection import Bus
from tickwire.bus.requests import WORKING, request_once
from tickwire.bus.service import Call, Endpoint, answer, may_answer
from tickwire.cache import key_endpoints
from tickwire.cache.partition import Partition
from tickwire.model import messages
from tickwire.model.messages import ListRequest
from tickwire.model.subjects import check_subject
from tickwire.model.times import now_ms
from tickwire.observe.metrics import Metrics
from tickwire.process import lifecycle
from tickwire.task_group import TaskGroup

HANDSHAKE_S = 0.5
"""How long an owner may take to confirm that it has a request, before it counts as gone."""
REPLY_TO = "Tickwire-Reply-To"
EXPIRES = "Tickwire-Expires"
"""When (ms) the forwarding instance gives up on the handshake, by its own clock: for owners of earlier versions."""
CONFIRMS = "Tickwire-Confirms"
"""The forwarding instance answers the owner's confirmation if it still waits for it: an owner that was suspended must
not reply a second time. This compares no clocks, which may differ from machine to machine."""


async def forward(bus: Bus, subject: str, call: Call) -> bool:
    """Forward a request to an owner; whether one took it. Raises nats' errors."""
    headers = {REPLY_TO: call.reply_to, EXPIRES: str(now_ms() + int(HANDSHAKE_S * 1000)), CONFIRMS: "1"}
    headers |= {name: value for name, value in call.headers.items() if name == WORKING}
    taken = await request_once(bus.client, subject, call.data, HANDSHAKE_S, headers)
    if taken is not None and taken.reply:
        await taken.respond(b"")
    return taken is not None


class ForwardedRequests:
    """Answers the requests that other instances forward, in tasks of `tasks`.

    `endpoint_of` gives the endpoint of a name: it forwards again if the partition has meanwhile changed its owner.
    """

    def __init__(
        self, bus: Bus, endpoint_of: Callable[[str], Endpoint[Any]], tasks: TaskGroup, metrics: Metrics
    ) -> None:
        self._bus = bus
        self._endpoint_of = endpoint_of
        self._tasks = tasks
        self._metrics = metrics

    @asynccontextmanager
    async def answered(self, partition: Partition) -> AsyncIterator[None]:
        """Answer requests for a partition within the block."""
        subject = f"cache.partition.{partition.number}.*"
        subscription = await self._bus.subscribe(subject, partial(self._received, partition))
        try:
            yield
        finally:
            await graceful_close.unsubscribe(self._bus.client, subscription)

    async def _received(self, partition: Partition, message: Msg) -> None:
        """Answer one request. Raises BadRequest."""
        headers = message.headers or {}
        name = message.subject.rsplit(".", 1)[1]
        publish = self._bus.client.publish
        if not message.reply or not may_answer(message):
            return
        if name == "list":
            call = Call(message.subject, message.reply, headers, message.data, publish)
            listing: Endpoint[Any] = Endpoint(message.subject, ListRequest, partial(_list, partition))
            lifecycle.start(self._tasks, answer(listing, call, self._metrics))
        elif name in key_endpoints.BY_NAME and REPLY_TO in headers and not security.is_ours(headers[REPLY_TO]):
            check_subject(headers[REPLY_TO])
            if CONFIRMS not in headers:
                # The forwarding instance is of an earlier version.
                expires = messages.header_int(headers, EXPIRES)
                if expires is None or expires < now_ms():
                    return
            call = Call(message.subject, headers[REPLY_TO], headers, message.data, publish)
            lifecycle.start(self._tasks, self._answer(message, self._endpoint_of(name), call))

    async def _answer(self, message: Msg, endpoint: Endpoint[Any], call: Call) -> None:
        if await self._confirm(message):
            await answer(endpoint, call, self._metrics)

    async def _confirm(self, message: Msg) -> bool:
        """Confirm to the forwarding instance that its request is taken; whether it still waited for that."""
        try:
            if CONFIRMS in (message.headers or {}):
                return await request_once(self._bus.client, message.reply, b"", HANDSHAKE_S) is not None
            await message.respond(b"")
        except nats.errors.Error:
            return False
        return True


async def _list(partition: Partition, request: ListRequest, call: Call) -> None:
    listing = await key_endpoints.listed(partition, request)
    await key_endpoints.reply_list(listing.keys, listing.damaged, call)
