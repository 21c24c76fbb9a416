"""The broker's identity: the creation time of each stream.

When a broker is wiped, or a stream deleted and made again, sequences begin at 1 again, and consumers, leases and
interests are gone; a connected client gets no error. So the times are compared after each reconnection, and every 5 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import nats.js.errors

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.errors import BrokerChanged, BrokerUnavailable
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.observe.metrics import Metrics
from tickwire.process import lifecycle
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

EVERY_S = 5.0

Identity = dict[str, int | None]
"""The creation time of each stream, ms; None where the stream does not exist."""


async def read(bus: Bus, names: Sequence[str]) -> Identity:
    """The present identity. Raises BrokerUnavailable when JetStream does not answer for 15 s.

    All streams are asked for at once: one after another wakes an idle process twice for each of them.
    """
    async with lifecycle.unwrapped(), TaskGroup() as group:
        asked = {name: group.create_task(_created(bus, name)) for name in names}
    return {name: task.result() for name, task in asked.items()}


async def _created(bus: Bus, name: str) -> int | None:
    try:
        return await streams.read_created_ms(bus.jetstream, name)
    except nats.js.errors.NotFoundError:
        return None


def describe_change(before: Identity, now: Identity) -> str | None:
    """What happened to the streams, for a message; None when they are the same. Pure."""
    gone = [name for name, made in now.items() if made is None and before[name] is not None]
    recreated = [name for name, made in now.items() if made is not None and made != before[name]]
    if len(gone) + len(recreated) == len(now) > 1:
        return "the broker is another one, or was wiped"
    changes = [f"stream {name} is gone" for name in gone] + [f"stream {name} was recreated" for name in recreated]
    return "; ".join(changes) or None


@asynccontextmanager
async def broker_unchanged(bus: Bus, names: Sequence[str], metrics: Metrics) -> AsyncIterator[None]:
    """End the block with BrokerChanged when the broker's identity differs from that at its beginning.

    The process is not ready while JetStream does not answer.
    """
    watch = _Watch(bus, names, await read(bus, names))
    bus.resync_callbacks.add(watch.doubt.set)
    try:
        async with lifecycle.unwrapped(), TaskGroup() as group:
            watching = group.create_task(watch.run())
            with metrics.ready.checked("identity", lambda: watch.silence):
                yield
            watching.cancel()
    finally:
        bus.resync_callbacks.discard(watch.doubt.set)


class _Watch:
    def __init__(self, bus: Bus, names: Sequence[str], made: Identity) -> None:
        self.doubt = asyncio.Event()
        self.silence: str | None = None
        self._bus = bus
        self._names = names
        self._made = made

    async def run(self) -> None:
        """Compare, until cancelled. Raises BrokerChanged."""
        silent = Episode(log, "JetStream does not answer which streams it has")
        while True:
            await lifecycle.pause(self.doubt, EVERY_S)
            self.doubt.clear()
            try:
                now = await read(self._bus, self._names)
            except BrokerUnavailable as error:
                silent.occurs(error=error.message)
                self.silence = str(error)
                continue
            silent.ends()
            self.silence = None
            if (changes := describe_change(self._made, now)) is not None:
                raise BrokerChanged(changes, "the service starts again")
