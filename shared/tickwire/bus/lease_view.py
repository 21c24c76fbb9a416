"""What one instance knows of the leases and instances of its service. No I/O: fed with the entries of bucket LEASES."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from typing import Any, NamedTuple


class Holder(NamedTuple):
    """The instance that holds a lease, and by which of its sessions; 0 in entries of versions before sessions."""

    instance: str
    session: int


class LeaseView:
    """Who holds which lease, which instances and sessions are live, and events for those who wait for a change."""

    def __init__(self, instance: str) -> None:
        self.holders: dict[str, Holder] = {}
        """The holder of each lease that is held."""
        self.members: set[str] = {instance}
        """The live instances that claim leases, this one included."""
        self._sessions: dict[str, int] = {}
        self._instance = instance
        self._changed = asyncio.Event()
        # One for each lease: a change of one among hundreds must not wake those who wait for the others.
        self._concerned: dict[str, asyncio.Event] = {}

    def holder(self, key: str) -> str | None:
        """The instance that holds a lease; None when its session is not known to be open."""
        return self.holders[key].instance if self.is_held(key) else None

    def is_held(self, key: str) -> bool:
        """Whether a lease has a holder whose session is known to be open."""
        holder = self.holders.get(key)
        return holder is not None and holder.session in (0, self._sessions.get(holder.instance))

    def see_holder(self, key: str, holder: str | None, session: int = 0) -> None:
        """Record the holder of a lease and the session that it is held by; None when it is free."""
        before = self.holders.get(key)
        seen = None if holder is None else Holder(holder, session)
        if seen is None:
            self.holders.pop(key, None)
        else:
            self.holders[key] = seen
        if seen != before:
            self._notify(key)

    def see_session(self, instance: str, session: int) -> None:
        """Record the open session of an instance, 0 for none. What its other sessions held is free."""
        if not session:
            self._sessions.pop(instance, None)
        elif self._sessions.get(instance) == session:
            return
        else:
            self._sessions[instance] = session
        valid = (0, session)
        over = [key for key, held in self.holders.items() if held.instance == instance and held.session not in valid]
        for key in over:
            del self.holders[key]
        self._notify(*over)

    def see_member(self, instance: str, live: bool) -> None:
        """Record whether another instance is live and claims leases."""
        known = instance in self.members
        if live:
            self.members.add(instance)
        else:
            self.members.discard(instance)
        if known != live:
            self._notify(*self._concerned)

    def rank(self, key: str) -> int:
        """The place of this instance in the order in which the live ones may claim a lease, 0 for the first."""
        order = sorted(self.members, key=lambda member: weight(member, key), reverse=True)
        return order.index(self._instance)

    def is_outranked(self, key: str, rivals: frozenset[str]) -> bool:
        """Whether an instance that is not one of `rivals` should have a lease rather than this one."""
        mine = weight(self._instance, key)
        return any(weight(member, key) > mine for member in self.members - rivals)

    def changed(self) -> Coroutine[Any, Any, object]:
        """Wait until any lease or member changes: from this call on, not from when a task begins to wait."""
        return self._changed.wait()

    async def wait(self, key: str, seconds: float | None, stop: asyncio.Event) -> None:
        """Wait for a change that concerns a lease, for `stop`, or for so many seconds (None: without a limit)."""
        changed = self._concerned.setdefault(key, asyncio.Event())
        waiters = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    def _notify(self, *keys: str) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        for key in keys:
            if (concerned := self._concerned.pop(key, None)) is not None:
                concerned.set()


def weight(member: str, key: str) -> bytes:
    """The weight of an instance for a lease: rendezvous hashing gives the lease to the heaviest. Pure."""
    return hashlib.blake2b(f"{member}/{key}".encode(), digest_size=8).digest()
