"""Leases: exactly one process does it.

An instance renews one key in the KV bucket LEASES, its session. A lease is a key without a TTL, claimed by
compare-and-set, that names its holder and the holder's session; it is held for as long as that session is open. So the
cost of renewing grows with the instances, not with what they hold. The revision of the claim, together with the
bucket's creation time, is the lease's epoch and grows for ever. A session that is not renewed expires after the TTL,
and the marker of the expiry wakes those who wait: everything that it held is free. Rendezvous hashing over the live
instances decides who claims first, so that leases spread, and few move when instances come and go.

A lease steers, it does not fence: a paused holder resumes in the middle of its work. What it writes must be
fenced by the epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from tickwire.bus import graceful_close, streams
from tickwire.bus.connection import Bus
from tickwire.bus.entry_ages import EntryAges
from tickwire.bus.lease import Epoch, Lease, Work
from tickwire.bus.lease_bucket import STREAM, Entry, LeaseBucket, TakenOver, session_in
from tickwire.bus.lease_session import RENEWALS_PER_TTL, Session
from tickwire.bus.lease_view import Holder, LeaseView
from tickwire.bus.metrics import of_leases
from tickwire.bus.requests import until_answered
from tickwire.errors import Fenced
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.metrics import Metrics
from tickwire.process import lifecycle
from tickwire.task_group import TaskGroup

__all__ = ["Epoch", "Lease", "Leases", "Work", "open_leases", "open_leases_unannounced"]

log = logs.get(__name__)


TTLS_PER_QUESTION = 10
"""How often who waits for a lease asks whether it is held: its release was missed if the broker was away for long."""


@dataclass
class _Held:
    lease: Lease
    worker: asyncio.Future[None]
    lost: bool = False


class Leases:
    """The leases of one service, seen from one instance. Made by `open_leases`."""

    def __init__(self, bucket: LeaseBucket, generation: int) -> None:
        self.instance = bucket.instance
        self.service = bucket.service
        self.session = Session(bucket, self._session_changed)
        self._bucket = bucket
        self._generation = generation
        self._view = LeaseView(bucket.instance)
        self._ages = EntryAges(bucket.ttl_s)
        self._held: dict[str, _Held] = {}
        self.known = asyncio.Event()
        """Set when the bucket has delivered what was in it before this instance joined."""
        # The leases that are contended for here.
        self._wanted: set[str] = set()
        self.changes = {"gained": 0, "given_up": 0, "lost": 0}
        """How many leases this instance gained, gave up and lost."""

    def holder(self, key: str) -> str | None:
        """The instance that holds a lease, as far as is known here."""
        return self._view.holder(key)

    @property
    def held(self) -> dict[str, Lease]:
        """The leases that this instance holds, by key."""
        return {key: held.lease for key, held in self._held.items()}

    @property
    def members(self) -> set[str]:
        """The live instances of the service that claim leases, this one included."""
        return set(self._view.members)

    @property
    def older(self) -> list[str]:
        """The live instances of versions before sessions; complete when `known` is set."""
        return [entry.name for entry in self._ages.untimed() if entry.kind == "instance"]

    async def confirm(self, key: str) -> None:
        """Return when the broker confirms that this instance holds a lease; waits for the broker. Raises Fenced.

        It does if the entry of the lease is unchanged, and the session that it names is open.
        """
        try:
            await until_answered(partial(self._check_held, key), f"lease {key}")
        except TakenOver as error:
            raise Fenced(f"this instance does not hold the lease {key}", "another one does") from error

    async def _check_held(self, key: str) -> None:
        """Raises TakenOver, and nats' errors."""
        held, session = self._held.get(key), self.session.id
        if held is None or await self._bucket.own_revision(key, session) != held.lease.epoch.revision:
            raise TakenOver
        # Last: a session that is open now was open before.
        if await self._bucket.session_of(self.instance) != session:
            raise TakenOver

    def changed(self) -> Coroutine[Any, Any, object]:
        """Wait until any lease or member changes: from this call on, not from when a task begins to wait."""
        return self._view.changed()

    async def observe(self, message: Msg) -> None:
        """Take in one entry of the bucket."""
        entry = self._bucket.entry(message)
        if entry.kind == "instance":
            self._observe_instance(entry)
        elif entry.kind == "lease":
            self._observe_lease(entry)

    def _observe_instance(self, entry: Entry) -> None:
        if entry.name == self.instance:
            self.session.observe(entry)
            self.known.set()
            return
        value = self._bucket.instance_in(entry)
        self._ages.see(entry, untimed=not entry.gone and not entry.expires)
        self._view.see_session(entry.name, 0 if value is None else session_in(entry, value))
        self._view.see_member(entry.name, value is not None and value.claims)

    def _observe_lease(self, entry: Entry) -> None:
        held = self._held.get(entry.name)
        if held is not None and entry.revision <= held.lease.epoch.revision:
            # That of an earlier holder, or our claim.
            self._ages.see(entry, untimed=False)
            return
        holder = self._bucket.holder_in(entry)
        self._ages.see(entry, untimed=not entry.gone and (holder is None or not holder.session))
        if held is not None:
            log.warning("lease lost", **held.lease.logged)
            self._lose(held)
        if holder is None:
            self._view.see_holder(entry.name, None)
        else:
            self._view.see_holder(entry.name, holder.holder, holder.session)

    def _session_changed(self, session: int) -> None:
        """Lose everything when the session is over. Called by timers, too: nothing here waits."""
        self._view.see_session(self.instance, session)
        for held in list(self._held.values()):
            log.info("lease lost with the session", **held.lease.logged)
            self._lose(held)

    def _lose(self, held: _Held) -> None:
        held.lost = True
        self.changes["lost"] += 1
        self._held.pop(held.lease.key, None)
        held.worker.cancel()

    async def hold(self, key: str, work: Work, stop: asyncio.Event, **fields: object) -> None:
        """Contend for a lease until `stop`; whenever it is held, run `work(lease)`. `fields` go with its logs.

        `work` returns when `lease.stop` is set (by `stop`, or because another instance should have the lease), and the
        lease is then given up. When the lease is lost, `work` is cancelled. An exception of `work` is raised.
        When `work` returns by itself, the lease is given up and contended for again after a TTL.
        """
        self._wanted.add(key)
        try:
            while not stop.is_set():
                rivals = await self._turn(key, stop)
                session, since = self.session.id, now_ms()
                if stop.is_set():
                    break
                revision = await self._bucket.claim(key, since, session) if session else None
                if revision is not None and self.session.id == session:
                    self._view.see_holder(key, self.instance, session)
                    await self._run(Lease(key, Epoch(self._generation, revision), since, fields), rivals, work, stop)
                if not stop.is_set():
                    await self._view.wait(key, self._bucket.ttl_s / RENEWALS_PER_TTL, stop)
        finally:
            self._wanted.discard(key)

    async def keep_house(self) -> None:
        """Release what this instance holds and nothing here works on, and end entries whose end nobody announced."""
        while True:
            await asyncio.sleep(self._bucket.ttl_s / RENEWALS_PER_TTL)
            for key, holder in list(self._view.holders.items()):
                if holder.instance == self.instance and key not in self._wanted:
                    await self._release_left(key)
            try:
                for entry in self._ages.due():
                    await self._bucket.expire(entry)
                for entry in self._ages.silent():
                    last = await self._bucket.reread(entry)
                    if last.revision == entry.revision and not last.gone:
                        # Not renewed, and not expired: the broker's clock went back.
                        await self._bucket.expire(last)
                    else:
                        self._observe_instance(last)
            except nats.errors.Error as error:
                log.debug("old entries cannot be looked at yet", error=repr(error))

    async def _turn(self, key: str, stop: asyncio.Event) -> frozenset[str]:
        """Wait until a lease looks free and it is our turn; returns the instances that could have claimed before."""
        view, ttl_s = self._view, self._bucket.ttl_s
        while not stop.is_set():
            if not self.session.id:
                await lifecycle.unless_stopped(stop, self.session.opened.wait())
            elif (holder := view.holders.get(key)) is not None:
                await self._until_free(key, holder, stop)
            else:
                rank, rivals = view.rank(key), frozenset(view.members)
                # The better ranked claim first; each place waits a little longer in case they cannot.
                if rank > 0:
                    await view.wait(key, min(rank, 4) * ttl_s / 4, stop)
                if key not in view.holders:
                    return rivals
        return frozenset()

    async def _until_free(self, key: str, holder: Holder, stop: asyncio.Event) -> None:
        """Wait for a change of a lease that has a holder; ask the broker whether that one has it still."""
        view, ttl_s = self._view, self._bucket.ttl_s
        if holder.instance == self.instance:
            # A claim whose acknowledgement was lost, or a release that failed.
            await self._release_left(key)
        elif view.is_held(key):
            await view.wait(key, ttl_s * TTLS_PER_QUESTION, stop)
        if view.holders.get(key) == holder and not await self._bucket.is_held(key):
            view.see_holder(key, None)
        if view.holders.get(key) == holder:
            await view.wait(key, ttl_s / RENEWALS_PER_TTL, stop)

    async def _run(self, lease: Lease, rivals: frozenset[str], work: Work, stop: asyncio.Event) -> None:
        """Run `work` until it ends or the lease is lost, which cancels it; gives the lease up unless it was lost."""
        log.info("lease held", **lease.logged)
        self.changes["gained"] += 1
        self._held[lease.key] = held = _Held(lease, asyncio.ensure_future(work(lease)))
        worker, mover = held.worker, asyncio.ensure_future(self._watch_rivals(lease, rivals, stop))
        try:
            await asyncio.wait({worker})
        finally:
            if not held.lost:
                # Counted also when cancelled: leases gained and not ended are those that are held.
                self.changes["given_up"] += 1
                self._held.pop(lease.key, None)
            for task in (worker, mover):
                task.cancel()
            await asyncio.wait({worker, mover})
        if not worker.cancelled():
            await self._give_up(lease)
            worker.result()
        if not mover.cancelled():
            # Returns None; an exception here is a bug, and a lost lease must not hide it.
            mover.result()

    async def _watch_rivals(self, lease: Lease, rivals: frozenset[str], stop: asyncio.Event) -> None:
        """Set `lease.stop` when `stop` is set, or an instance came that should have the lease.

        Only newcomers move a lease: a better ranked instance that let its turn pass will not claim now.
        """
        while not stop.is_set() and not self._view.is_outranked(lease.key, rivals):
            rivals &= self._view.members
            await self._view.wait(lease.key, None, stop)
        lease.stop.set()

    async def _give_up(self, lease: Lease) -> None:
        try:
            await self._bucket.release(lease.key, lease.epoch.revision)
        except nats.errors.Error as error:
            log.debug("the lease cannot be released yet", error=repr(error), **lease.logged)
        else:
            if (holder := self._view.holders.get(lease.key)) and holder.instance == self.instance:
                self._view.see_holder(lease.key, None)

    async def _release_left(self, key: str) -> None:
        """Release a lease that this instance holds by its session, and that nothing here works on."""
        try:
            revision = await self._bucket.own_revision(key, self.session.id)
            if key not in self._held:
                await self._bucket.release(key, revision)
        except TakenOver:
            pass
        except nats.errors.Error as error:
            log.debug("the lease cannot be released yet", lease=key, error=repr(error))
            return
        if (holder := self._view.holders.get(key)) and holder.instance == self.instance and key not in self._held:
            self._view.see_holder(key, None)


@asynccontextmanager
async def open_leases(
    bus: Bus, service: str, instance: str, ttl_s: float, stop: asyncio.Event, metrics: Metrics | None = None
) -> AsyncIterator[Leases]:
    """Join the instances of a service, until `stop`: none should wait for an instance that no longer claims.

    Leave every `hold` before leaving the block. `metrics` reports the leases, and the session's health as readiness.
    """
    async with open_leases_unannounced(bus, service, instance, ttl_s, stop, metrics) as leases:
        # Before the session's first entry is written.
        await leases.session.announce(claims=True)
        yield leases


@asynccontextmanager
async def open_leases_unannounced(
    bus: Bus, service: str, instance: str, ttl_s: float, stop: asyncio.Event, metrics: Metrics | None = None
) -> AsyncIterator[Leases]:
    """The same, but no other instance counts on this one's claims before `leases.session.announce(claims=True)`."""
    generation = await streams.read_created_ms(bus.jetstream, STREAM)
    closed = asyncio.Event()
    bucket = LeaseBucket(bus, service, instance, ttl_s)
    leases = Leases(bucket, generation)
    policy = DeliverPolicy.LAST_PER_SUBJECT
    subscription = await bus.subscribe_ordered(bucket.filter, STREAM, leases.observe, policy=policy)
    async with TaskGroup() as group:
        group.create_task(leases.session.run(stop, closed))
        house = group.create_task(leases.keep_house())
        try:
            counted = metrics or Metrics()
            with counted.reading(partial(of_leases, leases)), counted.ready.checked("session", leases.session.trouble):
                yield leases
        finally:
            house.cancel()
            closed.set()
            await graceful_close.unsubscribe(bus.client, subscription)
