"""The embedded broker requires its token, which only the owner of the data folder can read."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import nats
import nats.errors
import psutil
import pytest
from nats.aio.client import Client

from archive.written_tape import Tape, rows_of
from support.commands import command, up
from support.ports import free_port
from support.processes import environment, tickwire
from tickwire.bus.connection import connect
from tickwire.model.broker_urls import without_credentials
from tickwire.settings import NatsSettings, TapeSettings

pytestmark = pytest.mark.system

ORIGIN = "http://localhost:8000"


def modes(folder: Path) -> dict[str, int]:
    """The permissions of a folder and of everything in it, by path."""
    found = {}
    for each in [folder, *folder.rglob("*")]:
        # Some files of a broker at work last for a moment.
        with suppress(FileNotFoundError):
            found[str(each)] = stat.S_IMODE(each.stat().st_mode)
    return found


async def answer(url: str, token: str | None) -> bytes:
    """What the broker says over a WebSocket to a login and a ping."""
    async with aiohttp.ClientSession() as http, http.ws_connect(url, origin=ORIGIN) as socket:
        assert (await socket.receive(timeout=60)).data.startswith(b"INFO {")
        login = json.dumps({"verbose": False, "lang": "test"} | ({"auth_token": token} if token else {}))
        await socket.send_bytes(f"CONNECT {login}\r\nPING\r\n".encode())
        said: bytes = (await socket.receive(timeout=60)).data
        return said


async def test_who_does_not_know_the_token_is_refused_everywhere_and_who_does_is_not(tmp_path: Path) -> None:
    port = str(free_port())
    variables = {"TICKWIRE_NATS_WEBSOCKET_PORT": port, "TICKWIRE_NATS_WEBSOCKET_ORIGINS": json.dumps([ORIGIN])}
    async with up(tmp_path, None, env=variables) as running:
        url, websocket = await running.url(), await running.url("--websocket")
        token = urlsplit(url).username
        assert token is not None
        assert len(token) == 32
        assert websocket == f"ws://{token}@127.0.0.1:{port}"
        assert json.loads(await running.url("--json")) == {"nats_url": url, "websocket_url": websocket}
        for wrong in (without_credentials(url), url.replace(token, "0" * 32)):
            program = Client()
            with pytest.raises(nats.errors.Error, match="Authorization Violation"):
                await program.connect(wrong, allow_reconnect=False, error_cb=_ignored)
            await program.close()
            ended = await running.run("status", env={"TICKWIRE_NATS_URL": wrong})
            assert (ended.code, ended.out) == (2, "")
            assert "tickwire url" in ended.err
            assert "0" * 32 not in ended.err
        for said in (None, "0" * 32):
            assert b"Authorization Violation" in await answer(without_credentials(websocket), said)
        assert await answer(without_credentials(websocket), token) == b"PONG\r\n"
        program = await nats.connect(url)
        assert (await program.jetstream().account_info()).streams > 0
        await program.close()
        # Of what is shown, and often shown on, it is no part.
        assert json.loads((await running.run("status", "--json")).out)["nats_url"] == without_credentials(url)


def alive(process: psutil.Process) -> list[str]:
    """The command line of a process that may have ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def _ignored(_: Exception) -> None:
    """What is wrong is raised as well."""


async def test_the_broker_of_the_demo_asks_for_a_token_as_well(tmp_path: Path) -> None:
    env = environment(tmp_path)
    async with command(tmp_path, env, "demo") as running:
        await running.says("ready after")
        # Candles, live trades and the archive are to come: suspended now, it cannot be over before it is stopped.
        running.process.send_signal(signal.SIGSTOP)
        ended = await tickwire(env | {"TICKWIRE_DATA_DIR": str(tmp_path / "demo")}, "url")
        url = ended.out.strip()
        program = Client()
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await program.connect(without_credentials(url), allow_reconnect=False, error_cb=_ignored)
        await program.close()
        await program.connect(url)
        await program.close()
        found = modes(tmp_path / "demo")
        running.process.send_signal(signal.SIGCONT)
        assert await running.stop() == 130
    assert {mode & 0o077 for mode in found.values()} == {0}


async def test_a_url_of_websockets_is_none_where_none_are_taken(tmp_path: Path) -> None:
    async with up(tmp_path) as running:
        ended = await running.run("url", "--websocket")
        assert (ended.code, ended.out) == (2, "")
        assert "set nats.websocket_port" in ended.err
    ended = await running.run("url")
    assert (ended.code, ended.out) == (1, "")
    assert "no tickwire is running" in ended.err


async def test_a_configured_broker_has_the_url_that_is_configured(tmp_path: Path) -> None:
    env = environment(tmp_path, TICKWIRE_NATS_URL="nats://desk:secret@broker.example:4222")
    ended = await tickwire(env, "url")
    assert (ended.code, ended.out) == (0, "nats://desk:secret@broker.example:4222\n")


async def test_the_token_is_in_no_log_no_command_line_and_no_error(tmp_path: Path) -> None:
    """At the chattiest, with a broker that dies and services that are started again."""
    async with up(tmp_path, None, env={"TICKWIRE_LOG_LEVEL": "debug"}) as running:
        token = urlsplit(await running.url()).username
        assert token
        said = [(await running.run(*each.split())).err for each in ("status", "ps", "candles list", "jobs list")]
        below = running.descendants()
        next(each for each in below if each.name() == "nats-server").kill()
        at = await running.says("the broker ended; starting it again")
        await running.says("connected to the broker again", after=at)
        cache = next(each for each in running.descendants() if alive(each)[-2:] == ["service", "cache"])
        cache.kill()
        await running.says("cache ended (SIGKILL)", after=at)
        said += [(await running.run("candles", "repair", "nosuch", "BTC/USDT", "1m")).err]
        # What `ps` shows of everything on this machine.
        lines = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
        assert any(str(tmp_path) in line for line in lines)
    assert not [line for line in (*running.lines, *said, *lines) if token in line]


async def test_the_data_are_their_owners_alone(tmp_path: Path) -> None:
    """Also where an earlier version let others into the broker's folder."""
    (tmp_path / "data" / "nats").mkdir(parents=True)
    (tmp_path / "data" / "nats").chmod(0o755)
    (tmp_path / "data").chmod(0o755)
    before = os.umask(0o022)
    try:
        async with up(tmp_path) as running:
            await running.url()
            found = modes(tmp_path / "data")
    finally:
        os.umask(before)
    assert str(tmp_path / "data" / "run.json") in found
    assert len([each for each in found if "jetstream" in each]) > 10
    # The data folder itself was there, and is as it was.
    assert found.pop(str(tmp_path / "data")) == 0o755
    assert {mode for path, mode in found.items() if Path(path).is_dir()} == {0o700}
    assert {mode & 0o077 for mode in found.values()} == {0}


async def test_a_cache_folder_elsewhere_keeps_the_permissions_that_are_usual_there(tmp_path: Path) -> None:
    """It may be shared on purpose."""
    before = os.umask(0o022)
    try:
        async with up(tmp_path, None, env={"TICKWIRE_CACHE_DIR": str(tmp_path / "candles")}):
            found, data = modes(tmp_path / "candles"), modes(tmp_path / "data")
    finally:
        os.umask(before)
    assert found.pop(str(tmp_path / "candles")) == 0o755
    assert {0o644} == set(found.values())
    assert {mode & 0o077 for mode in data.values()} == {0}


async def test_an_archive_elsewhere_can_be_read_by_other_users(tmp_path: Path) -> None:
    """Programs read its files without tickwire."""
    root = tmp_path / "shared" / "archive"
    before = os.umask(0o022)
    try:
        env = {"TICKWIRE_ARCHIVE_ROOT": str(root), "TICKWIRE_ARCHIVE_PART_MINUTES": "0.002"}
        async with (
            up(tmp_path, None, env=env) as running,
            connect(NatsSettings(url=await running.url()), name="test") as bus,
        ):
            tape = Tape(bus, TapeSettings().partitions)
            await tape.write("BTC/USDT", 5)
            async with asyncio.timeout(60):
                while rows_of(root, "BTC/USDT") != tape.rows["BTC/USDT"]:
                    await asyncio.sleep(0.1)
            found, data = modes(root.parent), modes(tmp_path / "data")
    finally:
        os.umask(before)
    assert {0o755} == {mode for path, mode in found.items() if Path(path).is_dir()}
    assert {0o644} == {mode for path, mode in found.items() if path.endswith(".parquet")}
    assert {mode & 0o077 for mode in data.values()} == {0}
