"""`tickwire up`: everything in one terminal, kept alive, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import time
from pathlib import Path

import aiohttp
import psutil
import pytest

from support.commands import Command, command, gone, up
from support.ports import free_port
from support.processes import environment, tickwire

pytestmark = pytest.mark.system


def service(running: Command, name: str) -> psutil.Process:
    """The process of a service that runs below it."""
    for process in running.descendants():
        try:
            if process.cmdline()[-2:] == ["service", name]:
                return process
        except psutil.ZombieProcess:
            continue
    raise AssertionError(f"no {name} runs")


async def test_up_says_what_to_type_next_and_other_commands_find_its_broker(tmp_path: Path) -> None:
    """And a second one on the folder is refused, the services' log level can be changed, and there is a page."""
    async with up(tmp_path, env={"TICKWIRE_WEB_ENABLED": "true"}) as running:
        line = await running.says("the page is at http")
        await running.says("tickwire candles fetch")
        address = running.lines[line - 1].rpartition(" ")[2]
        async with aiohttp.ClientSession() as http, http.get(address) as answer:
            assert "<title>tickwire</title>" in await answer.text()
        ended = await running.run("status", "--json")
        facts = json.loads(ended.out)
        assert ended.code == 0
        assert facts["nats_url"] in " ".join(running.lines)
        assert {each["service"] for each in facts["services"]} == {"cache", "fetcher", "streamer", "web"}
        assert len([each for each in facts["leases"] if each["service"] == "cache"]) == 8
        assert {"OHLCV", "JOBS", "JOB_RESULTS"} <= {each["stream"] for each in facts["streams"]}
        assert (facts["keys"], facts["jobs_waiting"]) == (0, 0)

        second = await running.run("up")
        assert second.code == 1
        assert second.err == (
            f"tickwire: tickwire is up on {tmp_path / 'data'} already; use that one, stop it, or set another data_dir\n"
        )

        empty = await running.run("candles", "list")
        assert (empty.code, empty.out) == (0, "")
        assert "nothing is cached yet" in empty.err

        level = await running.run("log", "debug", "tickwire.bus.service")
        assert (level.code, level.out) == (0, "tickwire.bus.service is at debug in 4 service processes\n")
        as_json = await running.run("log", "debug", "tickwire.bus.service", "--json")
        fact = {"logger": "tickwire.bus.service", "level": "debug", "processes": 4}
        assert (as_json.code, json.loads(as_json.out)) == (0, fact)
        for misspelt in ("tickwire.fetchr", "tickwire.sink"):
            refused = await running.run("log", "debug", misspelt)
            assert (refused.code, refused.out) == (2, "")
            assert f"no running service has a logger '{misspelt}': there run cache, fetcher, streamer" in refused.err
        of_one = await running.run("log", "debug", "tickwire.fetcher")
        assert (of_one.code, of_one.out) == (0, "tickwire.fetcher is at debug in 1 service process\n")
        assert not any('"refused"' in line for line in running.lines)
        unknown = await running.run("candles", "repair", "nosuch", "BTC/USDT", "1m")
        assert unknown.code == 1
        await running.says('"event": "refused"')


async def test_ctrl_c_ends_everything_in_order(tmp_path: Path) -> None:
    async with up(tmp_path, None, "--cache", "2", "--streamer", "2") as running:
        facts = json.loads((await running.run("status", "--json")).out)
        assert [each["service"] for each in facts["services"]] == ["cache", "cache", "fetcher", "streamer", "streamer"]
        below = running.descendants()
        assert await running.stop(signal.SIGINT) == 130
        await gone(below)
        assert not (tmp_path / "data" / "run.json").exists()
    # Services that outlive their broker complain about it.
    assert [line for line in running.lines if "warning" in line or "error" in line] == []


async def test_with_a_configured_broker_none_is_embedded_and_none_is_ended(tmp_path: Path, broker: str) -> None:
    env = environment(tmp_path / "data", TICKWIRE_NATS_URL=broker)
    async with command(tmp_path, env, "up") as running:
        await running.says("ready:")
        below = running.descendants()
        assert "nats-server" not in {each.name() for each in below}
        assert await running.stop() == 0
        await gone(below)
        assert json.loads((await running.run("status", "--json")).out)["services"] == []


async def test_a_killed_up_leaves_nobody_behind_and_can_be_started_again(tmp_path: Path) -> None:
    async with up(tmp_path) as running:
        below = running.descendants()
        assert "nats-server" in {each.name() for each in below}
        await running.stop(signal.SIGKILL)
        await gone(below)
        ended = await running.run("status")
        assert ended.code == 1
        assert "is gone; run `tickwire up`" in ended.err
    async with up(tmp_path) as again:
        assert (await again.run("status", "--json")).code == 0


async def test_what_dies_is_started_again_and_that_is_said(tmp_path: Path) -> None:
    """A service, and the broker on its old port."""
    async with up(tmp_path) as running:
        url = json.loads((await running.run("status", "--json")).out)["nats_url"]
        cache, fetcher, streamer = (service(running, name) for name in ("cache", "fetcher", "streamer"))
        cache.kill()
        await running.says("cache ended (SIGKILL); starting it again in 0.")
        next(each for each in running.descendants() if each.name() == "nats-server").kill()
        await running.says("the broker ended; starting it again")
        async with asyncio.timeout(100):
            while (await running.run("candles", "list")).code != 0:
                pass
        ended = await running.run("status", "--json")
        assert json.loads(ended.out)["nats_url"] == url
        assert service(running, "cache") != cache
        assert service(running, "fetcher") == fetcher
        assert service(running, "streamer") == streamer


@pytest.mark.parametrize("again", [False, True])
async def test_a_data_folder_that_is_removed_ends_up_within_seconds_and_says_so(tmp_path: Path, again: bool) -> None:
    """Also where another folder of the name has taken its place."""
    async with up(tmp_path) as running:
        below = running.descendants()
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        if again:
            (tmp_path / "data").mkdir(exist_ok=True)
            (tmp_path / "data" / "run.lock").touch()
        began = time.monotonic()
        async with asyncio.timeout(100):
            assert await running.process.wait() == 1
        assert running.lines[-1] == (
            f"tickwire: the data folder {tmp_path / 'data'} was removed while tickwire ran on it; "
            "what was in it is gone; start again"
        )
        assert time.monotonic() - began < 60
        await gone(below)


@pytest.mark.parametrize("place", [0, 2])
async def test_a_metrics_port_that_is_taken_is_named_before_anything_is_started(tmp_path: Path, place: int) -> None:
    first = free_port()
    taken = first + place
    with socket.create_server(("127.0.0.1", taken)):
        env = environment(tmp_path / "data", TICKWIRE_METRICS_PORT=str(first))
        ended = await tickwire(env, "up", cwd=tmp_path)
    assert ended.code == 2
    (said,) = ended.err.splitlines()
    assert said.startswith(f"tickwire: metrics.port: 127.0.0.1:{taken}")
    assert "is taken by another program" in said


async def test_a_port_that_is_wanted_twice_is_named(tmp_path: Path) -> None:
    port = free_port()
    env = environment(tmp_path / "data", TICKWIRE_METRICS_PORT=str(port), TICKWIRE_NATS_PORT=str(port + 1))
    ended = await tickwire(env, "up", cwd=tmp_path)
    assert ended.code == 2
    assert f"metrics.port: 127.0.0.1:{port + 1}" in ended.err
    assert "is also nats.port" in ended.err
