"""Real processes for tests: the simulator, the services, any tickwire command."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tickwire.process import children

TICKWIRE = [sys.executable, "-m", "tickwire.cli.main"]
# No test reaches a public host, and aiohttp reads this machine's authorities twice at each start (40 ms of CPU).
NO_AUTHORITIES = {"SSL_CERT_FILE": os.devnull}


@dataclass(frozen=True)
class SimulatorProcess:
    """A running simulator, and its control over HTTP."""

    url: str
    process: children.Process
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
    argv = [sys.executable, "-m", "tickwire.simulator", "--port", "0", *arguments]
    async with (
        children.child(argv, stdout=children.PIPE, env=os.environ | NO_AUTHORITIES) as process,
        aiohttp.ClientSession() as http,
    ):
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line, "the simulator ended before it listened"
        yield SimulatorProcess(json.loads(line)["url"], process, http)


def environment(data_dir: Path, **variables: str) -> dict[str, str]:
    """The environment of a tickwire process of a test: nothing of the developer's own settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TICKWIRE_")}
    return clean | NO_AUTHORITIES | {"TICKWIRE_DATA_DIR": str(data_dir), "TICKWIRE_LEASES_TTL_S": "1"} | variables


@asynccontextmanager
async def running_service(
    name: str, env: Mapping[str, str], *arguments: str, log: Path | None = None
) -> AsyncIterator[children.Process]:
    """One service process, as a container runs it. Its log goes to `log`, else to the test's output."""
    with open(log or os.devnull, "ab") as output:
        async with children.child(
            [*TICKWIRE, "service", name, *arguments], env=env, stderr=output.fileno() if log else None
        ) as process:
            yield process


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


async def tickwire(env: Mapping[str, str], *arguments: str, cwd: Path | None = None, timeout_s: float = 100) -> Ended:
    """Run one tickwire command to its end."""
    process = await asyncio.create_subprocess_exec(
        *TICKWIRE,
        *arguments,
        env=dict(env),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"{arguments} did not end:\n{out.decode()}\n{err.decode()}") from None
    finally:
        if process.returncode is None:
            # The test that waited for it was done with it.
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
