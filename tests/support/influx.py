"""A real InfluxDB 1.x of a test's own, started, stopped and killed as often as it likes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from support.ports import free_port
from tickwire.process import children

CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  max-series-per-database = 0
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  auth-enabled = {auth}
  log-enabled = false
[monitor]
  store-enabled = false
"""


@dataclass
class InfluxDb:
    """The database: `user` and `password` where it asks for them."""

    folder: Path
    http: aiohttp.ClientSession
    auth: bool = False
    user: str = "admin"
    password: str = "secret"
    port: int = field(default_factory=free_port)
    rpc: int = field(default_factory=free_port)
    _running: tuple[children.Process, AsyncExitStack] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it on what it has on disk; returns when it answers."""
        config = self.folder / "influxdb.conf"
        config.write_text(CONFIG.format(rpc=self.rpc, port=self.port, folder=self.folder, auth=str(self.auth).lower()))
        stack = AsyncExitStack()
        with (self.folder / "log").open("ab") as log:
            process = await stack.enter_async_context(
                children.child(["influxd", "-config", config], stdout=log.fileno(), stderr=log.fileno())
            )
        self._running = (process, stack)
        async with asyncio.timeout(100):
            while True:
                try:
                    async with self.http.get(f"{self.url}/ping"):
                        return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)

    async def stop(self, signal_: signal.Signals = signal.SIGTERM) -> None:
        """Stop or kill it."""
        assert self._running is not None
        (process, stack), self._running = self._running, None
        process.send_signal(signal_)
        await process.wait()
        await stack.aclose()

    async def query(self, query: str, database: str = "tickwire") -> list[dict[str, Any]]:
        """The answer's rows, with the tags of their series."""
        params = {"q": query, "db": database, "epoch": "ns"}
        if self.auth:
            params |= {"u": self.user, "p": self.password}
        async with self.http.post(f"{self.url}/query", params=params) as answer:
            assert answer.status == 200, await answer.text()
            results = (await answer.json())["results"]
        assert "error" not in results[0], results[0]
        return [
            dict(zip(series["columns"], row, strict=True)) | series.get("tags", {})
            for series in results[0].get("series", [])
            for row in series["values"]
        ]

    async def create_admin(self) -> None:
        """The first user, whom one may create without being one."""
        statement = f"CREATE USER {self.user} WITH PASSWORD '{self.password}' WITH ALL PRIVILEGES"
        async with self.http.post(f"{self.url}/query", params={"q": statement}) as answer:
            assert answer.status == 200, await answer.text()
        # InfluxDB answers a little before the user counts.
        login = {"q": "SHOW DATABASES", "u": self.user, "p": self.password}
        async with asyncio.timeout(100):
            while True:
                async with self.http.post(f"{self.url}/query", params=login) as answer:
                    if answer.status == 200:
                        return
                await asyncio.sleep(0.05)

    async def create_writer(self, user: str, password: str, *databases: str) -> None:
        """Databases, and a user who may write to them and do nothing else."""
        await self.query(f"CREATE USER {user} WITH PASSWORD '{password}'")
        for name in databases:
            await self.query(f'CREATE DATABASE "{name}"')
            await self.query(f'GRANT WRITE ON "{name}" TO {user}')


@asynccontextmanager
async def influxdb(folder: Path, *, auth: bool = False) -> AsyncIterator[InfluxDb]:
    """Run it with its data in `folder`."""
    folder.mkdir()
    async with aiohttp.ClientSession() as http:
        database = InfluxDb(folder, http, auth)
        await database.start()
        if auth:
            await database.create_admin()
        try:
            yield database
        finally:
            if database._running is not None:
                await database.stop()
