"""What one instance knows of the leases and instances of its service. No I/O: fed with the entries of bucket LEASES."""

from __future__ import annotations

import asyncio
import hashlib


class LeaseView:
    """Who holds which lease, which instances are live, and events for those who wait for a change."""

    def __init__(self, instance: str) -> None:
        self.holders: dict[str, str] = {}
        """The holder of each lease that is held."""
        self.members: set[str] = {instance}
        """The live instances, this one included."""
        self._instance = instance
        self._changed = asyncio.Event()
        # One for each lease: a change of one among hundreds must not wake those who wait for the others.
        self._concerned: dict[str, asyncio.Event] = {}

    def see_holder(self, key: str, holder: str | None) -> None:
        """Record the holder of a lease; None when it is free."""
        before = self.holders.get(key)
        if holder is None:
            self.holders.pop(key, None)
        else:
            self.holders[key] = holder
        if holder != before:
            self._notify(key)

    def see_member(self, instance: str, live: bool) -> None:
        """Record whether another instance is live."""
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

    async def changed(self) -> None:
        """Wait until any lease or member changes."""
        await self._changed.wait()

    async def wait(self, key: str, seconds: float, stop: asyncio.Event) -> None:
        """Wait for a change that concerns a lease, for `stop`, or for so many seconds."""
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
