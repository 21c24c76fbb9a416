"""A TCP connection to the broker that can be cut, and stays cut until it is mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Wire:
    """Passes on what is said between clients and a broker. While it is cut, connections are refused."""

    broker: int
    port: int = 0
    server: asyncio.Server | None = None
    pairs: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"nats://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Cut it."""
        assert self.server is not None
        self.server.close()
        for each in self.pairs:
            each.transport.abort()
        self.pairs.clear()

    async def mend(self) -> None:
        """Let connections through, again."""
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pairs.append(writer)
        there, back = await asyncio.open_connection("127.0.0.1", self.broker)
        self.pairs.append(back)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            target.write(data)
    target.close()


@asynccontextmanager
async def wire(broker: str) -> AsyncIterator[Wire]:
    """A wire to the broker at a URL."""
    made = Wire(int(broker.rpartition(":")[2]))
    await made.mend()
    try:
        yield made
    finally:
        made.cut()
