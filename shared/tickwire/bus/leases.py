"""Leases: exactly one process does it.

A lease is a key in the KV bucket LEASES, claimed and renewed by compare-and-set on its revision; the revision of
the claim, together with the bucket's creation time, is the lease's epoch and grows for ever. An entry that is not
renewed expires after the TTL, and the marker of the expiry wakes those who wait. Who claims first is rendezvous
hashing over the live instances, so that leases spread, and few move when instances come and go.

A lease steers, it does not fence: a paused holder resumes with work in hand. What it writes must be fenced by the
epoch.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from tickwire.bus import graceful_close, streams
from tickwire.bus.connection import Bus
from tickwire.bus.metrics import of_leases
from tickwire.bus.publisher import EXPECTED, WRONG_SEQUENCE
from tickwire.bus.requests import cancellable
from tickwire.errors import Fenced
from tickwire.model import messages
from tickwire.model.messages import Instance, LeaseHolder
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.metrics import Metrics
from tickwire.process import lifecycle

log = logs.get(__name__)

_PREFIX = f"$KV.{streams.LEASES}."
SELF_DENIAL = 0.8
"""A holder that could not renew for this share of the TTL stops by itself, before anyone can follow."""
RENEWALS_PER_TTL = 4


class Epoch(NamedTuple):
    """Orders the holders of a lease: `generation` is when the bucket was made (ms), `revision` its sequence.

    A wiped broker counts revisions from 1 again; its later generation keeps the order.
    """

    generation: int
    revision: int


@dataclass(frozen=True)
class Lease:
    """A lease that this instance holds since `since` (ms). When `stop` is set, finish; others wait for it."""

    key: str
    epoch: Epoch
    since: int
    fields: Mapping[str, object] = field(default_factory=dict)
    """What it is about, for the log."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)


Body = Callable[[Lease], Awaitable[None]]


class Leases:
    """The leases of one service, seen from one instance. Made by `open_leases`."""

    def __init__(
        self, bus: Bus, service: str, instance: str, ttl_s: float, generation: int, leaving: asyncio.Event
    ) -> None:
        self.instance = instance
        self.service = service
        self._bus = bus
        self._ttl_s = ttl_s
        self._generation = generation
        self._holders: dict[str, str] = {}
        self._members: set[str] = {instance}
        self._changed = asyncio.Event()
        # Of each lease by itself: a change of one among hundreds must not wake those who wait for the others.
        self._concerned: dict[str, asyncio.Event] = {}
        self._held: dict[str, Lease] = {}
        self._leaving = leaving
        now = time.monotonic()
        self._renewed_at, self._echoed_at = now, now
        self._refusal = ""
        self.changes = {"gained": 0, "given_up": 0, "lost": 0}
        """How often leases came to this instance and left it."""

    def holder(self, key: str) -> str | None:
        """The instance that holds a lease, as far as is known here."""
        return self._holders.get(key)

    @property
    def held(self) -> dict[str, Lease]:
        """The leases that this instance holds, by key."""
        return dict(self._held)

    @property
    def members(self) -> set[str]:
        """The live instances of the service."""
        return set(self._members)

    async def confirm(self, key: str) -> None:
        """Returns when this instance holds a lease by the broker's word, waiting for the broker. Raises Fenced."""
        while True:
            try:
                await self._mine(key)
            except _TakenOver as error:
                raise Fenced(f"the lease {key} is not ours", "another instance has it") from error
            except nats.errors.Error as error:
                log.debug("the lease cannot be confirmed yet", lease=key, error=repr(error))
            else:
                return
            await asyncio.sleep(self._ttl_s / RENEWALS_PER_TTL)

    async def changed(self) -> None:
        """Wait until any lease or member changes."""
        await self._changed.wait()

    async def hold(self, key: str, body: Body, stop: asyncio.Event, **fields: object) -> None:
        """Contend for a lease until `stop`; whenever it is held, run `body(lease)`. `fields` go with its logs.

        `body` ends when `lease.stop` is set (by `stop`, or because another instance should have it), and the
        lease is then given up. When the lease is lost, `body` is cancelled. An exception of `body` is raised.
        When `body` returns by itself, the lease is given up and contended for again after a TTL.
        """
        while not stop.is_set():
            rivals = await self._turn(key, stop)
            if stop.is_set():
                break
            since = now_ms()
            revision = await self._claim(key, since)
            if revision is not None:
                lease = Lease(key, Epoch(self._generation, revision), since, fields)
                await self._run(lease, revision, rivals, body, stop)
            if not stop.is_set():
                await self._wait(key, self._ttl_s / RENEWALS_PER_TTL, stop)

    # ---- claiming

    async def _turn(self, key: str, stop: asyncio.Event) -> frozenset[str]:
        """Return when the lease looks free and it is this instance's turn; with those who had theirs before."""
        while not stop.is_set():
            if key in self._holders:
                await self._wait(key, self._ttl_s, stop)
                # An expiry whose marker was missed (the broker was down) must not block for ever.
                if key in self._holders and not await self._exists(key):
                    self._holders.pop(key, None)
                continue
            rank, rivals = self._rank(key), frozenset(self._members)
            if rank == 0:
                return rivals
            # The better ranked go first; each place waits a little longer in case they cannot.
            await self._wait(key, min(rank, 4) * self._ttl_s / 4, stop)
            if key not in self._holders:
                return rivals
        return frozenset()

    def _rank(self, key: str) -> int:
        order = sorted(self._members, key=lambda member: _weight(member, key), reverse=True)
        return order.index(self.instance)

    async def _wait(self, key: str, seconds: float, stop: asyncio.Event) -> None:
        """Wait for a change that concerns a lease, a stop, or so many seconds."""
        changed = self._concerned.setdefault(key, asyncio.Event())
        waiters = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    async def _claim(self, key: str, since: int) -> int | None:
        value = messages.encode(LeaseHolder(holder=self.instance, since=since))
        try:
            last = await self._last(self._subject(key))
            if last is not None and not _is_gone(last.headers):
                holder = self._holder_of(last.subject or "", last.data)
                if holder is not None and holder != self.instance:
                    # Not noted: its release may have been observed while this answer was on its way.
                    return None
            # An expiry marker is an entry too: it is claimed over by its own revision.
            return await self._put(self._subject(key), value, expected=last.seq if last else 0)
        except nats.errors.Error as error:
            log.debug("claim failed", lease=key, error=repr(error))
            return None

    # ---- holding

    async def _run(self, lease: Lease, revision: int, rivals: frozenset[str], body: Body, stop: asyncio.Event) -> None:
        logged = {"lease": lease.key, "epoch": lease.epoch.revision, **lease.fields}
        log.info("lease held", **logged)
        self._holders[lease.key] = self.instance
        self._held[lease.key] = lease
        self.changes["gained"] += 1
        latest = [revision]
        worker = asyncio.ensure_future(body(lease))
        keeper = asyncio.ensure_future(self._renew(lease, latest))
        mover = asyncio.ensure_future(self._watch_release(lease, rivals, stop))
        change = "given_up"
        try:
            await asyncio.wait({worker, keeper}, return_when=asyncio.FIRST_COMPLETED)
            if not worker.done():
                change = "lost"
                log.warning("lease lost", **logged)
        finally:
            # Cancelled, it is given up too: what was gained and has not gone is held.
            self.changes[change] += 1
            self._held.pop(lease.key, None)
            for task in (worker, mover, keeper):
                task.cancel()
            await asyncio.wait({worker, mover, keeper})
        if not worker.cancelled():
            await self._release(lease, latest[0])
            worker.result()
        for task in (keeper, mover):
            if not task.cancelled():
                # Both return None; an exception here is a bug, and a lost lease must not hide it.
                task.result()

    async def _renew(self, lease: Lease, latest: list[int]) -> None:
        """Renew until it fails for 0.8 of the TTL, or someone else holds the lease; then return."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SELF_DENIAL * self._ttl_s
        while True:
            await asyncio.sleep(min(self._ttl_s / RENEWALS_PER_TTL, max(0.0, deadline - loop.time())))
            began = loop.time()
            if began >= deadline:
                return
            try:
                async with asyncio.timeout_at(deadline):
                    latest[0] = await self._renewed(lease, latest[0])
                deadline = began + SELF_DENIAL * self._ttl_s
            except _TakenOver:
                return
            except (nats.errors.Error, TimeoutError) as error:
                log.debug("renewal failed", lease=lease.key, **lease.fields, error=repr(error))

    async def _renewed(self, lease: Lease, revision: int) -> int:
        value = messages.encode(LeaseHolder(holder=self.instance, since=lease.since))
        try:
            return await self._put(self._subject(lease.key), value, expected=revision)
        except nats.js.errors.BadRequestError as error:
            if error.err_code != WRONG_SEQUENCE:
                raise
        # Either another instance has it, or our own last renewal arrived though its ack did not.
        return await self._mine(lease.key)

    async def _mine(self, key: str) -> int:
        """The revision of a lease that this instance holds. Raises _TakenOver when it does not."""
        last = await self._last(self._subject(key))
        if last is None or _is_gone(last.headers) or last.seq is None:
            raise _TakenOver
        if self._holder_of(last.subject or "", last.data) != self.instance:
            raise _TakenOver
        return last.seq

    async def _watch_release(self, lease: Lease, rivals: frozenset[str], stop: asyncio.Event) -> None:
        # Only those who came later move a lease: a better ranked one that let its turn pass will not claim now.
        mine = _weight(self.instance, lease.key)
        while not stop.is_set():
            if any(_weight(member, lease.key) > mine for member in self._members - rivals):
                break
            rivals &= self._members
            await self._wait(lease.key, self._ttl_s, stop)
        lease.stop.set()

    async def _release(self, lease: Lease, revision: int) -> None:
        gone = {"KV-Operation": "DEL"}
        try:
            try:
                await self._put(self._subject(lease.key), b"", expected=revision, headers=gone)
            except nats.js.errors.BadRequestError:
                # A renewal that was cancelled on its way may have arrived.
                revision = await self._mine(lease.key)
                await self._put(self._subject(lease.key), b"", expected=revision, headers=gone)
        except (nats.errors.Error, _TakenOver) as error:
            log.debug("lease will expire by itself", lease=lease.key, **lease.fields, error=repr(error))
        if self._holders.get(lease.key) == self.instance:
            self._holders.pop(lease.key, None)
            self._notify(lease.key)

    # ---- the bucket

    def _subject(self, key: str) -> str:
        return f"{_PREFIX}{self.service}.lease.{key}"

    @property
    def _member_subject(self) -> str:
        return f"{_PREFIX}{self.service}.instance.{self.instance}"

    async def _put(
        self, subject: str, value: bytes, *, expected: int | None, headers: dict[str, str] | None = None
    ) -> int:
        sent = dict(headers or {})
        if expected is not None:
            sent[EXPECTED] = str(expected)
        ack = await self._bus.publisher.publish(subject, value, headers=sent, timeout_s=self._ttl_s)
        return ack.seq

    async def _last(self, subject: str) -> nats.js.api.RawStreamMsg | None:
        try:
            # Not `direct`: a replica may lag behind, and a claim needs the leader's word.
            return await cancellable(self._bus.jetstream.get_last_msg(f"KV_{streams.LEASES}", subject))
        except nats.js.errors.NotFoundError:
            return None

    async def _exists(self, key: str) -> bool:
        try:
            last = await self._last(self._subject(key))
        except nats.errors.Error:
            return True
        return last is not None and not _is_gone(last.headers)

    def _holder_of(self, subject: str, data: bytes | None) -> str | None:
        """Who holds a lease by its entry; None where that says nothing, and then nobody does."""
        found = self._bus.undecodable.decode(subject, data or b"", LeaseHolder)
        return None if found is None else found.holder

    async def observe(self, message: Msg) -> None:
        """Take in one entry of the bucket."""
        kind, _, name = message.subject.removeprefix(f"{_PREFIX}{self.service}.").partition(".")
        gone = _is_gone(message.headers)
        if kind == "instance" and name == self.instance:
            self._echoed_at = time.monotonic()
        elif kind == "instance":
            known = name in self._members
            if gone:
                self._members.discard(name)
            else:
                self._members.add(name)
            if known == gone:
                self._notify(*self._concerned)
        elif kind == "lease":
            before = self._holders.get(name)
            if gone:
                self._holders.pop(name, None)
            elif (holder := self._holder_of(message.subject, message.data)) is not None:
                self._holders[name] = holder
            if self._holders.get(name) != before:
                self._notify(name)

    def _notify(self, *keys: str) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        for key in keys:
            if (concerned := self._concerned.pop(key, None)) is not None:
                concerned.set()

    def trouble(self) -> str | None:
        """Why this instance cannot be sure of what it holds, if so: its membership is the measure."""
        now = time.monotonic()
        if now - self._renewed_at > self._ttl_s:
            return f"the session is not renewed since {now - self._renewed_at:.0f} s ({self._refusal or 'no answer'})"
        if now - self._echoed_at > 2 * self._ttl_s:
            return f"bucket {streams.LEASES} does not tell its changes since {now - self._echoed_at:.0f} s"
        return None

    async def keep_alive(self) -> None:
        """Register this instance as live until it leaves, and then say so: others need not wait for the TTL."""
        value = messages.encode(
            Instance(
                instance=self.instance,
                service=self.service,
                host=socket.gethostname(),
                pid=os.getpid(),
                started=now_ms(),
            )
        )
        while not self._leaving.is_set():
            try:
                await self._put(self._member_subject, value, expected=None)
            except nats.errors.Error as error:
                self._refusal = repr(error)
                log.debug("could not register", error=repr(error))
            else:
                self._renewed_at = time.monotonic()
            await lifecycle.pause(self._leaving, self._ttl_s / RENEWALS_PER_TTL)
        await self._leave()

    async def _leave(self) -> None:
        try:
            await self._put(self._member_subject, b"", expected=None, headers={"KV-Operation": "DEL"})
        except nats.errors.Error as error:
            log.debug("will expire by itself", error=repr(error))


class _TakenOver(Exception):
    pass


@asynccontextmanager
async def open_leases(
    bus: Bus, service: str, instance: str, ttl_s: float, stop: asyncio.Event, metrics: Metrics | None = None
) -> AsyncIterator[Leases]:
    """Join the instances of a service, until `stop`: nobody should wait for an instance that no longer claims.

    Leave every `hold` before leaving the block. `metrics` has the leases among what Prometheus asks for.
    """
    generation = await streams.read_created_ms(bus.jetstream, f"KV_{streams.LEASES}")
    # Leaving the block ends the membership as well, and must not stop others.
    leaving = asyncio.Event()
    leases = Leases(bus, service, instance, ttl_s, generation, leaving)
    subscription = await bus.subscribe_ordered(
        f"{_PREFIX}{service}.>",
        f"KV_{streams.LEASES}",
        leases.observe,
        policy=DeliverPolicy.LAST_PER_SUBJECT,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(leases.keep_alive())
        stopped = group.create_task(_forward(stop, leaving))
        try:
            counted = metrics or Metrics()
            with counted.reading(partial(of_leases, leases)), counted.ready.checked("session", leases.trouble):
                yield leases
        finally:
            stopped.cancel()
            leaving.set()
            await graceful_close.unsubscribe(bus.client, subscription)


async def _forward(one: asyncio.Event, other: asyncio.Event) -> None:
    await one.wait()
    other.set()


def _is_gone(headers: dict[str, str] | None) -> bool:
    """Whether an entry says that the key is no more: deleted, purged, or expired (a marker of the server)."""
    return headers is not None and ("KV-Operation" in headers or "Nats-Marker-Reason" in headers)


def _weight(member: str, key: str) -> bytes:
    return hashlib.blake2b(f"{member}/{key}".encode(), digest_size=8).digest()
