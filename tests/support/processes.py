"""Real processes for tests: the simulator, the services, any tickwire command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

import aiohttp

from support.forked import NO_AUTHORITIES, Running, running
from tickwire.process import children

TICKWIRE = [sys.executable, "-m", "tickwire.cli.main"]


@dataclass(frozen=True)
class SimulatorProcess:
    """A running simulator, and its control over HTTP."""

    url: str
    process: Running
    http: aiohttp.ClientSession

    async def fault(self, match: str, kind: str, **parameters: Any) -> None:
        """Order a fault."""
        await self._json("POST", "faults", json={"match": match, "kind": kind, **parameters})

    async def clear(self) -> None:
        """Call off every fault."""
        await self._json("DELETE", "faults")

    async def faults(self) -> list[dict[str, Any]]:
        """Those that are still in force: one that was to strike so often and did is not."""
        found: list[dict[str, Any]] = await self._json("GET", "faults")
        return found

    async def log(self, match: str = "") -> list[dict[str, Any]]:
        """The requests it got so far whose path contains `match`."""
        answer = await self._json("GET", "log")
        entries = answer if isinstance(answer, list) else answer["entries"]
        return [entry for entry in entries if match in str(entry.get("path", ""))]

    async def sockets(self) -> list[dict[str, Any]]:
        """The open sockets, each with the streams it has subscribed to."""
        found: list[dict[str, Any]] = await self._json("GET", "sockets")
        return found

    async def forget_log(self) -> None:
        """Empty the request log."""
        await self._json("DELETE", "log")

    async def truth(self, what: str, **query: Any) -> Any:
        """The exact market: `candles` or `trades`."""
        return await self._json("GET", f"truth/{what}", params=query)

    async def clock(self, **body: int) -> Any:
        """Set or advance the exchange's clock (ms)."""
        return await self._json("POST", "clock", json=body)

    async def order(self, what: str, **body: Any) -> Any:
        """Order something else of `/_sim/`: `burst`, `rate`, `wire`."""
        return await self._json("POST", what, json=body)

    async def _json(self, method: str, what: str, **options: Any) -> Any:
        async with self.http.request(method, f"{self.url}/_sim/{what}", **options) as response:
            assert response.status < 300, await response.text()
            return await response.json()


@asynccontextmanager
async def running_simulator(*arguments: str) -> AsyncIterator[SimulatorProcess]:
    """A simulator process on a free port."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    async with AsyncExitStack() as stack:
        stack.enter_context(ours)
        with theirs:
            simulator = running(
                "simulator", ["--port", "0", *arguments], os.environ | NO_AUTHORITIES, (theirs.fileno(), 2)
            )
            process = await stack.enter_async_context(simulator)
        line = await asyncio.get_running_loop().sock_recv(ours, 1024)
        assert line, "the simulator ended before it listened"
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield SimulatorProcess(json.loads(line)["url"], process, http)


def environment(data_dir: Path, **variables: str) -> dict[str, str]:
    """The environment of a tickwire process of a test: nothing of the developer's settings, and no page by `up`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TICKWIRE_", "NATS_CONTEXT"))}
    return clean | NO_AUTHORITIES | {"TICKWIRE_DATA_DIR": str(data_dir), "TICKWIRE_WEB_ENABLED": "false"} | variables


class Program:
    """A program that a test starts, kills and starts again; what it writes goes on in one log. Stopped with its block.

    Without `log` it writes to the test's output. `ready` is what it logs once it can be used.
    """

    def __init__(
        self, argv: Sequence[str | Path], log: Path | None, env: Mapping[str, str] | None = None, ready: str = ""
    ) -> None:
        self.argv, self.env, self.ready = list(argv), dict(os.environ if env is None else env), ready
        self.process: Running
        self._log = log
        self._stack = AsyncExitStack()

    @property
    def log(self) -> str:
        """What it wrote so far, in all its lives."""
        assert self._log is not None
        return self._log.read_text() if self._log.exists() else ""

    def _child(self, output: int | None) -> AbstractAsyncContextManager[Running]:
        return children.child(self.argv, env=self.env, stdout=output, stderr=output)

    async def start(self) -> Running:
        """Start it; returns once it is ready."""
        before = len(self.log) if self.ready else 0
        with open(self._log or os.devnull, "ab") as file:
            output = file.fileno() if self._log else None
            self.process = await self._stack.enter_async_context(self._child(output))
        if self.ready:
            await self.says(self.ready, after=before)
        return self.process

    async def says(self, text: str, *, after: int = 0, timeout_s: float = 100) -> None:
        """Wait until its log has a text after so many characters; a log announces nothing, so it is read again."""
        async with asyncio.timeout(timeout_s):
            while text not in self.log[after:]:
                assert self.process.returncode is None, self.log
                await asyncio.sleep(0.02)

    def suspend(self) -> None:
        """SIGSTOP: its connections stay, and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """kill -9."""
        await self.stop(signal.SIGKILL)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it, if it runs, and wait for its end; its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(how)
        async with asyncio.timeout(100):
            code = await self.process.wait()
        await self.close()
        return code

    async def close(self) -> None:
        """End it, if it runs."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Service(Program):
    """One service process, as a container runs it."""

    def __init__(self, name: str, env: Mapping[str, str], *arguments: str, log: Path | None = None) -> None:
        super().__init__(["service", name, *arguments], log, env)
        self.name = name

    def _child(self, output: int | None) -> AbstractAsyncContextManager[Running]:
        return running(self.name, self.argv, self.env, (1, 2) if output is None else (output, output))


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


async def tickwire(env: Mapping[str, str], *arguments: str, cwd: Path | None = None, timeout_s: float = 100) -> Ended:
    """Run one tickwire command to its end."""
    with TemporaryFile() as out, TemporaryFile() as err:

        def ended(code: int) -> Ended:
            out.seek(0)
            err.seek(0)
            return Ended(code, out.read().decode(), err.read().decode())

        async with running("command", arguments, env, (out.fileno(), err.fileno()), cwd) as process:
            try:
                return ended(await asyncio.wait_for(process.wait(), timeout_s))
            except TimeoutError:
                raise AssertionError(f"{arguments} did not end: {ended(0)}") from None
