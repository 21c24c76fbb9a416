"""The entries of leases and live instances in the KV bucket LEASES, written by compare-and-set on their revision."""

from __future__ import annotations

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.publisher import EXPECTED, WRONG_SEQUENCE
from tickwire.bus.requests import cancellable
from tickwire.model import messages
from tickwire.model.messages import Instance, LeaseHolder
from tickwire.observe import logs

log = logs.get(__name__)

STREAM = f"KV_{streams.LEASES}"
_PREFIX = f"$KV.{streams.LEASES}."
_DELETED = {"KV-Operation": "DEL"}


class TakenOver(Exception):
    """Another instance holds the lease, or none does."""


class LeaseBucket:
    """The leases and instances of one service, as one instance reads and writes them."""

    def __init__(self, bus: Bus, service: str, instance: str, ttl_s: float) -> None:
        self.service = service
        self.instance = instance
        self.ttl_s = ttl_s
        """Time to live of every entry, s."""
        self._bus = bus

    @property
    def filter(self) -> str:
        """The subject of all entries of the service."""
        return f"{_PREFIX}{self.service}.>"

    async def claim(self, key: str, since: int) -> int | None:
        """The revision of a lease that this instance holds from now on; None when it is held, or the broker is away."""
        value = messages.encode(LeaseHolder(holder=self.instance, since=since))
        try:
            last = await self._last(self._lease(key))
            if last is not None and not is_gone(last.headers):
                holder = self.holder_in(last.subject or "", last.data)
                if holder is not None and holder != self.instance:
                    # Not recorded: its release may have been observed while this answer was on its way.
                    return None
            # An expiry marker is an entry too: the claim names its revision.
            return await self._put(self._lease(key), value, expected=last.seq if last else 0)
        except nats.errors.Error as error:
            log.debug("claim failed", lease=key, error=repr(error))
            return None

    async def renew(self, key: str, since: int, revision: int) -> int:
        """The next revision of a lease of this instance. Raises TakenOver, and nats' errors."""
        value = messages.encode(LeaseHolder(holder=self.instance, since=since))
        try:
            return await self._put(self._lease(key), value, expected=revision)
        except nats.js.errors.BadRequestError as error:
            if error.err_code != WRONG_SEQUENCE:
                raise
        # Another instance holds it, or our last renewal was stored and its acknowledgement was lost.
        return await self.own_revision(key)

    async def release(self, key: str, revision: int) -> None:
        """Delete a lease of this instance. Raises TakenOver, and nats' errors."""
        try:
            await self._put(self._lease(key), b"", expected=revision, headers=_DELETED)
        except nats.js.errors.BadRequestError:
            # A renewal that was cancelled on its way may have been stored.
            revision = await self.own_revision(key)
            await self._put(self._lease(key), b"", expected=revision, headers=_DELETED)

    async def own_revision(self, key: str) -> int:
        """The revision of a lease that this instance holds. Raises TakenOver, and nats' errors."""
        last = await self._last(self._lease(key))
        if last is None or is_gone(last.headers) or last.seq is None:
            raise TakenOver
        if self.holder_in(last.subject or "", last.data) != self.instance:
            raise TakenOver
        return last.seq

    async def is_held(self, key: str) -> bool:
        """Whether a lease has a holder; also when the broker does not answer."""
        try:
            last = await self._last(self._lease(key))
        except nats.errors.Error:
            return True
        return last is not None and not is_gone(last.headers)

    async def register(self, instance: Instance) -> None:
        """Write that this instance is live for another TTL. Raises nats' errors."""
        await self._put(self._member, messages.encode(instance), expected=None)

    async def unregister(self) -> None:
        """Delete this instance. Raises nats' errors."""
        await self._put(self._member, b"", expected=None, headers=_DELETED)

    def split(self, message: Msg) -> tuple[str, str]:
        """The kind of an entry, "lease" or "instance", and its name."""
        kind, _, name = message.subject.removeprefix(f"{_PREFIX}{self.service}.").partition(".")
        return kind, name

    def holder_in(self, subject: str, data: bytes | None) -> str | None:
        """The holder that an entry names; None when the entry cannot be decoded, and the lease counts as free."""
        found = self._bus.undecodable.decode(subject, data or b"", LeaseHolder)
        return None if found is None else found.holder

    def _lease(self, key: str) -> str:
        return f"{_PREFIX}{self.service}.lease.{key}"

    @property
    def _member(self) -> str:
        return f"{_PREFIX}{self.service}.instance.{self.instance}"

    async def _put(
        self, subject: str, value: bytes, *, expected: int | None, headers: dict[str, str] | None = None
    ) -> int:
        sent = dict(headers or {})
        if expected is not None:
            sent[EXPECTED] = str(expected)
        ack = await self._bus.publisher.publish(subject, value, headers=sent, timeout_s=self.ttl_s)
        return ack.seq

    async def _last(self, subject: str) -> RawStreamMsg | None:
        try:
            # Not a direct get: a replica may lag, and a claim needs the leader's answer.
            return await cancellable(self._bus.jetstream.get_last_msg(STREAM, subject))
        except nats.js.errors.NotFoundError:
            return None


def is_gone(headers: dict[str, str] | None) -> bool:
    """Whether an entry marks the end of its key: deleted, purged, or expired (a marker of the server)."""
    return headers is not None and ("KV-Operation" in headers or "Nats-Marker-Reason" in headers)
