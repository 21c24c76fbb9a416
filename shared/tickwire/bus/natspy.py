"""Connecting a client to the broker, where nats-py 2.16 has traps of its own.

- `connect()` can hang for ever on a bad certificate, so it is bounded.
- `flush()` writes its ping before what is queued, so it proves nothing of that: here the queue goes first.
- An exception while a message is taken in ends its reading for good, though the connection stays: a subject or a
  status that is no UTF-8 is enough. And a stored message whose publisher gave it a status is taken for the broker's own
  word, so that an ordered consumer resets itself at it for ever, and a pull consumer passes over it each time.
- A subject beyond the broker's limit (4 KiB with the reply subject) closes the connection: it is refused here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import DEFAULT_FLUSH_TIMEOUT
from nats.aio.subscription import Subscription

from tickwire.bus import security
from tickwire.bus.security import SecureClient
from tickwire.model import broker_urls as addresses
from tickwire.model.subjects import check_subject
from tickwire.settings import NatsSettings

_CRLF = b"\r\n"
_VERSION = b"NATS/1.0"
_PLAIN = _VERSION + _CRLF
_STORED = b"$JS.ACK."
"""What the reply subject of a message from a stream begins with."""

CLOSE_S = 1.0
"""How long a connection that failed may take to be given up."""


class BusClient(SecureClient):
    """With a `flush` that is a barrier, and which no message can deafen."""

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, Any] | None = None
    ) -> None:
        """As nats-py's. Raises BadRequest for a subject of more than 512 bytes."""
        await super().publish(check_subject(subject), payload, reply, headers)

    def __init__(self) -> None:
        super().__init__()
        self.followed: dict[Subscription, float] = {}
        """When each ordered consumer last said something, if only that it is there; monotonic s. See `heard`."""

    def heard(self) -> dict[Subscription, float]:
        """Those of them that are still subscribed."""
        # nats-py marks the end of a subscription at another object than the one that messages come to.
        self.followed = {each: at for each, at in self.followed.items() if self._subs.get(each._id) is each}
        return self.followed

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if headers:
            headers = cleaned(headers, stored=reply.startswith(_STORED))
        if (subscription := self._subs.get(sid)) in self.followed and subscription is not None:
            self.followed[subscription] = time.monotonic()
        await super()._process_msg(sid, _text(subject), _text(reply), data, headers)

    async def flush(self, timeout: int = DEFAULT_FLUSH_TIMEOUT) -> None:
        """Return when the server has dealt with everything sent so far, subscriptions too. Raises nats' errors."""
        await self._flush_pending(force_flush=True)
        await super().flush(timeout)


def cleaned(headers: bytes, *, stored: bool) -> bytes:
    """A block of headers without a status that cannot be read, or, of a stored message, without any. Pure."""
    if headers.startswith(_PLAIN) and not (stored and b"Status" in headers):
        # Nearly all of them.
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
    """A subject as UTF-8; what is none becomes U+FFFD, and so no name of ours."""
    return name if name.isascii() else name.decode(errors="replace").encode()


async def opened(
    client: BusClient,
    settings: NatsSettings,
    address: str,
    name: str,
    refusals: list[Exception],
    on_error: Callable[[Exception], Awaitable[None]],
    on_disconnect: Callable[[], Awaitable[None]],
    on_reconnect: Callable[[], Awaitable[None]],
    on_closed: Callable[[], Awaitable[None]],
) -> None:
    """Connect `client`. Raises what `secure.refused` makes of a failure; `refusals` is where `on_error` puts causes."""
    login: dict[str, Any] = {}
    # A broker with a token has no users; nats-py would say the user alone.
    with_token = addresses.token_of(address) is not None
    if settings.user is not None and not with_token:
        login["user"] = settings.user
        # So that a user can be kept from the replies to another.
        login["inbox_prefix"] = security.inbox_of(settings.user)
    if settings.password is not None and not with_token:
        login["password"] = settings.password.get_secret_value()
    if security.wants_tls(settings, address):
        client.encrypted = True
        login["tls"] = security.tls_context(settings)
    if settings.tls_hostname is not None:
        login["tls_hostname"] = settings.tls_hostname
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            # The first connection fails at once rather than being retried: a wrong URL should say so.
            await client.connect(
                addresses.servers(address),
                name=name,
                error_cb=on_error,
                disconnected_cb=on_disconnect,
                reconnected_cb=on_reconnect,
                closed_cb=on_closed,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0.2,  # type: ignore[arg-type]
                connect_timeout=settings.connect_timeout_s,  # type: ignore[arg-type]
                drain_timeout=10,
                **login,
            )
    except (OSError, nats.errors.Error, TimeoutError, ValueError) as error:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await client.close()
        raise security.refused(refusals[-1] if refusals else error, settings, address) from error
    client.options["allow_reconnect"] = True
    client.options["max_reconnect_attempts"] = -1
