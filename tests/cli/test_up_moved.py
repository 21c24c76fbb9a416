"""docs/running.md: a data folder that was copied while `up` was stopped goes on elsewhere; the unit of systemd."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from support.commands import Command, up
from support.hearing import reports
from support.processes import running_simulator
from tickwire.bus.connection import connect
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.system

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "tickwire.service"
KEY = ("binance", "BTC/USDT", "1h")


async def cached(running: Command) -> list[tuple[str, int, int]]:
    """What is cached: symbol, rows, holes."""
    keys = json.loads((await running.run("candles", "list", "--json")).out)["keys"]
    return [(each["symbol"], each["rows"], each["holes"]) for each in keys]


async def test_a_copy_of_the_data_folder_goes_on_in_another_place(tmp_path: Path) -> None:
    """A backup, and a move: candles are cached, and feeds that were started run again."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    async with running_simulator() as exchange:
        async with up(here, exchange) as running:
            assert (await running.run("candles", "fetch", *KEY, "--since", "3d")).code == 0
            assert (await running.run("start", "ticker", *KEY[:2], "--subscriber", "bot")).code == 0
            before = await cached(running)
            assert await running.stop() == 0
        shutil.copytree(here / "data", there / "data")
        shutil.rmtree(here / "data")
        async with up(there, exchange) as running:
            assert await cached(running) == before
            assert before[0][1] > 60
            again = await running.run("candles", "fetch", *KEY, "--since", "3d", "--json")
            (job,) = json.loads(again.out)
            assert (job["complete"], job["rows_from_cache"]) == (True, before[0][1])
            async with connect(NatsSettings(url=await running.url()), name="test") as bus, asyncio.timeout(100):
                while [(each.kind, each.subscriber_names, each.state) for each in await reports(bus)] != [
                    ("ticker", ["bot"], "live")
                ]:
                    await asyncio.sleep(0.05)


def test_the_unit_runs_up_and_does_not_try_a_wrong_configuration_again() -> None:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    assert service["ExecStart"].endswith("/tickwire up")
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2")
    if shutil.which("systemd-analyze"):
        text = UNIT.read_text().replace("%h/.local/bin/tickwire", "/bin/true")
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--user", "--man=no", "/dev/stdin"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Unknown" not in checked.stderr, checked.stderr
