"""The command line before anything runs: help, wrong usage, settings that cannot be meant."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.commands import command
from support.processes import environment, tickwire

pytestmark = pytest.mark.system

HEAVY = ("ccxt", "pandas", "numpy", "nats", "pydantic", "aiohttp", "structlog", "plotext", "rich.console")


def test_help_needs_nothing_heavy() -> None:
    """Time is not asserted on a shared machine; what takes the time is."""
    code = f"import sys, tickwire.cli.main; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


async def test_wrong_usage_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    ended = await tickwire(
        environment(tmp_path), "candles", "fetch", "binance", "BTC/USDT", "1m", "--since", "last week"
    )
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("tickwire: --since 'last week' is not a time; write 2024, 2024-01")
    assert len(ended.err.splitlines()) == 1


async def test_a_misspelt_command_is_one_line_with_the_nearest_ones(tmp_path: Path) -> None:
    ended = await tickwire(environment(tmp_path), "staus")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == ("tickwire: No such command 'staus'. Did you mean 'status', 'start'? see `tickwire --help`\n")


@pytest.mark.parametrize("timeframe", ["1Y", "1 minute"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["candles", "fetch", "binance", "BTC/USDT"],
        ["candles", "get", "binance", "BTC/USDT"],
        ["candles", "list", "binance", "BTC/USDT"],
        ["candles", "verify", "binance", "BTC/USDT"],
        ["candles", "repair", "binance", "BTC/USDT"],
        ["start", "candle", "binance", "BTC/USDT"],
        ["stop", "candle", "binance", "BTC/USDT"],
        ["watch", "candle", "binance", "BTC/USDT"],
    ],
    ids=lambda names: " ".join(names[:2]),
)
async def test_what_is_no_timeframe_is_wrong_usage_in_every_command(
    tmp_path: Path, arguments: list[str], timeframe: str
) -> None:
    """Before anything is asked: no broker runs here."""
    ended = await tickwire(environment(tmp_path), *arguments, timeframe)
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 1
    assert repr(timeframe) in ended.err
    assert "timeframe" in ended.err


@pytest.mark.parametrize("arguments", [["status"], ["up"], ["service", "cache"]])
async def test_a_misspelt_key_of_the_configuration_is_named(tmp_path: Path, arguments: list[str]) -> None:
    config = tmp_path / "settings.toml"
    config.write_text('[nats]\nulr = "nats://127.0.0.1:4222"\n')
    ended = await tickwire(environment(tmp_path / "data"), *arguments, "--config", str(config))
    assert ended.code == 2
    assert ended.err == f"tickwire: {config}: unknown key nats.ulr; did you mean url?\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("arguments", [["up"], ["candles", "fetch", "a", "A/B", "1m"], ["service", "cache"]])
async def test_a_url_where_nothing_listens_is_named(tmp_path: Path, arguments: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"nats://127.0.0.1:{port}"
    ended = await tickwire(environment(tmp_path, TICKWIRE_NATS_URL=url), *arguments)
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1
    assert url in ended.err
    assert "nats.url" in ended.err


async def test_a_command_without_a_broker_says_how_to_start_one(tmp_path: Path) -> None:
    ended = await tickwire(environment(tmp_path), "status")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"tickwire: no tickwire is running on {tmp_path}; "
        "run `tickwire up`, set data_dir (TICKWIRE_DATA_DIR) to the folder of one that runs, or set nats.url\n"
    )


async def test_a_run_file_left_behind_is_recognised(tmp_path: Path) -> None:
    """Process 1 is alive everywhere, and holds no lock here."""
    (tmp_path / "run.json").write_text('{"nats_url": "nats://127.0.0.1:4222", "pid": 1}')
    (tmp_path / "run.lock").touch()
    ended = await tickwire(environment(tmp_path), "status")
    assert ended.code == 1
    assert "is gone; run `tickwire up`" in ended.err


async def test_a_run_file_that_is_no_run_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    ended = await tickwire(environment(tmp_path), "status")
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["up"], ["demo"]])
async def test_a_folder_that_cannot_be_written_ends_the_command_in_one_line(
    tmp_path: Path, arguments: list[str]
) -> None:
    """A file in its place, because root may write to every folder."""
    (tmp_path / "file").write_text("")
    ended = await tickwire(environment(tmp_path / "file" / "data"), *arguments)
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1
    assert "cannot write to the folder" in ended.err


async def test_without_services_a_fetch_says_what_to_start(tmp_path: Path, broker: str) -> None:
    env = environment(tmp_path, TICKWIRE_NATS_URL=broker, TICKWIRE_NATS_PATIENCE_S="1")
    fetch = await tickwire(env, "candles", "fetch", "binance", "BTC/USDT", "1m")
    assert (fetch.code, fetch.out) == (1, "")
    assert "start it with `tickwire service fetcher`" in fetch.err
    listing = await tickwire(env, "candles", "list")
    assert listing.code == 1
    assert "start it with `tickwire service cache`" in listing.err
    level = await tickwire(env, "log", "debug")
    assert level.code == 1
    assert "start all with `tickwire up`" in level.err


async def test_status_without_services_still_tells_the_broker(tmp_path: Path, broker: str) -> None:
    ended = await tickwire(environment(tmp_path, TICKWIRE_NATS_URL=broker), "status", "--json")
    facts = json.loads(ended.out)
    assert (ended.code, facts["nats_url"], facts["services"], facts["keys"]) == (0, broker, [], None)


async def test_a_simulator_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = await tickwire(environment(tmp_path), "simulator", "--port", str(taken.getsockname()[1]))
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 1
    assert "address already in use" in ended.err


async def test_the_simulator_prints_its_url_and_ends_when_told(tmp_path: Path) -> None:
    async with command(tmp_path, environment(tmp_path), "simulator", "--port", "0") as running:
        assert running.process.stdout is not None
        assert json.loads(await running.process.stdout.readline())["url"].startswith("http://127.0.0.1:")
        assert await running.stop() == 0
