"""The bus: one NATS connection per process.

An exception in a callback ends the block of `connect` with that exception; nats-py would only pass it to `error_cb`.
Queued messages are sent before the connection closes (`graceful_close`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

import nats
import nats.errors
from msgspec import Struct
from nats.aio.msg import Msg
from nats.aio.subscription import DEFAULT_SUB_PENDING_MSGS_LIMIT, Subscription
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy

from tickwire.bus import graceful_close, ordered_consumers, security
from tickwire.bus.connection_events import ConnectionEvents, UrlSource
from tickwire.bus.decoding import Undecodable
from tickwire.bus.natspy import BusClient
from tickwire.bus.publisher import Ack, AcknowledgedPublisher
from tickwire.bus.requests import WORKING, Inbox, open_inbox, payload_of
from tickwire.bus.service_wait import ServiceWait
from tickwire.errors import BrokerUnavailable, ConfigError, RequestTimeout
from tickwire.model import broker_urls, messages
from tickwire.model.feeds.layout import TapeLayout
from tickwire.process import lifecycle
from tickwire.redaction import hide
from tickwire.settings import NatsSettings
from tickwire.task_group import TaskGroup

CHUNK_BYTES = 512 * 1024
"""Size of one chunk of a bulk reply: half of nats-server's default `max_payload` of 1 MiB."""

REQUEST_TRIES = 3
DEAF_S = 10.0
"""An ordered consumer that was silent for so long does not deliver: a heartbeat is due each second."""
PENDING_LIMIT = DEFAULT_SUB_PENDING_MSGS_LIMIT
"""Messages that wait for a callback before the next are dropped: nats-py's own limit."""
CLOSE_S = 1.0
"""How long a connection that could not be made may take to close: after a failed TLS handshake `close` never returns
(https://github.com/nats-io/nats.py/issues/718)."""

R = TypeVar("R", bound=Struct)

__all__ = ["CHUNK_BYTES", "Bus", "UrlSource", "connect"]


class Bus:
    """A connection to the broker, made by `connect`. Every method raises BrokerUnavailable when it is closed."""

    def __init__(self, client: BusClient, url: str, name: str, patience_s: float = 0.0) -> None:
        self.client = client
        self.url = url
        """Without user, password and token."""
        self.name = name
        """The connection's name at the broker: of a service, its instance."""
        self.jetstream: JetStreamContext = client.jetstream(timeout=5)
        self.publisher = AcknowledgedPublisher(client)
        self.lost = asyncio.Event()
        """Set while disconnected."""
        self.disconnects = 0
        """How often the connection was lost."""
        self.service_wait = ServiceWait(patience_s)
        """How long a person or a program waits for a service that is not running."""
        self.resync_callbacks: set[Callable[[], None]] = set()
        """Called when subscriptions may have missed messages: after a reconnection, and when one was too slow."""
        self.undecodable = Undecodable()
        """Skipped messages."""
        self.tape_layout: tuple[int, TapeLayout] | None = None
        """How many partitions the tape has, and the `disconnects` when that was read (`tickwire.tape.layout`)."""

    def resync(self) -> None:
        """Call every one of `resync_callbacks`."""
        for callback in list(self.resync_callbacks):
            callback()

    async def publish(self, subject: str, message: Struct) -> None:
        """Publish without acknowledgement."""
        await self.client.publish(subject, messages.encode(message))

    async def append(self, subject: str, data: bytes, *, message_id: str) -> Ack:
        """See `AcknowledgedPublisher.append`."""
        return await self.publisher.append(subject, data, message_id=message_id)

    async def request(self, subject: str, message: Struct, reply: type[R], *, timeout_s: float = 10.0) -> R:
        """Send a request to a service and await its one reply, sending again after each third of `timeout_s`.

        So another instance answers a request that was lost with a killed one; requests must be harmless to repeat.
        Raises BadRequest when a field is out of bounds, the typed error of the service, NoSuchService when nothing
        serves the subject, RequestTimeout when nothing answers within `timeout_s`.
        """
        data = messages.encode_request(message)
        async with self._inbox() as inbox:
            for _ in range(REQUEST_TRIES):
                await inbox.ask(subject, data)
                with suppress(TimeoutError):
                    return messages.decode(payload_of(await inbox.reply(timeout_s / REQUEST_TRIES)), reply)
        raise RequestTimeout(f"{subject} did not answer within {timeout_s:.3g} s", "see the service's log")

    async def request_chunks(
        self, subject: str, message: Struct, decode: Callable[[bytes], R], *, timeout_s: float = 10.0
    ) -> AsyncGenerator[R, None]:
        """Send a request for a chunked reply; yields the chunks in order.

        `timeout_s` is for each chunk, and begins again when the service reports that it works on the reply: to read a
        large file takes as long as its disk. (A service of an earlier version does not report.)
        `decode` makes a chunk of bytes; a chunk has `chunk` (its number from 0) and `more`. Raises as
        `request` does, and RequestTimeout when a chunk is missing or the connection is lost. The broker ends that of a
        reader which is 64 MiB behind: ask for less at once.
        """
        async with self._inbox() as inbox, self._ended_with_connection(inbox):
            await inbox.ask(subject, messages.encode_request(message), {WORKING: "1"})
            expected = 0
            while True:
                try:
                    answer = await inbox.reply(timeout_s)
                except TimeoutError as error:
                    raise RequestTimeout(f"{subject} did not answer within {timeout_s:.3g} s") from error
                if WORKING in (answer.headers or {}):
                    continue
                part: Any = decode(payload_of(answer))
                if part.chunk != expected:
                    raise RequestTimeout(f"chunk {expected} of the reply from {subject} is missing", "ask again")
                yield part
                if not part.more:
                    return
                expected += 1

    @asynccontextmanager
    async def _ended_with_connection(self, inbox: Inbox) -> AsyncIterator[None]:
        """End an inbox within the block when the connection is lost."""
        disconnects = self.disconnects

        def end() -> None:
            if self.disconnects != disconnects:
                inbox.end()

        self.resync_callbacks.add(end)
        try:
            yield
        finally:
            self.resync_callbacks.discard(end)

    async def request_all(
        self, subject: str, data: bytes = b"", *, wait_s: float, most: int | None = None
    ) -> list[bytes]:
        """Payloads of all replies to one request within `wait_s`, at most `most`; none when nothing serves it."""
        async with self._inbox() as inbox:
            await inbox.ask(subject, data)
            return [reply.data for reply in await inbox.replies(wait_s, most)]

    async def subscribe(
        self,
        subject: str,
        callback: Callable[[Msg], Awaitable[None]],
        *,
        queue: str = "",
        pending_limit: int = PENDING_LIMIT,
    ) -> Subscription:
        """Subscribe with a callback; at most `pending_limit` messages wait for it.

        A message for which `callback` raises BadRequest is skipped.
        """
        guarded = self.undecodable.guarded(callback)
        return await self.client.subscribe(subject, queue=queue, cb=guarded, pending_msgs_limit=pending_limit)

    @asynccontextmanager
    async def subscribed(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> AsyncIterator[None]:
        """As `subscribe`, for as long as the block lasts."""
        subscription = await self.subscribe(subject, callback)
        try:
            yield
        finally:
            await graceful_close.unsubscribe(self.client, subscription)

    async def subscribe_ordered(
        self,
        subject: str,
        stream: str,
        callback: Callable[[Msg], Awaitable[None]],
        *,
        policy: DeliverPolicy = DeliverPolicy.ALL,
        start_sequence: int | None = None,
    ) -> JetStreamContext.PushSubscription:
        """Consume a stream in order with a callback, without acknowledgements, until it is unsubscribed.

        A consumer that falls silent or misses a message is made again (`ordered_consumers`). The broker pauses while
        messages wait for `callback`: about 32 MiB. A message for which it raises BadRequest is skipped.
        """
        subscription = await self.jetstream.subscribe(
            subject,
            stream=stream,
            cb=self.undecodable.guarded(callback),
            ordered_consumer=True,
            idle_heartbeat=ordered_consumers.HEARTBEAT_S,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE if start_sequence else policy,
            config=ConsumerConfig(opt_start_seq=start_sequence) if start_sequence else None,
        )
        ordered_consumers.watch(subscription)
        return subscription

    def storage_trouble(self) -> str | None:
        """Why the broker stores nothing, and the remedy; None when it stores everything."""
        error = self.publisher.storage_error()
        return None if error is None else str(error)

    def silent_consumer(self) -> str | None:
        """Names an ordered consumer whose heartbeats are missing; None when all deliver."""
        now = time.monotonic()
        for heard in ordered_consumers.heard_at(self.client):
            if now - heard > DEAF_S:
                return f"a consumer has been silent for {now - heard:.0f} s: is its stream there? see `tickwire status`"
        return None

    @asynccontextmanager
    async def _inbox(self) -> AsyncIterator[Inbox]:
        with self._connected():
            async with open_inbox(self.client) as inbox:
                yield inbox

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Turns nats' errors into BrokerUnavailable."""
        try:
            yield
        except nats.errors.Error as error:
            raise BrokerUnavailable(f"the connection to {self.url} is lost: {error!r}") from error


@asynccontextmanager
async def connect(settings: NatsSettings, *, name: str, url: UrlSource | None = None) -> AsyncIterator[Bus]:
    """Connect to `url`, else to `settings.url`; drains at the end of the block. Follows a broker that moved.

    Raises BrokerUnavailable when no broker answers, Forbidden when it refuses the login, ConfigError when TLS fails.
    The block ends with the exception of a callback, and with Forbidden when the broker denies a permission: the denied
    request alone would only time out.
    """
    address = (url() if callable(url) else url) or settings.url or ""
    if not address:
        raise BrokerUnavailable("no broker is configured or running", "run `tickwire up`, or set nats.url")
    if not broker_urls.are_valid(address):
        raise ConfigError("that is not the URL of a broker", broker_urls.REMEDY)
    hide(filter(None, [broker_urls.token_of(address)]))
    client = BusClient()
    bus = Bus(client, broker_urls.without_credentials(address), name, settings.patience_s)
    events = ConnectionEvents(bus, settings, url or address, address)
    async with lifecycle.unwrapped(), TaskGroup() as group:
        await _open(client, settings, address, name, events)
        events.established = True
        failing = group.create_task(_raise(events.failed))
        try:
            yield bus
        finally:
            failing.cancel()
            events.established = False
            await graceful_close.close(client, bus.lost)


async def _open(client: BusClient, settings: NatsSettings, url: str, name: str, events: ConnectionEvents) -> None:
    """Make the first connection, which is not retried: a wrong URL fails at once. Raises what `refused` returns."""
    client.encrypted = security.wants_tls(settings, url)
    options = security.login_options(settings, url)
    try:
        # `connect` can hang for ever on a bad certificate: https://github.com/nats-io/nats.py/issues/718.
        async with asyncio.timeout(settings.connect_timeout_s):
            await client.connect(
                broker_urls.split(url),
                name=name,
                error_cb=events.on_error,
                disconnected_cb=events.on_disconnect,
                reconnected_cb=events.on_reconnect,
                closed_cb=events.on_closed,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0.2,  # type: ignore[arg-type]
                connect_timeout=settings.connect_timeout_s,  # type: ignore[arg-type]
                drain_timeout=10,
                **options,
            )
    except (OSError, nats.errors.Error, TimeoutError, ValueError) as error:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await client.close()
        cause = events.refusals[-1] if events.refusals else error
        raise security.refused(cause, settings, url) from error
    client.options["allow_reconnect"] = True
    client.options["max_reconnect_attempts"] = -1


async def _raise(failed: asyncio.Future[None]) -> None:
    await failed
