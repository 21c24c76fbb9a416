"""`tickwire up` starts again on the same port and data, and connected programs continue."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from support.commands import CONFIG, Command, command
from support.ports import free_port
from support.processes import TICKWIRE, SimulatorProcess, environment, running_simulator, tickwire
from tickwire.bus import embedded
from tickwire.process import children

pytestmark = pytest.mark.system

EXAMPLES = Path(__file__).parents[2] / "examples"
SYNC = """
import msgspec
from tickwire.client import connect_sync
with connect_sync() as client:
    for trade in client.trades("binance", "BTC/USDT"):
        print(msgspec.json.encode(trade).decode(), flush=True)
"""
FEED = ("binance", "BTC/USDT")
FOLLOWERS: Mapping[str, list[str]] = {
    "watch": [*TICKWIRE, "watch", "trade", *FEED, "--json"],
    "python": [sys.executable, str(EXAMPLES / "python" / "trades.py"), *FEED],
    "sync": [sys.executable, "-c", SYNC],
}


class Output:
    """The standard output of a process, line by line, of any length: a message of thousands of trades is one line."""

    def __init__(self, process: children.Process) -> None:
        assert process.stdout is not None
        self._stream = process.stdout
        self._rest = bytearray()

    async def readline(self) -> bytes:
        """The next line; empty at the end."""
        while b"\n" not in self._rest and (data := await self._stream.read(65_536)):
            self._rest += data
        line, end, rest = bytes(self._rest).partition(b"\n")
        self._rest = bytearray(rest)
        return line + end


@dataclass
class Follower:
    """A process that prints trades, and their ids so far."""

    process: children.Process
    errors: Path
    ids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._output = Output(self.process)

    async def until(self, last: int) -> None:
        """Read on until it has printed a trade with this id or a later one."""
        try:
            async with asyncio.timeout(150):
                while not self.ids or self.ids[-1] < last:
                    line = await self._output.readline()
                    assert line, self.errors.read_text()
                    found = json.loads(line)
                    self.ids += [int(each["id"]) for each in found.get("trades", [found])]
        except TimeoutError:
            raise AssertionError(f"after {self.ids[-1:]} nothing came: {self.errors.read_text()}") from None


@asynccontextmanager
async def follower(folder: Path, env: Mapping[str, str], name: str, argv: list[str]) -> AsyncIterator[Follower]:
    """One of them for as long as the block lasts."""
    errors = folder / f"{name}.err"
    with errors.open("wb") as output:
        async with children.child(argv, env=env, cwd=EXAMPLES, stdout=children.PIPE, stderr=output.fileno()) as process:
            yield Follower(process, errors)


@asynccontextmanager
async def up(folder: Path, env: Mapping[str, str]) -> AsyncIterator[tuple[Command, str]]:
    """`tickwire up` and the URL that it says its broker has."""
    async with command(folder, env, "up") as running:
        await running.says("ready:")
        (line,) = (line for line in running.lines if "broker at " in line)
        yield running, line.partition("broker at ")[2].partition(",")[0]


def configured(folder: Path, exchange: SimulatorProcess) -> dict[str, str]:
    """The environment of everything on a data folder."""
    config = folder / "tickwire.toml"
    config.write_text(CONFIG.format(gateway=exchange.url))
    return environment(folder / "data", TICKWIRE_CONFIG=str(config), PYTHONUNBUFFERED="1")


def choose_port(folder: Path) -> None:
    """Let the data folder have had a port of its own before: other tests take that of NATS when it is free."""
    store = folder / "data" / "nats"
    store.mkdir(parents=True)
    embedded.remember_port(store, free_port())


@pytest.mark.needs("node")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_followers_lose_and_repeat_nothing_when_up_is_started_again(tmp_path: Path, how: signal.Signals) -> None:
    """A watch, an iterator in Python, one without asyncio, and a NATS program in Node; up was stopped, or killed."""
    async with AsyncExitStack() as stack, running_simulator("--live-rate", "50") as exchange:
        env = configured(tmp_path, exchange)
        choose_port(tmp_path)
        async with up(tmp_path, env) as (running, url):
            argv = {**FOLLOWERS, "node": ["node", str(EXAMPLES / "javascript" / "node.mjs"), *FEED]}
            env["NATS_URL"] = await running.url()
            found = [await stack.enter_async_context(follower(tmp_path, env, name, argv[name])) for name in argv]
            for each in found:
                await each.until(1)
                await each.until(each.ids[0] + 100)
            await running.stop(how)
        async with up(tmp_path, env) as (_, again):
            assert again == url
            last = max(each.ids[-1] for each in found) + 500
            for each in found:
                await each.until(last)
        for each in found:
            assert each.ids == list(range(each.ids[0], each.ids[-1] + 1)), each.errors.read_text()


async def test_who_found_the_broker_by_the_run_file_follows_it_to_another_port(tmp_path: Path) -> None:
    """Its old one is taken meanwhile, by a program that takes connections and says nothing."""
    async with AsyncExitStack() as stack, running_simulator("--live-rate", "50") as exchange:
        env = configured(tmp_path, exchange)
        choose_port(tmp_path)
        async with up(tmp_path, env) as (running, url):
            found = [
                await stack.enter_async_context(follower(tmp_path, env, name, argv)) for name, argv in FOLLOWERS.items()
            ]
            for each in found:
                await each.until(1)
            await running.stop()
        with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))):
            async with up(tmp_path, env) as (moved, again):
                assert again != url
                # Programs with its old URL need the new one.
                assert any(f"port {url.rpartition(':')[2]} is taken" in line for line in moved.lines)
                last = max(each.ids[-1] for each in found) + 500
                for each in found:
                    await each.until(last)
        for each in found:
            assert each.ids == list(range(each.ids[0], each.ids[-1] + 1)), each.errors.read_text()


async def test_a_new_data_folder_gets_the_port_of_nats_unless_it_is_taken(tmp_path: Path) -> None:
    """And keeps what it got."""
    port_of_nats = ":4222"
    for attempt in count():
        env = environment(tmp_path / f"data-{attempt}")
        with ExitStack() as stack:
            try:
                stack.enter_context(socket.create_server(("127.0.0.1", 4222)))
                taken = True
            except OSError:
                # Another program listens there: for as long as it takes to look, or not.
                taken = False
            async with up(tmp_path, env) as (_, url):
                if taken or not url.endswith(port_of_nats):
                    break
    assert not url.endswith(port_of_nats)
    async with up(tmp_path, env) as (_, again):
        assert again == url


@pytest.mark.parametrize("setting", ["nats.port", "nats.websocket_port"])
async def test_a_configured_port_that_is_taken_is_named_at_once_with_the_remedy(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = str(other.getsockname()[1])
        variable = f"TICKWIRE_{setting.replace('.', '_').upper()}"
        env = environment(tmp_path / "data", TICKWIRE_NATS_WEBSOCKET_ORIGINS='["*"]', **{variable: port})
        ended = await tickwire(env, "up", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"tickwire: {setting}: port {port} is taken by another program; stop that one, or set another {setting}\n"
    )


async def test_up_listens_where_it_is_configured_to(tmp_path: Path) -> None:
    port = free_port()
    async with up(tmp_path, environment(tmp_path / "data", TICKWIRE_NATS_PORT=str(port))) as (running, url):
        assert url == f"nats://127.0.0.1:{port}"
        assert json.loads((await running.run("status", "--json")).out)["nats_url"] == url
