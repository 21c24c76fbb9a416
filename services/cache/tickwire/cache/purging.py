"""Purges the pages of one partition from stream OHLCV that its checkpoint has passed.

A fetcher that missed `md.stored` takes a page for durable when the stream no longer has it (`page_publisher` of the
fetcher). So a purge is retried until the broker confirms it, and what a killed owner left is purged by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats.errors

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import cancellable
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 5.0
"""Delays before a purge that the broker did not confirm is tried again: a cluster elects a leader within seconds."""


class Purge:
    """The purges of one partition, for as long as its lease is held. Made by `purging`."""

    def __init__(self, bus: Bus, partition: int, stream: str) -> None:
        self._bus = bus
        self._partition = partition
        self._stream = stream
        self._disconnects = bus.disconnects
        self._wanted = 0
        self._purged = 0
        self._moved = asyncio.Event()
        self._failures = Episode(log, "stored pages cannot be purged", partition=partition)

    def up_to(self, position: int) -> None:
        """Have the partition's pages purged up to this sequence: they are durable, and the checkpoint says so."""
        if position > self._wanted:
            self._wanted = position
            self._moved.set()

    async def run(self) -> None:
        """Purge up to the newest position, retrying until the broker confirms it. Ends when it is cancelled."""
        backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S, at_once=False)
        while True:
            if await self.attempt():
                backoff.worked()
                await self._moved.wait()
                self._moved.clear()
            else:
                await asyncio.sleep(backoff.next())

    async def attempt(self) -> bool:
        """Purge once what is due; whether nothing is due any more."""
        wanted = self._wanted
        if wanted == self._purged:
            return True
        try:
            if await self._is_same_stream():
                subject = f"ohlcv.{self._partition}.>"
                await cancellable(self._bus.jetstream.purge_stream(streams.OHLCV, seq=wanted + 1, subject=subject))
        except nats.errors.Error as error:
            self._failures.occurs(error=repr(error))
            return False
        self._failures.ends()
        self._purged = wanted
        return True

    async def _is_same_stream(self) -> bool:
        """Whether the sequences still mean the same pages: after a reconnection the stream may be another one."""
        disconnects = self._bus.disconnects
        if disconnects != self._disconnects:
            if str(await cancellable(streams.read_created_ms(self._bus.jetstream, streams.OHLCV))) != self._stream:
                return False
            self._disconnects = disconnects
        return True


@asynccontextmanager
async def purging(bus: Bus, partition: int, stream: str) -> AsyncIterator[Purge]:
    """Purge pages of a partition within the block; at its end once more, unless it ends with an error.

    `stream` is the identity of stream OHLCV (`streams.read_created_ms`): positions of another one purge nothing.
    """
    purge = Purge(bus, partition, stream)
    async with lifecycle.unwrapped(), TaskGroup() as group:
        running = group.create_task(purge.run())
        try:
            yield purge
        finally:
            running.cancel()
    await purge.attempt()
