"""nats-server on the files of deploy/nats: one, one with TLS, and a cluster of three."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from support.ports import free_port
from support.processes import Program
from tickwire.bus import embedded
from tickwire.settings import NatsSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
USERS = ("fetcher", "streamer", "cache", "sink", "archive", "web", "desk", "operator")
PASSWORDS = {
    **{f"TICKWIRE_{user.upper()}_PASSWORD": f"p-{user}" for user in (*USERS, "sys", "route")},
    # TICKWIRE_SINK_PASSWORD is the database's, TICKWIRE_WEB_PASSWORD the page's.
    **{f"TICKWIRE_{user.upper()}_NATS_PASSWORD": f"p-{user}" for user in ("sink", "web")},
}


class Server(Program):
    """A nats-server process with a configuration of this port."""

    def __init__(
        self, folder: Path, config: Path, port: int, env: Mapping[str, str] | None = None, scheme: str = "nats"
    ) -> None:
        ready = "Listening for client connections"
        super().__init__([embedded.server_path(), "-c", config], folder / "server.log", env, ready)
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}"


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
    async with Server(folder, DEPLOY / "nats" / config, port, environment(folder, port, **variables)) as server:
        yield server


@asynccontextmanager
async def clustered(folder: Path) -> AsyncIterator[list[Server]]:
    """Three servers on deploy/nats/cluster.conf."""
    routes = [free_port() for _ in range(3)]
    addresses = {f"NATS_ROUTE_{n}": f"nats://route:p-route@127.0.0.1:{port}" for n, port in enumerate(routes, 1)}
    async with AsyncExitStack() as stack:
        servers = []
        for number, route in enumerate(routes, 1):
            own = folder / f"nats-{number}"
            own.mkdir(parents=True)
            port = free_port()
            listen = {"NATS_CLUSTER_LISTEN": f"127.0.0.1:{route}", **addresses}
            env = environment(own, port, f"nats-{number}", **listen)
            server = Server(own, DEPLOY / "nats" / "cluster.conf", port, env)
            servers.append(await stack.enter_async_context(server))
        yield servers


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
