"""A TCP connection to a server of this machine that a test can cut and hold back, with what the client sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress


class Wire:
    """Carries the connections of clients to a port. While it is cut, connections are refused."""

    def __init__(self, target: str) -> None:
        self.port = 0
        self.connections = 0
        """How many were accepted so far."""
        self.sent = bytearray()
        """What clients sent."""
        self.alter: Callable[[bytes], bytes] = bytes
        """What arrives of what clients sent."""
        self._host, _, port = target.rpartition(":")
        self._target = int(port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[None]] = set()
        self._through, self._back = asyncio.Event(), asyncio.Event()
        self._through.set()
        self._back.set()

    @property
    def url(self) -> str:
        """The URL with the wire's port instead of the target's."""
        return f"{self._host}:{self.port}"

    def hold(self) -> None:
        """From now on nothing that clients send arrives, until `let_go`: then it comes late."""
        self._through.clear()

    def let_go(self) -> None:
        """What was held arrives, and all that follows."""
        self._through.set()

    def hold_replies(self) -> None:
        """From now on nothing that the server sends arrives, until the connections end."""
        self._back.clear()

    def drop(self) -> None:
        """End every connection; new ones are accepted."""
        self._back.set()
        for each in self._writers:
            each.transport.abort()

    def cut(self) -> None:
        """End every connection, and refuse new ones until `mend`."""
        assert self._server is not None
        self._server.close()
        self.drop()

    async def mend(self) -> None:
        """Accept connections, again on the same port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cut it for good; returns when nothing of it runs any more."""
        self.cut()
        self.let_go()
        await asyncio.gather(*self._carrying)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        self.connections += 1
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, forth}
        await asyncio.gather(_pump(reader, forth, self._through, self), _pump(back, writer, self._back))
        self._writers -= {writer, forth}


async def _pump(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, through: asyncio.Event, forth: Wire | None = None
) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            if forth is not None:
                forth.sent += data
            await through.wait()
            target.write(forth.alter(data) if forth is not None else data)
            await target.drain()
    target.close()


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """A wire to the server of this machine at a URL."""
    made = Wire(url)
    await made.mend()
    try:
        yield made
    finally:
        await made.close()
