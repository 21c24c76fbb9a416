"""The embedded broker: a real nats-server as a child process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import psutil
import pytest

from support.ports import free_port
from tickwire import settings
from tickwire.bus import embedded
from tickwire.bus.connection import connect
from tickwire.errors import BrokerUnavailable, ConfigError, StorageError
from tickwire.process import children
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.actors

OWNER = """
import asyncio, pathlib, sys
from tickwire.bus import embedded
async def main():
    async with embedded.embedded(pathlib.Path(sys.argv[1])) as url:
        print(url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        await asyncio.sleep(0.01)


async def test_it_is_ready_when_its_url_is_known(tmp_path: Path) -> None:
    async with embedded.embedded(tmp_path) as url, connect(NatsSettings(url=url), name="test") as bus:
        assert (await bus.jetstream.account_info()).streams == 0


async def test_what_it_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    async with embedded.embedded(tmp_path) as url, connect(NatsSettings(url=url), name="test") as bus:
        await bus.jetstream.add_stream(name="KEPT", subjects=["kept"])
        await bus.append("kept", b"a", message_id="1")
    async with embedded.embedded(tmp_path) as url, connect(NatsSettings(url=url), name="test") as bus:
        assert (await bus.jetstream.stream_info("KEPT")).state.messages == 1


async def test_a_second_owner_of_its_data_folder_is_refused(tmp_path: Path) -> None:
    async with embedded.embedded(tmp_path):
        with pytest.raises(StorageError, match="in use by another tickwire"):
            async with embedded.embedded(tmp_path):
                pass


async def test_an_unwritable_data_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot use the data folder"):
        async with embedded.embedded(tmp_path / "file" / "nats"):
            pass


async def test_a_configured_server_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nats\.server"):
        async with embedded.embedded(tmp_path, server=tmp_path / "absent"):
            pass


async def test_no_server_is_left_when_its_owner_is_killed(tmp_path: Path) -> None:
    async with children.child([sys.executable, "-c", OWNER, tmp_path], stdout=children.PIPE) as owner:
        assert owner.stdout is not None
        assert (await owner.stdout.readline()).startswith(b"nats://")
        servers = [p.pid for p in psutil.Process(owner.pid).children(recursive=True) if p.name() == "nats-server"]
        assert len(servers) == 1
        os.kill(owner.pid, signal.SIGKILL)
        async with asyncio.timeout(100):
            await gone(servers[0])
    async with embedded.embedded(tmp_path):
        """The folder is free again."""


async def test_a_server_that_ends_by_itself_ends_the_block(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="ended by itself"):
        async with embedded.embedded(tmp_path):
            (server,) = [p for p in psutil.Process().children(recursive=True) if p.name() == "nats-server"]
            server.kill()
            await asyncio.Event().wait()
    async with embedded.embedded(tmp_path):
        """The folder is free again."""


async def test_no_server_is_left_when_its_owner_has_many_files_open(tmp_path: Path) -> None:
    """A lock on a descriptor above 9 once was the end of the guard."""
    owner_code = "files = [open('/dev/null') for _ in range(20)]\n" + OWNER
    async with children.child([sys.executable, "-c", owner_code, tmp_path], stdout=children.PIPE) as owner:
        assert owner.stdout is not None
        assert (await owner.stdout.readline()).startswith(b"nats://")
        servers = [p.pid for p in psutil.Process(owner.pid).children(recursive=True) if p.name() == "nats-server"]
        os.kill(owner.pid, signal.SIGKILL)
        async with asyncio.timeout(100):
            await gone(servers[0])


async def test_websockets_are_taken_from_pages_of_the_named_origins_only(tmp_path: Path) -> None:
    websocket = embedded.WebSocket(free_port(), ("http://localhost:8000",))
    async with embedded.embedded(tmp_path, websocket=websocket), aiohttp.ClientSession() as http:
        async with http.ws_connect(websocket.url, origin="http://localhost:8000") as socket:
            assert (await socket.receive(timeout=60)).data.startswith(b"INFO {")
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            async with http.ws_connect(websocket.url, origin="http://elsewhere.example"):
                pass


def test_a_websocket_port_without_origins_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TICKWIRE_NATS_WEBSOCKET_PORT", "8443")
    with pytest.raises(ConfigError, match="websocket_origins"):
        settings.load()
