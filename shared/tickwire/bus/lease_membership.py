"""Membership: one instance registered as live, and the measure of whether it can trust what it holds."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import nats.errors

from tickwire.bus import streams
from tickwire.bus.lease_bucket import LeaseBucket
from tickwire.model.messages import Instance
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.process import lifecycle

log = logs.get(__name__)

RENEWALS_PER_TTL = 4


class Membership:
    """Registers an instance until `stop` is set."""

    def __init__(self, bucket: LeaseBucket, stop: asyncio.Event) -> None:
        self._bucket = bucket
        self._stop = stop
        now = time.monotonic()
        self._renewed_at, self._echoed_at = now, now
        self._refusal = ""

    def echoed(self) -> None:
        """The bucket delivered an entry of this instance."""
        self._echoed_at = time.monotonic()

    def trouble(self) -> str | None:
        """Why this instance cannot be sure of what it holds; None when it can."""
        now, ttl_s = time.monotonic(), self._bucket.ttl_s
        if now - self._renewed_at > ttl_s:
            return f"the session is not renewed since {now - self._renewed_at:.0f} s ({self._refusal or 'no answer'})"
        if now - self._echoed_at > 2 * ttl_s:
            return f"bucket {streams.LEASES} delivers no changes since {now - self._echoed_at:.0f} s"
        return None

    async def run(self) -> None:
        """Renew the registration until `stop`, then delete it: others need not wait for its TTL."""
        bucket = self._bucket
        instance = Instance(
            instance=bucket.instance,
            service=bucket.service,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=now_ms(),
        )
        while not self._stop.is_set():
            try:
                await bucket.register(instance)
            except nats.errors.Error as error:
                self._refusal = repr(error)
                log.debug("could not register", error=repr(error))
            else:
                self._renewed_at = time.monotonic()
            await lifecycle.pause(self._stop, bucket.ttl_s / RENEWALS_PER_TTL)
        try:
            await bucket.unregister()
        except nats.errors.Error as error:
            log.debug("the registration will expire", error=repr(error))
