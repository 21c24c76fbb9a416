"""An earlier version is replaced by this one, as docs/running.md says: what it stored is kept, and is used."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from deployment.installed_program import ROOT, UV, run, up
from support.commands import CONFIG
from support.processes import running_simulator

pytestmark = [pytest.mark.system, pytest.mark.dist, pytest.mark.timeout(1200)]

ARCHIVE = '[archive]\nroot = "archive"\npart_minutes = 0.05\n'
EARLIER = [
    # Before the tape had partitions, leases had sessions and streamers owned slots.
    pytest.param("6d99d885", "", id="2026-11-25"),
    # The archive is there, not yet its chunks' cursors, candles and tickers.
    pytest.param("b31bfb6a", ARCHIVE, id="2026-11-30"),
]
HOURS = ("candles", "get", "binance", "BTC/USDT", "1h", "--since", "7d", "--format", "csv")
MARKET = ("trade", "binance", "BTC/USDT")
READ = """
import sys
from tickwire.client import connect_sync
with connect_sync() as client, client.trades("binance", "BTC/USDT", since=int(sys.argv[1]), gaps=True) as trades:
    for each in trades:
        print(getattr(each, "id", each))
        if int(each.id) == int(sys.argv[2]):
            break
"""


def wheel_of(commit: str, folder: Path) -> Path:
    """The wheel of an earlier version, built from its sources. Skips the test in a clone without them."""
    if subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("this clone has no earlier versions: git fetch --unshallow")
    sources = folder / "sources"
    sources.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=sources, input=archive, check=True)
    run(UV, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", sources, cwd=folder)
    (found,) = (folder / "dist").glob("*.whl")
    return found


def followed(command: Path, folder: Path, lines: int) -> list[dict[str, str]]:
    """The trades of so many messages, as the newest ones arrive."""
    told = run(command, "watch", *MARKET, "--json", "--count", str(lines), cwd=folder)
    return [trade for line in told.splitlines() for trade in json.loads(line)["trades"]]


def archived(command: Path, folder: Path, since: str) -> set[str]:
    """The ids of the trades in the archive. Those of the last seconds are in no file yet, which is exit code 3."""
    get = ("trades", "get", *MARKET[1:], "--since", since, "--format", "csv")
    return {row.split(",")[2] for row in run(command, *get, cwd=folder, codes=(0, 3)).splitlines()}


@pytest.mark.parametrize(("commit", "section"), EARLIER)
async def test_what_an_earlier_version_stored_is_there_and_goes_on(
    commit: str, section: str, wheel: Path, tmp_path: Path
) -> None:
    home, venv = tmp_path / "home", tmp_path / "venv"
    home.mkdir()
    run(UV, "venv", "--quiet", "--python", sys.executable, venv, cwd=tmp_path)
    command, install = venv / "bin" / "tickwire", (UV, "pip", "install", "--quiet", "--python", venv / "bin" / "python")
    run(*install, f"{wheel_of(commit, tmp_path)}[all]", cwd=tmp_path)
    async with running_simulator("--live-rate", "20") as exchange:
        (home / "tickwire.toml").write_text(CONFIG.format(gateway=exchange.url) + section)
        async with up(home, command):
            run(command, "candles", "fetch", "binance", "BTC/USDT", "1h", "--since", "7d", cwd=home)
            before = run(command, *HOURS, cwd=home)
            run(command, "start", *MARKET, cwd=home)
            old = await asyncio.to_thread(followed, command, home, 40)
            async with asyncio.timeout(100):
                while section and not list((home / "archive").rglob("*.parquet")):
                    await asyncio.sleep(0.2)
        run(*install, "--upgrade", f"{wheel}[all]", cwd=tmp_path)
        async with up(home, command):
            # The feed that was started runs: nobody else wants it.
            new = await asyncio.to_thread(followed, command, home, 5)
            again = run(command, "candles", "fetch", "binance", "BTC/USDT", "1h", "--since", "7d", cwd=home)
            after = run(command, *HOURS, cwd=home)
            assert run(command, "candles", "verify", cwd=home)
            python, since = venv / "bin" / "python", str(old[0]["timestamp"])
            read = run(python, "-c", READ, since, new[-1]["id"], cwd=home).split()
            async with asyncio.timeout(100):
                while section and not {each["id"] for each in old} <= archived(command, home, since):
                    await asyncio.sleep(0.2)
    assert [line for line in before.splitlines() if line not in after] == []
    (row,) = [line.split() for line in again.splitlines() if line.startswith("binance")]
    assert int(row[3]) >= 160, again
    assert int(row[4]) <= 2, again
    ids = [int(each) for each in read]
    assert ids == [*range(ids[0], int(new[-1]["id"]) + 1)]
    assert {int(each["id"]) for each in (*old, *new)} <= set(ids)
