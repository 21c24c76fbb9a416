"""A way to a broker that a test can cut, so that a client misses what is said meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Relay:
    """Hands on what comes, both ways."""

    url: str = ""
    up: bool = True
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def cut(self) -> None:
        """Drop every connection, and take none until `mend`."""
        self.up = False
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def mend(self) -> None:
        """Take connections again."""
        self.up = True


@asynccontextmanager
async def relaying(url: str) -> AsyncIterator[Relay]:
    """A relay to a broker's URL."""
    made, port = Relay(), int(url.rsplit(":", 1)[1])

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not made.up:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        made._writers += [writer, back]
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    made.url = f"{url.rsplit(':', 1)[0]}:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        made.cut()
