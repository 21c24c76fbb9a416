"""A wire between a client and a server of this machine, which keeps what the client said, and can hold it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Recorder:
    """A wire between a client and a server: how often it was used, and what the client said."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.sent = bytearray()
        self._open: set[asyncio.StreamWriter] = set()
        self._through = asyncio.Event()
        self._through.set()

    def hold(self) -> None:
        """From now on nothing that the client says arrives, until `let_go`: then it comes late."""
        self._through.clear()

    def let_go(self) -> None:
        """What was held arrives, and all that follows."""
        self._through.set()

    def cut(self) -> None:
        """End every connection."""
        for writer in self._open:
            writer.close()

    async def carry(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            await _closed(writer)
            return
        self._open |= {writer, forth}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, forth, self.sent, self._through))
                group.create_task(self._pump(back, writer, bytearray()))
        finally:
            self._open -= {writer, forth}
            await _closed(writer)
            await _closed(forth)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        record: bytearray,
        through: asyncio.Event | None = None,
    ) -> None:
        try:
            while data := await source.read(65_536):
                record += data
                if through is not None:
                    await through.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def recording(target: int) -> AsyncIterator[Recorder]:
    """A wire to a port of this machine."""
    recorder = Recorder()
    carrying: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        carrying.add(task)
        await recorder.carry(target, reader, writer)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    recorder.port = listening.sockets[0].getsockname()[1]
    try:
        yield recorder
    finally:
        listening.close()
        recorder.cut()
        await asyncio.gather(*carrying)
