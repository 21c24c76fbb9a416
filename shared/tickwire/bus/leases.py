"""Leases: exactly one process does it.

A lease is a key in the KV bucket LEASES, claimed and renewed by compare-and-set on its revision. The revision of the
claim, together with the bucket's creation time, is the lease's epoch and grows for ever. An entry that is not renewed
expires after the TTL, and the marker of the expiry wakes those who wait. Rendezvous hashing over the live instances
decides who claims first, so that leases spread, and few move when instances come and go.

A lease steers, it does not fence: a paused holder resumes in the middle of its work. What it writes must be
fenced by the epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from tickwire.bus import graceful_close, streams
from tickwire.bus.connection import Bus
from tickwire.bus.lease_bucket import STREAM, LeaseBucket, TakenOver, is_gone
from tickwire.bus.lease_membership import RENEWALS_PER_TTL, Membership
from tickwire.bus.lease_view import LeaseView
from tickwire.bus.metrics import of_leases
from tickwire.errors import Fenced
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.metrics import Metrics

log = logs.get(__name__)

SELF_DENIAL = 0.8
"""A holder that could not renew for this share of the TTL stops by itself, before another can claim."""


class Epoch(NamedTuple):
    """Orders the holders of a lease: `generation` is when the bucket was made (ms), `revision` its sequence.

    A wiped broker counts revisions from 1 again; its later generation keeps the order.
    """

    generation: int
    revision: int


@dataclass(frozen=True)
class Lease:
    """A lease that this instance holds since `since` (ms). When `stop` is set, finish: the lease is handed over."""

    key: str
    epoch: Epoch
    since: int
    fields: Mapping[str, object] = field(default_factory=dict)
    """Added to its log lines."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def logged(self) -> dict[str, object]:
        """Fields of its log lines."""
        return {"lease": self.key, "epoch": self.epoch.revision, **self.fields}


Work = Callable[[Lease], Awaitable[None]]
"""What the holder of a lease does; returns when `lease.stop` is set."""


class Leases:
    """The leases of one service, seen from one instance. Made by `open_leases`."""

    def __init__(self, bucket: LeaseBucket, generation: int, membership: Membership) -> None:
        self.instance = bucket.instance
        self.service = bucket.service
        self._bucket = bucket
        self._generation = generation
        self._membership = membership
        self._view = LeaseView(bucket.instance)
        self._held: dict[str, Lease] = {}
        self.changes = {"gained": 0, "given_up": 0, "lost": 0}
        """How many leases this instance gained, gave up and lost."""

    def holder(self, key: str) -> str | None:
        """The instance that holds a lease, as far as is known here."""
        return self._view.holders.get(key)

    @property
    def held(self) -> dict[str, Lease]:
        """The leases that this instance holds, by key."""
        return dict(self._held)

    @property
    def members(self) -> set[str]:
        """The live instances of the service."""
        return set(self._view.members)

    async def confirm(self, key: str) -> None:
        """Return when the broker confirms that this instance holds a lease; waits for the broker. Raises Fenced."""
        while True:
            try:
                await self._bucket.own_revision(key)
            except TakenOver as error:
                raise Fenced(f"this instance does not hold the lease {key}", "another one does") from error
            except nats.errors.Error as error:
                log.debug("the lease cannot be confirmed yet", lease=key, error=repr(error))
            else:
                return
            await asyncio.sleep(self._bucket.ttl_s / RENEWALS_PER_TTL)

    async def changed(self) -> None:
        """Wait until any lease or member changes."""
        await self._view.changed()

    async def observe(self, message: Msg) -> None:
        """Take in one entry of the bucket."""
        kind, name = self._bucket.split(message)
        gone = is_gone(message.headers)
        if kind == "instance" and name == self.instance:
            self._membership.echoed()
        elif kind == "instance":
            self._view.see_member(name, not gone)
        elif kind == "lease" and gone:
            self._view.see_holder(name, None)
        elif kind == "lease" and (holder := self._bucket.holder_in(message.subject, message.data)) is not None:
            self._view.see_holder(name, holder)

    async def hold(self, key: str, work: Work, stop: asyncio.Event, **fields: object) -> None:
        """Contend for a lease until `stop`; whenever it is held, run `work(lease)`. `fields` go with its logs.

        `work` returns when `lease.stop` is set (by `stop`, or because another instance should have the lease), and the
        lease is then given up. When the lease is lost, `work` is cancelled. An exception of `work` is raised.
        When `work` returns by itself, the lease is given up and contended for again after a TTL.
        """
        while not stop.is_set():
            rivals = await self._turn(key, stop)
            if stop.is_set():
                break
            since = now_ms()
            revision = await self._bucket.claim(key, since)
            if revision is not None:
                lease = Lease(key, Epoch(self._generation, revision), since, fields)
                await self._run(lease, rivals, work, stop)
            if not stop.is_set():
                await self._view.wait(key, self._bucket.ttl_s / RENEWALS_PER_TTL, stop)

    async def _turn(self, key: str, stop: asyncio.Event) -> frozenset[str]:
        """Wait until a lease looks free and it is our turn; returns the instances that could have claimed before."""
        view, ttl_s = self._view, self._bucket.ttl_s
        while not stop.is_set():
            if key in view.holders:
                await view.wait(key, ttl_s, stop)
                # An expiry whose marker was missed (the broker was down) must not block for ever.
                if key in view.holders and not await self._bucket.is_held(key):
                    view.holders.pop(key, None)
                continue
            rank, rivals = view.rank(key), frozenset(view.members)
            if rank == 0:
                return rivals
            # The better ranked claim first; each place waits a little longer in case they cannot.
            await view.wait(key, min(rank, 4) * ttl_s / 4, stop)
            if key not in view.holders:
                return rivals
        return frozenset()

    async def _run(self, lease: Lease, rivals: frozenset[str], work: Work, stop: asyncio.Event) -> None:
        """Run `work` while the lease is renewed; gives the lease up unless it was lost."""
        log.info("lease held", **lease.logged)
        self._view.holders[lease.key] = self.instance
        self._held[lease.key] = lease
        self.changes["gained"] += 1
        latest = [lease.epoch.revision]
        worker = asyncio.ensure_future(work(lease))
        keeper = asyncio.ensure_future(self._renew(lease, latest))
        mover = asyncio.ensure_future(self._watch_rivals(lease, rivals, stop))
        change = "given_up"
        try:
            await asyncio.wait({worker, keeper}, return_when=asyncio.FIRST_COMPLETED)
            if not worker.done():
                change = "lost"
                log.warning("lease lost", **lease.logged)
        finally:
            # Counted also when cancelled: leases gained and not ended are those that are held.
            self.changes[change] += 1
            self._held.pop(lease.key, None)
            for task in (worker, mover, keeper):
                task.cancel()
            await asyncio.wait({worker, mover, keeper})
        if not worker.cancelled():
            await self._give_up(lease, latest[0])
            worker.result()
        for task in (keeper, mover):
            if not task.cancelled():
                # Both return None; an exception here is a bug, and a lost lease must not hide it.
                task.result()

    async def _renew(self, lease: Lease, latest: list[int]) -> None:
        """Renew, keeping the revision in `latest`; returns when that failed for 0.8 of the TTL, or another holds it."""
        loop, ttl_s = asyncio.get_running_loop(), self._bucket.ttl_s
        deadline = loop.time() + SELF_DENIAL * ttl_s
        while True:
            await asyncio.sleep(min(ttl_s / RENEWALS_PER_TTL, max(0.0, deadline - loop.time())))
            began = loop.time()
            if began >= deadline:
                return
            try:
                async with asyncio.timeout_at(deadline):
                    latest[0] = await self._bucket.renew(lease.key, lease.since, latest[0])
                deadline = began + SELF_DENIAL * ttl_s
            except TakenOver:
                return
            except (nats.errors.Error, TimeoutError) as error:
                log.debug("renewal failed", error=repr(error), **lease.logged)

    async def _watch_rivals(self, lease: Lease, rivals: frozenset[str], stop: asyncio.Event) -> None:
        """Set `lease.stop` when `stop` is set, or an instance came that should have the lease.

        Only newcomers move a lease: a better ranked instance that let its turn pass will not claim now.
        """
        while not stop.is_set() and not self._view.is_outranked(lease.key, rivals):
            rivals &= self._view.members
            await self._view.wait(lease.key, self._bucket.ttl_s, stop)
        lease.stop.set()

    async def _give_up(self, lease: Lease, revision: int) -> None:
        try:
            await self._bucket.release(lease.key, revision)
        except (nats.errors.Error, TakenOver) as error:
            log.debug("the lease will expire", error=repr(error), **lease.logged)
        if self._view.holders.get(lease.key) == self.instance:
            self._view.see_holder(lease.key, None)


@asynccontextmanager
async def open_leases(
    bus: Bus, service: str, instance: str, ttl_s: float, stop: asyncio.Event, metrics: Metrics | None = None
) -> AsyncIterator[Leases]:
    """Join the instances of a service, until `stop`: none should wait for an instance that no longer claims.

    Leave every `hold` before leaving the block. `metrics` reports the leases, and the session's health as readiness.
    """
    generation = await streams.read_created_ms(bus.jetstream, STREAM)
    # Leaving the block ends the membership as well, and must not stop others.
    leaving = asyncio.Event()
    bucket = LeaseBucket(bus, service, instance, ttl_s)
    membership = Membership(bucket, leaving)
    leases = Leases(bucket, generation, membership)
    policy = DeliverPolicy.LAST_PER_SUBJECT
    subscription = await bus.subscribe_ordered(bucket.filter, STREAM, leases.observe, policy=policy)
    async with asyncio.TaskGroup() as group:
        group.create_task(membership.run())
        stopped = group.create_task(_forward(stop, leaving))
        try:
            counted = metrics or Metrics()
            with counted.reading(partial(of_leases, leases)), counted.ready.checked("session", membership.trouble):
                yield leases
        finally:
            stopped.cancel()
            leaving.set()
            await graceful_close.unsubscribe(bus.client, subscription)


async def _forward(one: asyncio.Event, other: asyncio.Event) -> None:
    await one.wait()
    other.set()
