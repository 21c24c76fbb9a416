"""How many messages streams hold: read from the broker every few seconds, so that no scrape waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import nats.errors
from prometheus_client.core import GaugeMetricFamily, Metric

from tickwire.bus.connection import Bus
from tickwire.bus.requests import cancellable
from tickwire.observe import logs
from tickwire.observe.metrics import Metrics
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

EVERY_S = 2.0


class StreamDepth:
    """A gauge `name` with the label `stream`. A stream has no value while the broker does not answer."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._counts: dict[str, int] = {}

    async def watch(self, stream: str, ask: Callable[[], Awaitable[int]]) -> None:
        """Keep the value of a stream current with what `ask` reads from the broker, until cancelled."""
        try:
            while True:
                try:
                    self._counts[stream] = await cancellable(ask())
                except (nats.errors.Error, TimeoutError) as error:
                    # nats-py raises its own TimeoutError, and at times that of asyncio. An old number would be wrong.
                    self._counts.pop(stream, None)
                    log.debug("the depth of a stream is unknown", stream=stream, error=repr(error))
                await asyncio.sleep(EVERY_S)
        finally:
            self._counts.pop(stream, None)

    def collect(self) -> Iterable[Metric]:
        """The gauge for a scrape."""
        family = GaugeMetricFamily(self._name, self._text, labels=["stream"])
        for stream, count in self._counts.items():
            family.add_metric([stream], count)
        yield family


@asynccontextmanager
async def observed(bus: Bus, stream: str, metrics: Metrics) -> AsyncIterator[None]:
    """Report `tickwire_stream_messages`, the messages a stream holds, for as long as the block lasts."""
    depth = StreamDepth("tickwire_stream_messages", "Messages that a stream holds for this service")

    async def ask() -> int:
        return (await bus.jetstream.stream_info(stream)).state.messages

    async with TaskGroup() as group:
        watching = group.create_task(depth.watch(stream, ask))
        try:
            with metrics.reading(depth.collect):
                yield
        finally:
            watching.cancel()
