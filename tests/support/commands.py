"""`tickwire up` as a real process, and what it says."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from support.processes import TICKWIRE, Ended, SimulatorProcess, environment, tickwire

CONFIG = """
[exchange.binance]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false, options = {{ fetchMarkets = {{ types = ["spot"] }} }} }}
[fetcher]
backoff_s = 0.05
max_backoff_s = 0.5
"""


@dataclass
class Command:
    """A tickwire command that runs, and the lines of its standard error so far."""

    process: asyncio.subprocess.Process
    folder: Path
    env: dict[str, str]
    lines: list[str] = field(default_factory=list)
    said: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        """Collect what it says until it ends."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self.said:
                self.lines.append(line.decode().rstrip())
                self.said.notify_all()
        async with self.said:
            self.said.notify_all()

    async def says(self, text: str, *, timeout_s: float = 100, after: int = 0) -> int:
        """Wait until a line from number `after` on contains `text`; the number of the line after it."""

        def found() -> int | None:
            return next((n + 1 for n, line in enumerate(self.lines) if n >= after and text in line), None)

        try:
            async with asyncio.timeout(timeout_s), self.said:
                while (at := found()) is None:
                    assert self.process.returncode is None, f"it ended, not saying {text!r}: {self.lines}"
                    await self.said.wait()
        except TimeoutError:
            raise AssertionError(f"it did not say {text!r}: {self.lines}") from None
        return at

    async def run(self, *arguments: str, timeout_s: float = 100, env: Mapping[str, str] | None = None) -> Ended:
        """Another command on the same data folder, run to its end; `env` has more variables for it."""
        return await tickwire(self.env | dict(env or {}), *arguments, timeout_s=timeout_s)

    async def url(self, *options: str) -> str:
        """What `tickwire url` prints: where its broker is, with the token."""
        ended = await self.run("url", *options)
        assert ended.code == 0, ended.err
        return ended.out.strip()

    def descendants(self) -> list[psutil.Process]:
        """Every process that it started, theirs included."""
        return psutil.Process(self.process.pid).children(recursive=True)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait for its end; its exit code."""
        self.process.send_signal(how)
        async with asyncio.timeout(100):
            return await self.process.wait()


class Lines:
    """The lines of a command's standard output, as they come."""

    def __init__(self, running: Command) -> None:
        assert running.process.stdout is not None
        self._stream = running.process.stdout
        self.found: list[str] = []

    async def until(self, pattern: str, timeout_s: float = 100) -> str:
        """Read on until a line has the pattern; the line."""
        try:
            async with asyncio.timeout(timeout_s):
                while raw := await self._stream.readline():
                    line = raw.decode().rstrip("\n")
                    self.found.append(line)
                    if re.search(pattern, line):
                        return line
        except TimeoutError:
            pass
        raise AssertionError(f"no line has {pattern!r}: {self.found[-10:]}")


@asynccontextmanager
async def command(folder: Path, env: Mapping[str, str], *arguments: str) -> AsyncIterator[Command]:
    """A tickwire command for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        *TICKWIRE,
        *arguments,
        env=dict(env),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    started = Command(process, folder, dict(env))
    async with asyncio.TaskGroup() as group:
        group.create_task(started.read())
        try:
            yield started
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(100):
                        await process.wait()
                except TimeoutError:
                    process.kill()


@asynccontextmanager
async def up(
    folder: Path, simulator: SimulatorProcess | None = None, *arguments: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Command]:
    """`tickwire up` on a folder, ready."""
    config = folder / "tickwire.toml"
    config.write_text(CONFIG.format(gateway=simulator.url) if simulator else "")
    variables = environment(folder / "data", TICKWIRE_CONFIG=str(config), **(env or {}))
    async with command(folder, variables, "up", *arguments) as running:
        await running.says("ready:")
        yield running


async def gone(processes: list[psutil.Process], timeout_s: float = 100) -> None:
    """Wait until all of them have ended."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout_s)
    assert not alive, [each.cmdline() for each in alive]
