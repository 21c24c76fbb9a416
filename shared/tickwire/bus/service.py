"""Endpoints of a service: answers requests as a NATS micro service.

Endpoints are drained and their tasks awaited at the end, so that every accepted request is answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import nats.errors
from msgspec import Struct
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.micro.request import Request
from nats.micro.service import EndpointStats, ServiceConfig

from tickwire.bus import graceful_close, security
from tickwire.bus.connection import Bus
from tickwire.bus.natspy import MicroService, message_of
from tickwire.bus.requests import ERROR_CODE, ERROR_TEXT, WORKING
from tickwire.errors import BrokerUnavailable, Busy, InternalError, TickwireError
from tickwire.model import messages
from tickwire.model.subjects import SUBJECT_BYTES
from tickwire.model.version import VERSION, semantic
from tickwire.observe import logs
from tickwire.observe.episodes import QUIET_S, Episode
from tickwire.observe.metrics import Metrics
from tickwire.process import lifecycle
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

WORKING_S = 2.0
"""How often a requester that asked for it is told that its reply is being made: a fifth of the default time limit."""
WORKING_MOST_S = 600.0
"""How long it is told so: a disk that does not answer must not keep a requester for ever."""

_foreign = Episode(log, "requests name a reply subject on which tickwire publishes", quiet_s=QUIET_S)

Q = TypeVar("Q", bound=Struct)


@dataclass(frozen=True)
class Call:
    """One request, as its handler gets it. Answer with `reply`, several times for a chunked reply."""

    subject: str
    reply_to: str
    headers: Mapping[str, str]
    data: bytes
    publish: Callable[..., Awaitable[None]] = field(repr=False)

    async def reply(self, message: Struct | bytes) -> None:
        """Send a reply: a message as JSON, or bytes unchanged."""
        if self.reply_to:
            await self.publish(self.reply_to, message if isinstance(message, bytes) else messages.encode(message))

    async def refuse(self, error: TickwireError) -> None:
        """Send a typed error as the reply."""
        if self.reply_to:
            await self.publish(
                self.reply_to,
                messages.encode(messages.error_reply(error)),
                headers={ERROR_CODE: str(error.status), ERROR_TEXT: error.message[:500]},
            )


@dataclass(frozen=True)
class Endpoint(Generic[Q]):
    """A subject that a service answers. `handle` returns the reply, or None when it replied by itself.

    At most `concurrent` requests are handled at once, and `waiting` more wait; further ones are refused (Busy).
    """

    subject: str
    request: type[Q]
    handle: Callable[[Q, Call], Awaitable[Struct | None]]
    concurrent: int = 256
    waiting: int = 4096


@asynccontextmanager
async def serve(
    bus: Bus,
    service: str,
    endpoints: Sequence[Endpoint[Any]],
    *,
    instance: str,
    queue: str = "q",
    metrics: Metrics | None = None,
) -> AsyncIterator[None]:
    """Answer requests for as long as the block lasts; accepted requests are answered before it ends.

    A TickwireError of a handler is the reply. Any other exception is a bug: it is logged and its request answered with
    InternalError; other requests are not affected. The instance answers `$SRV.PING/INFO/STATS`, and `metrics` counts
    its requests.
    """
    counted = metrics or Metrics()
    async with TaskGroup() as group:
        micro = MicroService(
            bus.client,
            ServiceConfig(
                name=service,
                version=semantic(VERSION),
                description=f"tickwire {service}",
                metadata={"instance": instance},
                stats_handler=partial(_correct, counted),
            ),
            may_answer,
        )
        for endpoint in endpoints:
            await micro.add_endpoint(
                name=endpoint.subject.replace(".", "-"),
                subject=endpoint.subject,
                queue_group=queue,
                handler=_in_task(bus, endpoint, group, counted),
                # Left out, it would be null.
                metadata={},
            )
        try:
            # After the endpoints: a client that got an answer to its ping may send a request. Returns when the server
            # has processed all subscriptions.
            await micro.start()
            counted.serving = counted.served = True
            yield
        finally:
            counted.serving = False
            await micro.drain(partial(_drained, bus))


async def _drained(bus: Bus, subscription: Subscription) -> None:
    try:
        await graceful_close.unless_lost(bus.lost, subscription.drain())  # type: ignore[no-untyped-call]
    except nats.errors.Error as error:
        log.debug("the endpoint was closed already", error=repr(error))


def _in_task(
    bus: Bus, endpoint: Endpoint[Any], group: TaskGroup, metrics: Metrics
) -> Callable[[Request], Awaitable[None]]:
    free = asyncio.Semaphore(endpoint.concurrent)
    bound = endpoint.concurrent + endpoint.waiting
    in_hand = 0

    async def in_turn(call: Call) -> None:
        nonlocal in_hand
        try:
            async with free:
                await answer(endpoint, call, metrics)
        finally:
            in_hand -= 1

    async def handler(request: Request) -> None:
        nonlocal in_hand
        message = message_of(request)
        if not may_answer(message):
            return
        call = Call(request.subject, message.reply, request.headers or {}, request.data, bus.client.publish)
        if in_hand >= bound:
            await _refuse(endpoint, call, metrics, _busy(call.subject, in_hand))
            return
        in_hand += 1
        if lifecycle.start(group, in_turn(call)) is None:
            in_hand -= 1
            await _refuse(endpoint, call, metrics, Busy("the service is ending", "ask again in a moment"))

    return handler


def _busy(subject: str, in_hand: int) -> Busy:
    return Busy(f"{in_hand:,} requests of {subject} are being answered", "ask again in a moment, and fewer at once")


def may_answer(request: Msg) -> bool:
    """Whether the reply subject is an ordinary one: a service may publish on subjects that the requester may not."""
    if security.is_ours(request.reply):
        _foreign.occurs(subject=request.subject)
        return False
    # A longer subject would make the broker close our connection.
    return len(request.reply.encode(errors="replace")) <= SUBJECT_BYTES


def _correct(metrics: Metrics, stats: EndpointStats) -> dict[str, object] | None:
    """Set the statistics from those of `answer`: nats-py counts a request before it is answered.

    Returns their `data`: why the process is not ready, if it is not, and the room that it has for its files, for who
    may not reach its monitoring port.
    """
    answered = metrics.answered[stats.subject]
    stats.num_errors, stats.last_error = answered.errors, answered.last_error
    stats.processing_time = answered.nanoseconds
    # By ADR-32 of the requests received. Those that another instance received and passed on count in the total only.
    stats.average_processing_time = answered.nanoseconds // stats.num_requests if stats.num_requests else 0
    reason = metrics.ready.reason()
    data: dict[str, object] = {"trouble": reason} if reason is not None else {}
    if metrics.space is not None:
        data["space"] = metrics.space._asdict()
    return data or None


async def answer(endpoint: Endpoint[Any], call: Call, metrics: Metrics) -> None:
    """Handle one request: send the reply, a typed error, or InternalError for a bug, which is logged."""
    began, answered = time.perf_counter_ns(), metrics.answered[endpoint.subject]
    try:
        async with _reported(call):
            reply = await endpoint.handle(messages.decode(call.data or b"{}", endpoint.request), call)
        if reply is not None:
            await call.reply(reply)
    except (TickwireError, nats.errors.Error) as problem:
        error = problem
        if not isinstance(error, TickwireError):
            # The broker restarts, or elects a leader.
            error = BrokerUnavailable(f"{call.subject} could not be answered: {problem!r}", "ask again")
        log.debug("refused", subject=call.subject, error=str(error))
        await _refuse(endpoint, call, metrics, error)
    except Exception as error:
        # The boundary of a request: a bug fails its own request only.
        log.exception("a request failed", subject=call.subject)
        bug = InternalError(f"{call.subject} failed: {error!r}", "see the service's log")
        await _refuse(endpoint, call, metrics, bug)
    finally:
        took = time.perf_counter_ns() - began
        answered.count += 1
        answered.nanoseconds += took
        metrics.requests.labels(_named(endpoint)).observe(took / 1e9)


@asynccontextmanager
async def _reported(call: Call) -> AsyncIterator[None]:
    """Report to a requester that wants it that its reply is being made, each WORKING_S within the block."""
    if WORKING not in call.headers or not call.reply_to:
        yield
        return
    async with lifecycle.unwrapped(), TaskGroup() as group:
        reports = group.create_task(_report(call))
        try:
            yield
        finally:
            reports.cancel()


async def _report(call: Call) -> None:
    for _ in range(int(WORKING_MOST_S / WORKING_S)):
        await asyncio.sleep(WORKING_S)
        await call.publish(call.reply_to, b"", headers={WORKING: "1"})


async def _refuse(endpoint: Endpoint[Any], call: Call, metrics: Metrics, error: TickwireError) -> None:
    metrics.refused.labels(_named(endpoint), error.code).inc()
    answered = metrics.answered[endpoint.subject]
    answered.errors += 1
    answered.last_error = str(error)
    try:
        await call.refuse(error)
    except nats.errors.Error as problem:
        log.debug("the error could not be sent", subject=call.subject, error=repr(problem))


def _named(endpoint: Endpoint[Any]) -> str:
    """The name of an endpoint in metrics: without the tokens that differ between instances and partitions."""
    return ".".join(endpoint.subject.split(".")[:2])
