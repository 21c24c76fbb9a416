"""The embedded broker's URL: its port, what the data folder remembers of it, and the run file."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import stat
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from support.ports import free_port
from tickwire.bus import embedded
from tickwire.bus.connection import connect
from tickwire.errors import BrokerUnavailable, StorageError
from tickwire.model.broker_urls import without_credentials
from tickwire.process import ports, runfile
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.actors


def test_the_last_port_is_tried_first_then_that_of_nats_then_one_that_is_free() -> None:
    free = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        choice = [taken.getsockname()[1], free]
        assert ports.preferred(5555, choice) == [5555, 4222, free]
        assert ports.preferred(None, choice) == [4222, free]
        assert ports.preferred(4222, choice) == [4222, free]
        assert ports.preferred(None, choice[:1]) == [4222, -1]


def test_a_port_is_free_as_soon_as_nothing_listens_though_connections_just_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()
    assert ports.is_free(port)


@pytest.mark.parametrize("which", ["client", "websocket"])
async def test_a_port_that_somebody_took_a_moment_before_is_named_by_the_servers_own_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # What is seen of it before the server starts.
        monkeypatch.setattr(ports, "is_free", lambda _: True)
        port = taken.getsockname()[1]
        websocket = embedded.WebSocket(port, ("*",)) if which == "websocket" else None
        with pytest.raises(embedded.PortTaken) as refused:
            async with embedded.embedded(tmp_path, port=-1 if websocket else port, websocket=websocket):
                pass
    assert refused.value.port == port


@pytest.mark.parametrize("text", ["", "x", "0", "70000", "-1"])
def test_a_port_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    assert embedded.last_port(tmp_path) is None
    embedded.remember_port(tmp_path, 4333)
    assert embedded.last_port(tmp_path) == 4333
    (tmp_path / "port").write_text(text)
    assert embedded.last_port(tmp_path) is None


def test_the_next_owner_of_a_folder_clears_the_run_file_of_a_killed_one(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"nats_url": "nats://127.0.0.1:1", "pid": 1}')
    with runfile.held(tmp_path) as publish:
        with pytest.raises(BrokerUnavailable, match="no tickwire is running"):
            runfile.read(tmp_path)
        publish("nats://127.0.0.1:2", None)
        assert runfile.read(tmp_path).nats_url == "nats://127.0.0.1:2"


async def test_who_asks_whether_a_folder_is_owned_keeps_nobody_from_owning_it(tmp_path: Path) -> None:
    """He has its lock, for a moment."""
    path = tmp_path / "run.lock"
    path.touch()
    asking = os.open(path, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    loop = asyncio.get_running_loop()
    loop.call_later(0.03, fcntl.flock, asking, fcntl.LOCK_UN)

    def own() -> None:
        with runfile.held(tmp_path):
            """It is ours."""

    await asyncio.to_thread(own)
    os.close(asking)


async def test_a_connection_goes_on_with_a_broker_that_came_up_at_another_place(tmp_path: Path) -> None:
    where: list[str] = []
    async with embedded.embedded(tmp_path) as url:
        where.append(url)
        connected = connect(NatsSettings(), name="test", url=lambda: where[-1])
        bus = await connected.__aenter__()
        again = asyncio.Event()
        bus.resync_callbacks.add(again.set)
    async with embedded.embedded(tmp_path) as url:
        assert url != where[0]
        where.append(url)
        async with asyncio.timeout(100):
            await again.wait()
        assert bus.url == url
        assert (await bus.jetstream.account_info()).streams == 0
        await connected.__aexit__(None, None, None)


def test_a_token_is_made_up_once_and_kept_from_others(tmp_path: Path) -> None:
    folder = tmp_path / "nats"
    token = embedded.token_of(folder)
    assert len(token) == 32
    assert embedded.token_of(folder) == token
    assert embedded.token_of(tmp_path / "other") != token
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "token").write_text('" }')
    assert len(embedded.token_of(folder)) == 32


async def test_a_broker_of_others_at_the_old_place_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    """It refuses us, and we wait for ours."""
    where: list[str] = []

    def place() -> str:
        if not where:
            raise BrokerUnavailable("it is not up")
        return where[-1]

    async with AsyncExitStack() as stack:
        async with embedded.embedded(tmp_path / "ours", token="aa") as url:
            where.append(url)
            bus = await stack.enter_async_context(connect(NatsSettings(), name="test", url=place))
            again = asyncio.Event()
            bus.resync_callbacks.add(again.set)
            where.clear()
        refused = asyncio.Event()
        port = int(url.rpartition(":")[2])
        async with embedded.embedded(tmp_path / "others", token="bb", port=port), asyncio.timeout(100):
            taken = bus.client._error_cb

            async def heard(error: Exception) -> None:
                await taken(error)
                if "authorization violation" in str(error).lower():
                    refused.set()

            bus.client._error_cb = heard
            await refused.wait()
            async with embedded.embedded(tmp_path / "ours", token="aa") as moved:
                where.append(moved)
                await again.wait()
                assert bus.url == without_credentials(moved)


async def test_a_user_that_is_configured_is_not_said_to_a_broker_with_a_token(tmp_path: Path) -> None:
    settings = NatsSettings(user="streamer", password=SecretStr("secret"))
    async with embedded.embedded(tmp_path, token="aa") as url, connect(settings, name="test", url=url) as bus:
        assert (await bus.jetstream.account_info()).streams == 0


def test_a_run_file_that_cannot_be_removed_is_one_clean_error_and_leaves_no_lock(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    with pytest.raises(StorageError, match=r"cannot remove .*run\.json"), runfile.held(tmp_path):
        pass
    (tmp_path / "run.json").rmdir()
    with runfile.held(tmp_path):
        pass
