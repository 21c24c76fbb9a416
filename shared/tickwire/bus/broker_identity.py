"""The broker's identity: when each of its streams was made.

A broker that was wiped, a stream that was deleted and made again: sequences begin at 1 once more, consumers, leases and
interests are gone, and nothing of that is an error to whoever is connected. So the times are compared after each
reconnection, and every few seconds.
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

log = logs.get(__name__)

EVERY_S = 5.0

Identity = dict[str, int | None]
"""When each stream was made, ms; None where there is none."""


async def read(bus: Bus, names: Sequence[str]) -> Identity:
    """The identity as it is now. Raises BrokerUnavailable when JetStream does not answer for 15 s."""
    found: Identity = {}
    for name in names:
        try:
            found[name] = await streams.read_created_ms(bus.jetstream, name)
        except nats.js.errors.NotFoundError:
            found[name] = None
    return found


def describe_change(before: Identity, now: Identity) -> str | None:
    """What happened to the streams, in words; None where nothing did. Pure."""
    gone = [name for name, made in now.items() if made is None and before[name] is not None]
    anew = [name for name, made in now.items() if made is not None and made != before[name]]
    if len(gone) + len(anew) == len(now) > 1:
        return "the broker is another one, or was wiped"
    said = [f"stream {name} is gone" for name in gone] + [f"stream {name} was made anew" for name in anew]
    return "; ".join(said) or None


@asynccontextmanager
async def broker_unchanged(bus: Bus, names: Sequence[str], metrics: Metrics) -> AsyncIterator[None]:
    """Within the block the broker is the one that it was at its beginning; the block ends with BrokerChanged else.

    While it cannot be asked the process is not ready.
    """
    watch = _Watch(bus, names, await read(bus, names))
    bus.resync_callbacks.add(watch.doubt.set)
    try:
        async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
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
        silent = Episode(log, "JetStream does not say which streams it has")
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
            if (said := describe_change(self._made, now)) is not None:
                raise BrokerChanged(said, "everything is opened anew")
