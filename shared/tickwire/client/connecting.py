"""How a program connects: for a block, or until it closes the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from tickwire import settings as configuration
from tickwire.bus import connection as buses
from tickwire.bus.connection import Bus
from tickwire.client.connection import Client
from tickwire.client.stream import Streams
from tickwire.process import lifecycle, runfile
from tickwire.task_group import TaskGroup


def connect(
    url: str | None = None, *, config: Path | str | None = None, context: str | None = None, name: str = "client"
) -> Connecting:
    """Connect to the broker at `url`, else to that of the configuration, else to the one that `tickwire up` runs here.

    `context` names a context of the `nats` command line, which has a URL and a login.
    `async with connect() as client:` releases every feed at the end of the block. `client = await connect()` stays
    connected until `await client.close()`, or the end of the event loop. Raises BrokerUnavailable, Forbidden,
    ConfigError.
    """
    return Connecting(url, config, context, name)


class Connecting(AbstractAsyncContextManager["Client"]):
    """A connection to be made: `await` it, or enter it."""

    def __init__(self, url: str | None, config: Path | str | None, context: str | None, name: str) -> None:
        self._options = (url, config, context, name)
        self._entered: AbstractAsyncContextManager[Client] | None = None

    def __repr__(self) -> str:
        return "<tickwire connection: write `async with connect() as client:` or `client = await connect()`>"

    def __await__(self) -> Generator[Any, None, Client]:
        return self._connected().__await__()

    async def __aenter__(self) -> Client:
        self._entered = _connection(*self._options)
        return await self._entered.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._entered is not None
        return await self._entered.__aexit__(kind, error, trace)

    async def _connected(self) -> Client:
        """The client, whose connection a task of its own holds: blocks end in the task that began them."""
        made: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        running = asyncio.get_running_loop().create_task(self._hold(made))
        futures: set[asyncio.Future[Any]] = {running, made}
        try:
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # Nobody else would ever close it.
            running.cancel()
            await asyncio.wait({running})
            raise
        if not made.done():
            # Its error.
            await running
        return made.result()

    async def _hold(self, made: asyncio.Future[Client]) -> None:
        async with _connection(*self._options) as client:
            task = asyncio.current_task()
            assert task is not None
            closing = client.run(task)
            made.set_result(client)
            await closing.wait()


@asynccontextmanager
async def _connection(
    url: str | None, config: Path | str | None, context: str | None, name: str
) -> AsyncIterator[Client]:
    settings = configuration.load(Path(config) if config is not None else None, url=url, context=context)
    source = settings.nats.url or runfile.finder(settings.data_dir)
    async with buses.connect(settings.nats, name=f"tickwire-{name}", url=source) as bus:
        bus.service_wait.expected = settings.optional_services
        async with connected(bus, name) as client:
            yield client


@asynccontextmanager
async def connected(bus: Bus, name: str) -> AsyncIterator[Client]:
    """A client on a connection that is open; the end of the block releases every feed."""
    async with lifecycle.unwrapped(), TaskGroup() as group:
        streams = Streams(bus, group, name)
        try:
            yield Client(bus, streams)
        finally:
            streams.close()
