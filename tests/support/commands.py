"""`tickwire up` as a real process, and what it says."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from support.hearing import Changing
from support.ports import free_port
from support.processes import TICKWIRE, Ended, SimulatorProcess, environment, tickwire
from tickwire.process import children

CONFIG = """
[exchange.binance]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false, options = {{ fetchMarkets = {{ types = ["spot"] }} }} }}
[fetcher]
backoff_s = 0.05
max_backoff_s = 0.5
"""


@dataclass
class Command(Changing):
    """A tickwire command that runs, and the lines of its standard error so far."""

    process: asyncio.subprocess.Process
    folder: Path
    env: dict[str, str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    async def read(self) -> None:
        """Collect what it says until it ends."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip())
            self.changed()
        await self.process.wait()
        self.changed()

    async def says(self, text: str, *, timeout_s: float = 100, after: int = 0) -> int:
        """Wait until a line from number `after` on contains `text`; the number of the line after it."""

        def found() -> int | None:
            at = next((n + 1 for n, line in enumerate(self.lines) if n >= after and text in line), None)
            assert at or self.process.returncode is None, f"it ended, not saying {text!r}: {self.lines}"
            return at

        await self.until(found, timeout_s)
        return found() or 0

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
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(started.read())
            try:
                yield started
            finally:
                await children.stop(process, grace_s=100)
    finally:
        await children.end(process)


@asynccontextmanager
async def up(
    folder: Path, simulator: SimulatorProcess | None = None, *arguments: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Command]:
    """`tickwire up` on a folder, ready."""
    config = folder / "tickwire.toml"
    config.write_text(CONFIG.format(gateway=simulator.url) if simulator else "")
    # Another test takes the port of NATS while the broker of this one is away.
    given = {"TICKWIRE_CONFIG": str(config), "TICKWIRE_NATS_PORT": str(free_port())} | dict(env or {})
    variables = environment(folder / "data", **given)
    async with command(folder, variables, "up", *arguments) as running:
        await running.says("ready:")
        yield running


async def gone(processes: list[psutil.Process], timeout_s: float = 100) -> None:
    """Wait until all of them have ended."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout_s)
    assert not alive, [each.cmdline() for each in alive]
