"""A real InfluxDB 1.x of a test's own, started, stopped and killed as often as it likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from support.forked import Running
from support.ports import free_port
from support.processes import Program

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


class InfluxDb(Program):
    """The database: `user` and `password` where it asks for them."""

    user = "admin"
    password = "secret"

    def __init__(self, folder: Path, http: aiohttp.ClientSession, *, auth: bool = False) -> None:
        self.http, self.auth, port = http, auth, free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = folder / "influxdb.conf"
        config.write_text(CONFIG.format(rpc=free_port(), port=port, folder=folder, auth=str(auth).lower()))
        super().__init__(["influxd", "-config", config], folder / "log")

    async def start(self) -> Running:
        """Start it on what it has on disk; returns when it answers."""
        process = await super().start()
        async with asyncio.timeout(100):
            while True:
                try:
                    async with self.http.get(f"{self.url}/ping"):
                        return process
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)

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
        """Create the first user, which needs no user."""
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
        async with InfluxDb(folder, http, auth=auth) as database:
            if auth:
                await database.create_admin()
            yield database
