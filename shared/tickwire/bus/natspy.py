"""The patches of nats-py 2.16 and the use of its private names.

Elsewhere are the patches of its import (`deferred_aiohttp`), of ordered consumers (`ordered_consumers`) and of pull
consumers (`pull`).

nats-py is pinned exactly. Each behaviour that is changed here has a test in tests/bus/test_natspy.py or
test_natspy_services.py, which fails when a newer version behaves otherwise: then the patch can go or must change. Where
no address is given, no upstream issue was found.

- `flush` writes queued data first: nats-py writes its PING before queued data, so its own proves nothing of that data.
- `publish` and `_process_headers` use `wire_format`, which costs a fraction; what that cannot do is left to nats-py.
- `subscribe_directly` calls back from the read loop: nats-py queues each message and wakes a task for it.
- `publish` checks the subject: a control line over 4 KiB (subject and reply) makes the server close the connection.
- `send` queues a message synchronously, and a callback writes it: nats-py's `publish` costs a coroutine, a regular
  expression per header, and a turn of the flusher's task.
  Messages within 2 ms of the last write share the next one: a write wakes this process's loop and the broker.
- `_process_msg` cleans subjects and headers. An exception there ends the read loop while the connection stays open
  (https://github.com/nats-io/nats.py/pull/914); a subject or status that is not UTF-8 is enough.
- `_process_msg` removes the status of a stored message: nats-py takes it for a message of the broker, so that an
  ordered consumer resets at it for ever, and a pull consumer skips it each time.
- `_process_err` keeps the case of subjects: the parser lowers it (https://github.com/nats-io/nats.py/issues/595).
- `_process_connect_init` closes the connection to a server that refuses the login: nats-py drops it unclosed and opens
  the next one.
- `_connect_command` refuses plain text: nats-py sends user and password in plain text to a server without TLS, also for
  a `tls://` URL (https://github.com/nats-io/nats.py/pull/912 repairs the same in nats-core, another package).
- `_connect_command` sets `_over_ssl`: asyncio warns at the end of each TLS connection otherwise
  (https://github.com/nats-io/nats.py/issues/574).
- `_process_msg` hides from nats-py that the broker waits for flow control while messages wait for the callback: nats-py
  would ask for more.
- `reconnecting` and `forget_server` let `graceful_close` end an attempt to reconnect, which can lose a cancellation
  (https://github.com/python/cpython/issues/86296), and keep `close()` from writing to a closed socket, which uvloop
  refuses.
- `MicroService` checks reply subjects: nats-py answers `$SRV.*` to any subject that the request names.
- `MicroService.drain`: nats-py's `stop` unsubscribes and drops queued requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
from nats.aio.client import DEFAULT_FLUSH_TIMEOUT, Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.js import JetStreamContext
from nats.micro.request import Request
from nats.micro.service import Service, ServiceConfig
from nats.protocol.parser import ERR_RE, PERMISSIONS_ERR

from tickwire.bus.wire_format import parse_headers, publish_command
from tickwire.model.subjects import check_subject

_CRLF = b"\r\n"
_VERSION = b"NATS/1.0"
_PLAIN = _VERSION + _CRLF
_STORED = b"$JS.ACK."
"""The reply subject of a message from a stream begins with this."""
_STALLED = b"Nats-Consumer-Stalled"
"""In a heartbeat of a consumer that waits for flow control: the subject to confirm on."""


GATHER_S = 0.002
"""What `send` takes so soon after a write waits until then, for more to be written with it."""
GATHER_BYTES = 64 << 10
"""So much does not wait."""


DirectCallback = Callable[[bytes, bytes, bytes], None]
"""(subject, block of headers or nothing, data) of a message, as they came."""


class PlainText(nats.errors.Error):
    """The server does not speak TLS, which was required."""


class BusClient(Client):
    """nats-py's client with the patches of this module.

    With `encrypted`, every connection sends its login through TLS only, else raises PlainText.
    """

    encrypted = False

    def __init__(self) -> None:
        super().__init__()
        self._write_at = 0.0
        """When what is gathered may be written (the loop's time)."""
        self._gathering: asyncio.TimerHandle | None = None
        self._is_write_due = False
        """Whether what is queued is written in the next turn."""
        self._direct: dict[int, DirectCallback] = {}
        """By number of a subscription, what its messages are passed to."""

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, Any] | None = None
    ) -> None:
        """As nats-py's. Raises BadRequest for a subject of more than 512 bytes."""
        if not self.publish_now(check_subject(subject), payload, reply, headers):
            await super().publish(subject, payload, reply, headers)

    def publish_now(self, subject: str, payload: bytes, reply: str, headers: dict[str, Any] | None) -> bool:
        """Queue a message for the flusher, without waiting; return whether that was possible.

        It is not while disconnected, closing or 2 MiB behind, nor for what `wire_format` cannot encode.
        """
        flusher, kicks = self._flusher_task, self._flush_queue
        if not self.is_connected or self.is_draining_pubs or len(payload) > self._max_payload:
            return False
        if flusher is None or flusher.done() or kicks is None:
            return False
        command = publish_command(subject, reply, payload, headers)
        if command is None or self._pending_data_size + len(command) > self._max_pending_size:
            return False
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += len(payload)
        self._pending.append(command)
        self._pending_data_size += len(command)
        if kicks.empty():
            kicks.put_nowait(flusher.get_loop().create_future())
        return True

    async def subscribe_directly(self, subject: str, take: DirectCallback) -> Subscription:
        """Subscribe with a callback that is called by the read loop itself: it must not wait, and take little time."""

        async def queued(message: Msg) -> None:
            raise AssertionError(f"{message.subject} was queued")

        subscription = await self.subscribe(subject, cb=queued)
        self._direct[subscription._id] = take
        return subscription

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._direct.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    def send(self, frame: bytes, *, urgent: bool) -> bool:
        """Queue a protocol message without a turn of the loop; all of one turn are written together.

        Unless one is urgent, those within GATHER_S of the last write are written together, too. Whatever else is
        written takes them with it: the order is that of the calls. False, and nothing queued, while there is no
        connection.
        """
        queue = self._flush_queue
        if queue is None or not (self._status == Client.CONNECTED or self.is_draining):
            return False
        size = len(frame)
        self._pending.append(frame)
        self._pending_data_size += size
        stats = self.stats
        stats["out_msgs"] += 1
        stats["out_bytes"] += size
        if urgent or self._pending_data_size >= GATHER_BYTES:
            self._write()
        elif not self._is_write_due and self._gathering is None and queue.empty():
            # What is about to be written takes this with it.
            loop = asyncio.get_running_loop()
            if loop.time() >= self._write_at:
                self._write()
            else:
                self._gathering = loop.call_at(self._write_at, self._write)
        return True

    def _write(self) -> None:
        """Have what is queued written in the next turn."""
        loop = asyncio.get_running_loop()
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        self._write_at = loop.time() + GATHER_S
        if not self._is_write_due:
            self._is_write_due = True
            loop.call_soon(self._write_queued)

    def _write_queued(self) -> None:
        """Write what is queued; the flusher does it if it has to wait: waking its task costs more than a write."""
        self._is_write_due = False
        # After a loss of the connection the next one writes what is queued.
        if not self._pending or not self.is_connected:
            return
        transport, queue = self._transport, self._flush_queue
        writer = transport._io_writer if isinstance(transport, TcpTransport) else None
        if writer is not None and not writer.is_closing() and not writer.transport.get_write_buffer_size():
            writer.writelines(self._pending)
            self._pending, self._pending_data_size = [], 0
        elif queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())

    async def flush(self, timeout: int = DEFAULT_FLUSH_TIMEOUT) -> None:
        """Return when the server has processed everything sent so far, subscriptions included.

        Raises nats.errors.TimeoutError after `timeout` s, nats.errors.ConnectionClosedError.
        """
        await self._flush_pending(force_flush=True)
        await super().flush(timeout)

    @property
    def reconnecting(self) -> asyncio.Task[None] | None:
        """The task that connects again, running or ended."""
        return self._reconnection_task

    def forget_server(self) -> None:
        """Make `close()` write nothing: its socket is closed."""
        self._current_server = None

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except BaseException:
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]
            raise

    def _connect_command(self) -> bytes:
        # The login is made here, after TLS was set up where the server offers it.
        transport = self._transport
        if isinstance(transport, TcpTransport):
            writer = transport._io_writer
            if writer is not None and writer.get_extra_info("ssl_object") is not None:
                writer._protocol._over_ssl = True  # type: ignore[attr-defined]
            elif self.encrypted:
                raise PlainText("the server does not speak TLS")
        return super()._connect_command()

    async def _process_err(self, err_msg: str) -> None:
        # The parser's buffer still holds the error as the server sent it.
        original = ERR_RE.match(self._ps.buf)
        if PERMISSIONS_ERR not in err_msg or original is None:
            await super()._process_err(err_msg)
            return
        text = original[1].decode().strip("'")
        self._err = nats.errors.Error(f"nats: {text}")
        await self._error_cb(self._err)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        if headers and (found := parse_headers(headers)) is not None:
            return found
        return await super()._process_headers(headers)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if (take := self._direct.get(sid)) is not None:
            self.stats["in_msgs"] += 1
            self.stats["in_bytes"] += len(data)
            try:
                take(subject, headers or b"", data)
            except Exception as error:  # noqa: BLE001
                await self._error_cb(error)
            return
        if headers:
            headers = cleaned(headers, stored=reply.startswith(_STORED))
            if _STALLED in headers and (behind := self._subs.get(sid)) is not None and behind.pending_msgs:
                headers = headers.replace(_STALLED, b"Tickwire-Stalled")
        await super()._process_msg(sid, _text(subject), _text(reply), data, headers)


def cleaned(headers: bytes, *, stored: bool) -> bytes:
    """Header block without an unreadable status or, of a stored message, without any status. Pure."""
    if headers.startswith(_PLAIN) and not (stored and b"Status" in headers):
        # Nearly all headers.
        return headers
    line, separator, rest = headers.partition(_CRLF)
    status = line[len(_VERSION) :]
    if not line.startswith(_VERSION) or not separator:
        return b""
    if status and (stored or not status.isascii()):
        line = _VERSION
    if stored and b"Status" in rest:
        rest = _CRLF.join(each for each in rest.split(_CRLF) if each.partition(b":")[0].strip() != b"Status")
    return line + _CRLF + rest


def _text(name: bytes) -> bytes:
    """A subject as UTF-8. Invalid bytes become U+FFFD, which no subject of tickwire contains."""
    return name if name.isascii() else name.decode(errors="replace").encode()


def server_version(jetstream: JetStreamContext) -> tuple[int, int]:
    """Major and minor version of the server that the client is connected to."""
    version = jetstream._nc.connected_server_version
    return version.major, version.minor


def message_of(request: Request) -> Msg:
    """The message that carries a request of a micro service: its reply subject is not public."""
    return request._msg


class MicroService(Service):
    """A micro service that answers PING, INFO and STATS only where `may_answer(message)` allows it."""

    def __init__(self, client: Client, config: ServiceConfig, may_answer: Callable[[Msg], bool]) -> None:
        super().__init__(client, config)
        self._may_answer = may_answer

    async def drain(self, close: Callable[[Subscription], Awaitable[None]]) -> None:
        """Call `close` for the subscription of each endpoint, side by side."""
        subscriptions = [each._subscription for each in self._endpoints if each._subscription is not None]
        await asyncio.gather(*map(close, subscriptions))

    async def _handle_ping_request(self, msg: Msg) -> None:
        if self._may_answer(msg):
            await super()._handle_ping_request(msg)

    async def _handle_info_request(self, msg: Msg) -> None:
        if self._may_answer(msg):
            await super()._handle_info_request(msg)

    async def _handle_stats_request(self, msg: Msg) -> None:
        if self._may_answer(msg):
            await super()._handle_stats_request(msg)
