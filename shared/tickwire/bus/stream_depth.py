"""How many messages wait in streams: asked for every few seconds beside the work, so that no scrape waits for it."""

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

log = logs.get(__name__)

EVERY_S = 2.0


class StreamDepth:
    """A gauge `name` with the label `stream`. A stream has no value while the broker does not say."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._counts: dict[str, int] = {}

    async def watch(self, stream: str, ask: Callable[[], Awaitable[int]]) -> None:
        """Keep the value of a stream, as `ask` has it from the broker, until cancelled."""
        try:
            while True:
                try:
                    self._counts[stream] = await cancellable(ask())
                except (nats.errors.Error, TimeoutError) as error:
                    # That of nats-py, or at times asyncio's own. An old number would be a wrong one.
                    self._counts.pop(stream, None)
                    log.debug("it cannot be said how much waits", stream=stream, error=repr(error))
                await asyncio.sleep(EVERY_S)
        finally:
            self._counts.pop(stream, None)

    def collect(self) -> Iterable[Metric]:
        """What Prometheus is told."""
        family = GaugeMetricFamily(self._name, self._text, labels=["stream"])
        for stream, count in self._counts.items():
            family.add_metric([stream], count)
        yield family


@asynccontextmanager
async def observed(bus: Bus, stream: str, metrics: Metrics) -> AsyncIterator[None]:
    """Within the block, `tickwire_stream_messages` says how many messages a stream holds."""
    depth = StreamDepth("tickwire_stream_messages", "Messages that a stream holds for this service")

    async def ask() -> int:
        return (await bus.jetstream.stream_info(stream)).state.messages

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(depth.watch(stream, ask))
        try:
            with metrics.reading(depth.collect):
                yield
        finally:
            watching.cancel()
