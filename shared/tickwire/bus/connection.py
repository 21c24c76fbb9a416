"""The bus: one NATS connection per process, with the traps of nats-py 2.16 behind it.

- An exception in a callback would go to `error_cb` only: here it ends the process loudly (`Bus` fails).
- What is queued is lost with the process, so leaving the block drains the connection (`parting`).
- nats-py waits with `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that arrives together with
  the answer; the task would then go on for ever (`answers.cancellable`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import nats
import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.aio.msg import Msg
from nats.aio.subscription import DEFAULT_SUB_PENDING_MSGS_LIMIT, Subscription
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy

from tickwire.bus import graceful_close, security
from tickwire.bus.decoding import Undecodable
from tickwire.bus.natspy import BusClient, opened
from tickwire.bus.publisher import STORAGE_REMEDY, Ack, AcknowledgedPublisher
from tickwire.bus.requests import PUBLISH_RETRY_S, no_such_service, payload_of
from tickwire.bus.service_wait import ServiceWait
from tickwire.errors import (
    BrokerUnavailable,
    Busy,
    ConfigError,
    Forbidden,
    RequestTimeout,
    StorageError,
    Unacknowledged,
)
from tickwire.model import broker_urls as addresses
from tickwire.model import messages
from tickwire.model.subjects import family_of
from tickwire.observe import logs
from tickwire.observe.episodes import QUIET_S, Episode
from tickwire.process import lifecycle
from tickwire.redaction import hide
from tickwire.settings import NatsSettings

log = logs.get(__name__)

CHUNK_BYTES = 512 * 1024
"""Size of one chunk of a bulk reply: half of nats-server's default `max_payload` of 1 MiB."""

ACK_S = 2.0
"""How long one confirmation is waited for before the publish is repeated."""
REQUEST_TRIES = 3
DEAF_S = 10.0
"""An ordered consumer that was silent for so long does not deliver: it says each second that it is there."""
PENDING_LIMIT = DEFAULT_SUB_PENDING_MSGS_LIMIT
"""Messages that wait for a callback before they are dropped: nats-py's own limit."""

COMPLAINTS = 50
"""Errors of the broker that are told apart, so that each is logged once per episode."""

_PER_SUBJECT = "maximum messages per subject"
"""In JetStream's description of the refusal; its code, 10077, says only that a message was not stored."""


UrlSource = str | Callable[[], str]
"""A URL of the broker, or what tells it: asked again when the connection is lost."""

R = TypeVar("R", bound=Struct)
T = TypeVar("T")


class Bus:
    """A connection to the broker. Made by `connect`; everything here raises BrokerUnavailable when it is lost."""

    def __init__(self, client: BusClient, url: str, name: str) -> None:
        self.client = client
        self.url = url
        self.name = name
        """What the broker knows us by: of a service, its instance."""
        self.jetstream: JetStreamContext = client.jetstream(timeout=5)
        self.publisher = AcknowledgedPublisher(client)
        self.lost = asyncio.Event()
        """Set while the connection is not there."""
        self.disconnects = 0
        """How often it was lost."""
        self.service_wait = ServiceWait(0.0)
        """How long a person or a program waits for a service that is not there; `connect` sets the settings'."""
        self.resync_callbacks: set[Callable[[], None]] = set()
        """Called when subscriptions may have missed messages: after a reconnection, and when one was too slow."""
        self.undecodable = Undecodable()
        """Messages that were passed over."""

    async def publish(self, subject: str, message: Struct) -> None:
        """Publish without confirmation."""
        await self.client.publish(subject, messages.encode(message))

    async def append(self, subject: str, data: bytes, *, message_id: str) -> Ack:
        """Publish to a stream and wait for its confirmation, repeating for up to 15 s.

        Repeating is harmless: the stream drops a second message of the same `message_id`. Raises StorageError when the
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
                        return await self.publisher.publish(subject, data, headers=headers, timeout_s=ACK_S)
                    except nats.errors.Error as error:
                        if isinstance(error, nats.js.errors.APIError) and _PER_SUBJECT in (error.description or ""):
                            raise Busy(f"as much as may wait on {subject} does", "ask again later") from error
                        reason = error
                        await asyncio.sleep(0.2)
        except TimeoutError as error:
            await self._refuse_if_full(subject, reason)
            kind = BrokerUnavailable if isinstance(reason, nats.js.errors.APIError) else Unacknowledged
            raise kind(
                f"the broker did not confirm a message on {subject} within {PUBLISH_RETRY_S:.0f} s: {reason!r}",
                "is JetStream up, and does the stream have room?",
            ) from error

    async def _refuse_if_full(self, subject: str, reason: Exception) -> None:
        """Raise StorageError where the server is there, and its store takes nothing: it does not even say so."""
        if not isinstance(reason, nats.errors.TimeoutError) or not self.client.is_connected:
            return
        try:
            await self.client.flush(int(ACK_S))
        except (nats.errors.Error, TimeoutError):
            return
        raise StorageError(
            f"the broker is there, and stores nothing on {family_of(subject)}", STORAGE_REMEDY
        ) from reason

    async def request(self, subject: str, message: Struct, reply: type[R], *, timeout_s: float = 10.0) -> R:
        """Ask a service and wait for its one reply; asked again when a third of the time passed without one.

        A request that an instance took with it when it was killed is so answered by another. Requests must be
        harmless to repeat. Raises BadRequest when a field is beyond its bounds, the typed error that the service
        answered with, NoSuchService when nobody serves the subject, RequestTimeout when it does not answer within
        `timeout_s`.
        """
        queue: asyncio.Queue[Msg] = asyncio.Queue()
        with self._connected():
            inbox = self.client.new_inbox()
            subscription = await self.client.subscribe(inbox, cb=queue.put)
            try:
                for _ in range(REQUEST_TRIES):
                    await self.client.publish(subject, messages.encode_request(message), reply=inbox)
                    try:
                        async with asyncio.timeout(timeout_s / REQUEST_TRIES):
                            answer = await queue.get()
                    except TimeoutError:
                        continue
                    if (answer.headers or {}).get("Status") == "503":
                        raise no_such_service(subject)
                    return messages.decode(payload_of(answer), reply)
            finally:
                await subscription.unsubscribe()
        raise RequestTimeout(f"{subject} did not answer within {timeout_s:g} s", "see the service's log")

    async def request_chunks(
        self, subject: str, message: Struct, decode: Callable[[bytes], R], *, timeout_s: float = 10.0
    ) -> AsyncGenerator[R, None]:
        """Ask a service for a chunked reply; yields the chunks in order. `timeout_s` is for each chunk.

        `decode` makes a chunk of bytes; a chunk has `chunk` (its number from 0) and `more`. Raises as
        `request` does, and RequestTimeout when a chunk went missing.
        """
        queue: asyncio.Queue[Msg] = asyncio.Queue()
        with self._connected():
            inbox = self.client.new_inbox()
            subscription = await self.client.subscribe(inbox, cb=queue.put)
            try:
                await self.client.publish(subject, messages.encode_request(message), reply=inbox)
                expected = 0
                while True:
                    try:
                        async with asyncio.timeout(timeout_s):
                            answer = await queue.get()
                    except TimeoutError as error:
                        raise RequestTimeout(f"{subject} did not answer within {timeout_s:g} s") from error
                    if (answer.headers or {}).get("Status") == "503":
                        raise no_such_service(subject)
                    part: Any = decode(payload_of(answer))
                    if part.chunk != expected:
                        raise RequestTimeout(f"chunk {expected} of the reply from {subject} went missing", "ask again")
                    yield part
                    if not part.more:
                        return
                    expected += 1
            finally:
                await subscription.unsubscribe()

    async def request_all(self, subject: str, data: bytes = b"", *, wait_s: float) -> list[bytes]:
        """All that is answered to one request within `wait_s`, by however many instances; empty when nobody does."""
        found: list[bytes] = []

        async def take(message: Msg) -> None:
            if (message.headers or {}).get("Status") != "503":
                found.append(message.data)

        with self._connected():
            inbox = self.client.new_inbox()
            subscription = await self.client.subscribe(inbox, cb=take)
            try:
                await self.client.publish(subject, data, reply=inbox)
                await asyncio.sleep(wait_s)
            finally:
                await subscription.unsubscribe()
        return found

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """What the client raises within is BrokerUnavailable outside."""
        try:
            yield
        except nats.errors.Error as error:
            raise BrokerUnavailable(f"the connection to {self.url} is lost: {error!r}") from error

    async def subscribe_ordered(
        self,
        subject: str,
        stream: str,
        callback: Callable[[Msg], Awaitable[None]],
        *,
        policy: DeliverPolicy = DeliverPolicy.ALL,
        start_sequence: int | None = None,
    ) -> JetStreamContext.PushSubscription:
        """Follow a stream in order, without acks, by callback.

        The heartbeat of 1 s is what lets it notice a broker restart at once (about 14 s deaf without). A message that
        makes `callback` raise BadRequest is passed over.
        """
        subscription = await self.jetstream.subscribe(
            subject,
            stream=stream,
            cb=self.undecodable.guarded(callback),
            ordered_consumer=True,
            idle_heartbeat=1,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE if start_sequence else policy,
            config=ConsumerConfig(opt_start_seq=start_sequence) if start_sequence else None,
        )
        self.client.followed[subscription._sub] = time.monotonic()
        self.client.heard()
        consumer = subscription._sub._jsi
        if start_sequence and consumer is not None:
            # Reset before its first message, nats-py would begin with the stream's first.
            consumer._sseq = max(consumer._sseq, start_sequence - 1)
        return subscription

    def storage_trouble(self) -> str | None:
        """Why the broker does not store what it is given, if so, and what to do."""
        trouble = self.publisher.storage_error()
        return None if trouble is None else str(trouble)

    def silent_consumer(self) -> str | None:
        """Whether what is followed does not deliver, though a heartbeat is due each second; None where all does."""
        now = time.monotonic()
        for heard in self.client.heard().values():
            if now - heard > DEAF_S:
                return f"a consumer has been silent for {now - heard:.0f} s: is its stream there? see `tickwire status`"
        return None

    async def subscribe(
        self,
        subject: str,
        callback: Callable[[Msg], Awaitable[None]],
        *,
        queue: str = "",
        pending_limit: int = PENDING_LIMIT,
    ) -> Subscription:
        """A plain subscription by callback, for which up to `pending_limit` messages wait.

        A message that makes `callback` raise BadRequest is passed over.
        """
        guarded = self.undecodable.guarded(callback)
        return await self.client.subscribe(subject, queue=queue, cb=guarded, pending_msgs_limit=pending_limit)


@asynccontextmanager
async def connect(settings: NatsSettings, *, name: str, url: UrlSource | None = None) -> AsyncIterator[Bus]:
    """Connect to `url`, else to `settings.url`; drain on the way out. A broker that moved is followed.

    Raises BrokerUnavailable when nothing listens there, Forbidden when it does not know us, ConfigError when TLS does
    not come about. A bug in a callback ends the block with that exception, and so does what the broker does not permit
    (Forbidden): it says so apart from any request, which would only time out.
    """
    address = (url() if callable(url) else url) or settings.url or ""
    if not address:
        raise BrokerUnavailable("no broker is configured or running", "run `tickwire up`, or set nats.url")
    if not addresses.is_one(address):
        raise ConfigError("that is not the URL of a broker", addresses.HOW)
    hide(filter(None, [addresses.token_of(address)]))
    bug: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    refusals: list[Exception] = []
    # Not there yet is no disconnection either.
    leaving = asyncio.Event()
    leaving.set()
    client = BusClient()
    complaints: dict[str, Episode] = {}
    unanswered = Episode(log, "a reply is not permitted", quiet_s=QUIET_S)
    behind = Episode(log, "a subscription is too slow, and messages are dropped", quiet_s=QUIET_S)

    def fail(error: Exception) -> None:
        if not bug.done():
            bug.set_exception(error)

    async def on_error(error: Exception) -> None:
        if (forbidden := security.denied(error, settings, address)) is not None:
            if security.is_reply(error):
                unanswered.occurs(error=str(forbidden))
            else:
                fail(forbidden)
        elif not isinstance(error, nats.errors.Error | OSError | asyncio.TimeoutError):
            fail(error)
        elif isinstance(error, nats.errors.SlowConsumerError):
            # One for each message that is dropped.
            behind.occurs(subject=error.subject)
            in_doubt()
        elif client.is_connected:
            complaints.setdefault(repr(error)[:200], Episode(log, "broker", quiet_s=QUIET_S)).occurs(error=repr(error))
            while len(complaints) > COMPLAINTS:
                complaints.pop(next(iter(complaints)))
        else:
            refusals[:] = [error]
            if leaving.is_set() or not is_still_there():
                return
            if isinstance(refusal := security.refused(error, settings, address), Forbidden):
                # It would be tried again for ever.
                fail(refusal)

    async def on_disconnect() -> None:
        bus.lost.set()
        bus.disconnects += 1
        if not leaving.is_set():
            log.warning("disconnected from the broker", url=bus.url)
            is_still_there()

    def is_still_there() -> bool:
        """Whether the broker is said to be where we try; one that moved is tried at its new place from now on.

        Before it is up again another one may have its old place, which does not know us.
        """
        nonlocal address
        if not callable(url):
            return True
        try:
            found = url()
        except BrokerUnavailable:
            return False
        if found != address and addresses.is_one(found):
            log.warning("the broker has moved", url=addresses.shown(found))
            hide(filter(None, [addresses.token_of(found)]))
            address, bus.url = found, addresses.shown(found)
            client.set_server_pool(addresses.servers(found))
            return False
        return True

    async def on_closed() -> None:
        if not leaving.is_set():
            # What the broker has against us it may say again and again; a new process begins anew.
            fail(security.refused(client.last_error or nats.errors.ConnectionClosedError(), settings, address))

    async def on_reconnect() -> None:
        bus.lost.clear()
        bus.publisher.forget()
        log.info("connected to the broker again", url=bus.url)
        in_doubt()

    bus = Bus(client, addresses.shown(address), name)
    bus.service_wait.seconds = settings.patience_s

    def in_doubt() -> None:
        for doubt in list(bus.resync_callbacks):
            doubt()

    async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
        await opened(client, settings, address, name, refusals, on_error, on_disconnect, on_reconnect, on_closed)
        leaving.clear()
        watch = group.create_task(_raise(bug))
        try:
            yield bus
        finally:
            watch.cancel()
            leaving.set()
            await graceful_close.close(client, bus.lost)


async def _raise(bug: asyncio.Future[None]) -> None:
    await bug
