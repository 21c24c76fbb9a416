"""The entries of leases and sessions in the KV bucket LEASES, written by compare-and-set on their revision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

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
_TTL = "Nats-TTL"


class TakenOver(Exception):
    """This instance does not hold the lease, or its session is over."""


class Entry(NamedTuple):
    """An entry of the bucket: of a "lease" or an "instance" (`kind`), as it was written at `revision`."""

    kind: str
    name: str
    subject: str
    revision: int
    data: bytes
    headers: Mapping[str, str]

    @property
    def gone(self) -> bool:
        """Whether it marks the end of its key: deleted, purged, or expired (a marker of the server)."""
        return "KV-Operation" in self.headers or "Nats-Marker-Reason" in self.headers

    @property
    def expires(self) -> bool:
        """Whether the broker removes it when it is not renewed."""
        return _TTL in self.headers

    @property
    def ttl_s(self) -> int:
        """How long it lasts that is not renewed, s; 0 if it does not say."""
        stated = self.headers.get(_TTL, "").removesuffix("s")
        return int(stated) if stated.isdecimal() else 0


class LeaseBucket:
    """The leases and instances of one service, as one instance reads and writes them."""

    def __init__(self, bus: Bus, service: str, instance: str, ttl_s: float) -> None:
        self.service = service
        self.instance = instance
        self.ttl_s = ttl_s
        """How long a session lasts that is not renewed, s; in the bucket rounded up to whole seconds."""
        self._bus = bus
        self._expiring = {_TTL: str(max(1, math.ceil(ttl_s)))}
        # The end of a key is an entry as well, and must not stay for ever.
        self._deleted = {"KV-Operation": "DEL", **self._expiring}

    @property
    def filter(self) -> str:
        """The subject of all entries of the service."""
        return f"{_PREFIX}{self.service}.>"

    # ---- leases

    async def claim(self, key: str, since: int, session: int) -> int | None:
        """The revision of a lease that this instance holds from now on; None when it is held, or the broker is away."""
        value = messages.encode(LeaseHolder(holder=self.instance, since=since, session=session))
        try:
            last = await self._last("lease", key)
            if last is not None and await self._holds(last):
                # Not recorded: its release may have been observed while this answer was on its way.
                return None
            # The marker of an end is an entry too: the claim names its revision.
            return await self._put("lease", key, value, last.revision if last else 0, {})
        except nats.errors.Error as error:
            log.debug("claim failed", lease=key, error=repr(error))
            return None

    async def release(self, key: str, revision: int) -> None:
        """Delete the entry of a lease, if it is still that of `revision`. Raises nats' errors."""
        await self._delete("lease", key, revision)

    async def own_revision(self, key: str, session: int) -> int:
        """The revision of a lease that a session of this instance holds. Raises TakenOver, and nats' errors."""
        last = await self._last("lease", key)
        holder = None if last is None else self.holder_in(last)
        if last is None or holder is None or (holder.holder, holder.session) != (self.instance, session):
            raise TakenOver
        return last.revision

    async def is_held(self, key: str) -> bool:
        """Whether a lease has a holder with an open session; also when the broker does not answer."""
        try:
            last = await self._last("lease", key)
            return last is not None and await self._holds(last)
        except nats.errors.Error:
            return True

    def holder_in(self, entry: Entry) -> LeaseHolder | None:
        """The holder that an entry names; None when the lease is free: at its end, and if it cannot be decoded."""
        return None if entry.gone else self._bus.undecodable.decode(entry.subject, entry.data, LeaseHolder)

    async def _holds(self, entry: Entry) -> bool:
        """Whether the holder that an entry names has it still. Raises nats' errors."""
        holder = self.holder_in(entry)
        if holder is None:
            return False
        if not holder.session:
            # Of a version before sessions. It is deleted when it was not renewed for the TTL.
            return True
        # What is ours and not at work is free, and so is what an earlier session of this instance held.
        return holder.holder != self.instance and await self.session_of(holder.holder) == holder.session

    # ---- sessions

    async def session_of(self, instance: str) -> int:
        """The open session of an instance, 0 for none. Raises nats' errors."""
        last = await self.last_of(instance)
        value = None if last is None else self.instance_in(last)
        return 0 if last is None or value is None else session_in(last, value)

    async def last_of(self, instance: str) -> Entry | None:
        """The last entry of an instance, which may mark its end; None where there is none. Raises nats' errors."""
        return await self._last("instance", instance)

    async def write_session(self, value: Instance, revision: int) -> int:
        """Write the entry of this instance for another TTL over that of `revision`; its new revision.

        Raises TakenOver when another entry is the last one, and nats' errors.
        """
        try:
            return await self._put("instance", self.instance, messages.encode(value), revision, self._expiring)
        except nats.js.errors.BadRequestError as error:
            if error.err_code != WRONG_SEQUENCE:
                raise
            raise TakenOver from error

    async def end_session(self, revision: int) -> None:
        """Delete the entry of this instance, if it is still that of `revision`. Raises nats' errors."""
        await self._delete("instance", self.instance, revision)

    def instance_in(self, entry: Entry) -> Instance | None:
        """The instance that an entry describes; None at its end, and when the entry cannot be decoded."""
        return None if entry.gone else self._bus.undecodable.decode(entry.subject, entry.data, Instance)

    # ---- entries

    async def expire(self, entry: Entry) -> None:
        """Delete an entry, unless a later one replaced it. Raises nats' errors."""
        await self._delete(entry.kind, entry.name, entry.revision)

    async def reread(self, entry: Entry) -> Entry:
        """The last entry of the same key; where there is none, one that marks its end. Raises nats' errors."""
        last = await self._last(entry.kind, entry.name)
        return last or entry._replace(data=b"", headers=self._deleted)

    def entry(self, message: Msg) -> Entry:
        """The entry that the bucket delivered."""
        return self._entry(message.subject, message.metadata.sequence.stream, message.data, message.headers)

    def _entry(self, subject: str, revision: int, data: bytes | None, headers: Mapping[str, str] | None) -> Entry:
        kind, _, name = subject.removeprefix(f"{_PREFIX}{self.service}.").partition(".")
        return Entry(kind, name, subject, revision, data or b"", headers or {})

    async def _put(self, kind: str, name: str, value: bytes, expected: int, headers: dict[str, str]) -> int:
        ack = await self._bus.publisher.publish(
            self._subject(kind, name), value, headers=headers | {EXPECTED: str(expected)}, timeout_s=self.ttl_s
        )
        return ack.seq

    async def _delete(self, kind: str, name: str, revision: int) -> None:
        try:
            await self._put(kind, name, b"", revision, self._deleted)
        except nats.js.errors.BadRequestError as error:
            if error.err_code != WRONG_SEQUENCE:
                raise
            log.debug("an entry was replaced before it could be deleted", kind=kind, name=name)

    async def _last(self, kind: str, name: str) -> Entry | None:
        try:
            # Not a direct get: a replica may lag, and a claim needs the leader's answer.
            found = await cancellable(self._bus.jetstream.get_last_msg(STREAM, self._subject(kind, name)))
        except nats.js.errors.NotFoundError:
            return None
        return self._entry(found.subject or "", found.seq or 0, found.data, found.headers)

    def _subject(self, kind: str, name: str) -> str:
        return f"{_PREFIX}{self.service}.{kind}.{name}"


def session_in(entry: Entry, value: Instance) -> int:
    """The session that an entry of an instance belongs to: the revision of the session's first entry."""
    return value.session or entry.revision
