"""nats-server on the files of deploy/nats: one, one with TLS, and a cluster of three."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from support.ports import free_port
from tickwire.bus import embedded
from tickwire.process import children
from tickwire.settings import NatsSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
USERS = ("fetcher", "streamer", "cache", "sink", "desk", "operator")
PASSWORDS = {
    **{f"TICKWIRE_{user.upper()}_PASSWORD": f"p-{user}" for user in (*USERS, "sys", "route")},
    # TICKWIRE_SINK_PASSWORD is the database's.
    "TICKWIRE_SINK_NATS_PASSWORD": "p-sink",
}


@dataclass
class Server:
    """A nats-server process, started again as often as wanted."""

    folder: Path
    config: Path
    env: dict[str, str]
    port: int
    scheme: str = "nats"
    _running: tuple[children.Process, AsyncExitStack] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "server.log").read_text()

    async def start(self) -> None:
        """Start it, and return when it takes connections."""
        stack = AsyncExitStack()
        before = len(self.log) if (self.folder / "server.log").exists() else 0
        with (self.folder / "server.log").open("ab") as log:
            process = await stack.enter_async_context(
                children.child([embedded.server_path(), "-c", self.config], env=self.env, stderr=log.fileno())
            )
        self._running = process, stack
        await self.says("Listening for client connections", after=before)

    async def says(self, text: str, *, after: int = 0, timeout_s: float = 100) -> None:
        """Wait until its log has a text; a log announces nothing, so it is read again."""
        async with asyncio.timeout(timeout_s):
            while text not in self.log[after:]:
                assert self._running is None or self._running[0].returncode is None, self.log
                await asyncio.sleep(0.02)

    def suspend(self) -> None:
        """SIGSTOP: the connections stay, and nothing answers."""
        assert self._running is not None
        self._running[0].send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._running is not None
        self._running[0].send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """kill -9."""
        assert self._running is not None
        (process, stack), self._running = self._running, None
        process.kill()
        await process.wait()
        await stack.aclose()

    async def stop(self) -> None:
        """End it, if it runs."""
        if self._running is not None:
            (_, stack), self._running = self._running, None
            await stack.aclose()


def environment(folder: Path, port: int, name: str = "one", **variables: str) -> dict[str, str]:
    """What the files of deploy/nats take from the environment."""
    return (
        dict(os.environ)
        | PASSWORDS
        | {
            "NATS_NAME": name,
            "NATS_LISTEN": f"127.0.0.1:{port}",
            "NATS_MONITOR": f"127.0.0.1:{free_port()}",
            "NATS_STORE": str(folder / "jetstream"),
        }
        | variables
    )


@asynccontextmanager
async def serving(folder: Path, config: str = "secure.conf", **variables: str) -> AsyncIterator[Server]:
    """One server on a file of deploy/nats."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    server = Server(folder, DEPLOY / "nats" / config, environment(folder, port, **variables), port)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def clustered(folder: Path) -> AsyncIterator[list[Server]]:
    """Three servers on deploy/nats/cluster.conf."""
    routes = [free_port() for _ in range(3)]
    addresses = {f"NATS_ROUTE_{n}": f"nats://route:p-route@127.0.0.1:{port}" for n, port in enumerate(routes, 1)}
    servers = []
    for number, route in enumerate(routes, 1):
        own = folder / f"nats-{number}"
        own.mkdir(parents=True)
        port = free_port()
        listen = {"NATS_CLUSTER_LISTEN": f"127.0.0.1:{route}", **addresses}
        env = environment(own, port, f"nats-{number}", **listen)
        servers.append(Server(own, DEPLOY / "nats" / "cluster.conf", env, port))
    try:
        for server in servers:
            await server.start()
        yield servers
    finally:
        for server in servers:
            await server.stop()


def as_user(url: str, user: str, **changes: object) -> NatsSettings:
    """The settings of a user of deploy/nats/accounts.conf."""
    return NatsSettings(url=url, user=user, password=SecretStr(f"p-{user}"), **changes)  # type: ignore[arg-type]


def variables_of(url: str, user: str) -> dict[str, str]:
    """The same for a process."""
    return {"TICKWIRE_NATS_URL": url, "TICKWIRE_NATS_USER": user, "TICKWIRE_NATS_PASSWORD": f"p-{user}"}


def check_config(config: Path, env: Mapping[str, str]) -> str:
    """What nats-server says when it only reads a file."""
    done = subprocess.run(
        [str(embedded.server_path()), "-c", str(config), "-t"],
        env=dict(env),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr
