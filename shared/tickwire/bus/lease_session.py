"""The session of one instance: open while its key in bucket LEASES is renewed; all its leases depend on it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable

import msgspec
import nats.errors

from tickwire.bus import streams
from tickwire.bus.lease_bucket import Entry, LeaseBucket, TakenOver, session_in
from tickwire.model.messages import Instance
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

RENEWALS_PER_TTL = 4
SELF_DENIAL = 0.8
"""An instance that could not renew for this share of the TTL stops by itself, before another can claim."""
FIRST_AGAIN_S = 0.05
"""A renewal that the broker refuses is sent again at once, then after so long, doubled up to their interval."""


class Session:
    """Opens a session, renews it, and opens another one when it was lost.

    `changed(id)` is called when a session opens, and with 0 when it is lost. When it could not be renewed for 0.8 of
    the TTL a timer calls that, not a task: no task of a process that was suspended continues before.
    """

    def __init__(self, bucket: LeaseBucket, changed: Callable[[int], None]) -> None:
        self.id = 0
        """The revision of the session's first entry; 0 while none is open."""
        self.opened = asyncio.Event()
        """Set while a session is open."""
        self._bucket = bucket
        self._changed = changed
        self._instance = Instance(
            instance=bucket.instance,
            service=bucket.service,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=now_ms(),
            claims=False,
        )
        self._revision = 0
        self._valid_until = 0.0
        self._denial: asyncio.TimerHandle | None = None
        now = time.monotonic()
        self._renewed_at, self._echoed_at = now, now
        self._trouble = ""

    def observe(self, entry: Entry) -> None:
        """Take in an entry of this instance that the bucket delivered."""
        self._echoed_at = time.monotonic()
        value = self._bucket.instance_in(entry)
        ours = value is not None and session_in(entry, value) == self.id
        if self.id and entry.revision > self._revision and not ours:
            self._lose("its entry was replaced")

    def trouble(self) -> str | None:
        """Why this instance cannot be sure of what it holds; None when it can."""
        now, ttl_s = time.monotonic(), self._bucket.ttl_s
        if now - self._renewed_at > ttl_s:
            return f"the session is not renewed since {now - self._renewed_at:.0f} s ({self._trouble or 'no answer'})"
        if now - self._echoed_at > 2 * ttl_s:
            return f"bucket {streams.LEASES} delivers no changes since {now - self._echoed_at:.0f} s"
        return None

    async def run(self, stop: asyncio.Event, closed: asyncio.Event) -> None:
        """Keep a session open until `closed`, then end it at once.

        From `stop` on others are told that this instance claims nothing any more.
        """
        renewals: set[asyncio.Task[None]] = set()
        try:
            async with TaskGroup() as group:
                leaving = group.create_task(self._leave(stop))
                while not closed.is_set():
                    if self.id:
                        # Not awaited: one whose acknowledgement was lost must not hold up the next.
                        renewals.add(renewal := group.create_task(self._renew()))
                        renewal.add_done_callback(renewals.discard)
                    elif not stop.is_set() and await lifecycle.unless_stopped(closed, self._open()):
                        # Renewed at once: its acknowledgement may have taken most of the time that it has.
                        continue
                    await lifecycle.pause(closed, self._bucket.ttl_s / RENEWALS_PER_TTL)
                for task in (leaving, *renewals):
                    task.cancel()
        finally:
            # Also when cancelled: its timer would report the loss of a session that nobody uses.
            session = self.id
            self._end()
        if session:
            try:
                await self._bucket.end_session(self._revision)
            except nats.errors.Error as error:
                log.debug("the session will expire", error=repr(error))

    async def _open(self) -> bool:
        """Begin a session, which ends that of an earlier process with the same name; whether it is open.

        A process that has lost a session waits while another of its name has one: they would take turns for ever.
        """
        bucket, began = self._bucket, self._now()
        try:
            last = await bucket.last_of(bucket.instance)
            if last is not None and self._revision and self._is_of_another(last):
                self._trouble = "another process has the name of this instance"
                return False
            first = await bucket.write_session(self._instance, last.revision if last else 0)
        except (nats.errors.Error, TakenOver) as error:
            self._trouble = repr(error)
            log.debug("could not open a session", error=repr(error))
            return False
        valid_until = began + SELF_DENIAL * bucket.ttl_s
        # One that was acknowledged so late that it ends before it is renewed is not begun.
        if self._now() >= valid_until - bucket.ttl_s / RENEWALS_PER_TTL:
            self._trouble = "the broker acknowledged the session too late"
            return False
        self.id = self._revision = first
        self._renewed_at, self._valid_until = time.monotonic(), valid_until
        self._denial = asyncio.get_running_loop().call_at(valid_until, self._deny)
        self.opened.set()
        self._changed(first)
        return True

    async def _renew(self) -> None:
        bucket, session, revision, began = self._bucket, self.id, self._revision, self._now()
        value = msgspec.structs.replace(self._instance, session=session)
        renewed = 0
        backoff = Backoff(FIRST_AGAIN_S, bucket.ttl_s / RENEWALS_PER_TTL)
        try:
            async with asyncio.timeout_at(began + SELF_DENIAL * bucket.ttl_s):
                while not renewed and self.id == session:
                    try:
                        renewed = await self._write(value, revision)
                    except nats.errors.TimeoutError:
                        raise
                    except nats.errors.Error as error:
                        # A broker that starts is connected before it has its streams, and answers that there are none.
                        self._trouble = repr(error)
                        await asyncio.sleep(backoff.next())
        except TakenOver:
            if self.id == session:
                self._lose("another one replaced it, or it expired")
        except (nats.errors.Error, TimeoutError) as error:
            self._trouble = repr(error)
            log.debug("renewal failed", error=repr(error))
        if renewed and self.id == session:
            self._renewed_at = time.monotonic()
            self._revision = max(self._revision, renewed)
            self._valid_until = max(self._valid_until, began + SELF_DENIAL * bucket.ttl_s)

    async def _write(self, value: Instance, revision: int) -> int:
        """Write the session's entry over its last one; the new revision. Raises TakenOver, and nats' errors."""
        while True:
            try:
                return await self._bucket.write_session(value, revision)
            except TakenOver:
                # An earlier renewal was stored and its acknowledgement is late or lost; nobody knows since when that
                # one counts.
                revision = await self._stored(value.session)

    async def _stored(self, session: int) -> int:
        """The revision of the session's last entry. Raises TakenOver, and nats' errors."""
        last = await self._bucket.last_of(self._bucket.instance)
        value = None if last is None else self._bucket.instance_in(last)
        if last is None or value is None or session_in(last, value) != session:
            raise TakenOver
        return last.revision

    async def announce(self, claims: bool) -> None:
        """Tell the others whether this instance claims leases."""
        self._instance = msgspec.structs.replace(self._instance, claims=claims)
        if self.id:
            await self._renew()

    async def _leave(self, stop: asyncio.Event) -> None:
        await stop.wait()
        await self.announce(claims=False)

    def _is_of_another(self, last: Entry) -> bool:
        """Whether an entry is that of another live process which has this instance's name."""
        value = self._bucket.instance_in(last)
        ours = self._instance
        return value is not None and (value.host, value.pid, value.started) != (ours.host, ours.pid, ours.started)

    def _deny(self) -> None:
        """Lose the session if it was not renewed in time; else look again when the last renewal is as old."""
        if self._now() >= self._valid_until:
            self._lose("it could not be renewed in time")
        else:
            self._denial = asyncio.get_running_loop().call_at(self._valid_until, self._deny)

    def _lose(self, reason: str) -> None:
        self._trouble = reason
        log.warning("session lost", session=self.id, reason=reason)
        self._end()
        self._changed(0)

    def _end(self) -> None:
        self.id = 0
        self.opened.clear()
        if self._denial is not None:
            self._denial.cancel()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
