"""A deployment of the compose files on an engine: its exchange, a program of a desk, and what its database has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deployment import composed
from deployment.composed import ROOT
from deployment.docker_engine import Engine, Project

PINNED = 'feeds = ["trade binance BTC/USDT"]'
GATEWAY = """
[exchange.binance]
gateway = "http://exchange:8700"
ccxt = { enableRateLimit = false, options = { fetchMarkets = { types = ["spot"] } } }
"""
FOLLOWER = """
import asyncio
from tickwire.client import Trade, connect

async def main():
    async with connect() as client:
        async for each in client.trades("binance", "BTC/USDT"):
            print(each.id if isinstance(each, Trade) else each, flush=True)

asyncio.run(main())
"""
"""A program of a desk: the id of each trade, or what it says of a gap."""


@contextmanager
def standing(engine: Engine, folder: Path, *files: str) -> Iterator[Project]:
    """A deployment, built and healthy, within the block. The file that an operator edits says where the exchange is."""
    text = (ROOT / "deploy/tickwire.toml").read_text()
    assert "feeds = []" in text
    (folder / "tickwire.toml").write_text(text.replace("feeds = []", PINNED) + GATEWAY)
    made = Project(engine, folder, files, composed.passwords(folder))
    try:
        made.compose("up", "--build", "--detach", "--wait", timeout_s=1000)
        yield made
    finally:
        # Shown with a test that fails.
        print(made.compose("logs", "--no-color", "--tail", "200"))
        made.compose("down", "--volumes", "--timeout", "30")


def desk(made: Project) -> dict[str, str]:
    """The environment of a program on this machine that is user `desk`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TICKWIRE_")}
    url = f"nats://127.0.0.1:{made.port}"
    return clean | {
        "TICKWIRE_NATS_URL": url,
        "TICKWIRE_NATS_USER": "desk",
        "TICKWIRE_NATS_PASSWORD": made.secrets["TICKWIRE_DESK_PASSWORD"],
    }


@contextmanager
def following(made: Project) -> Iterator[Callable[[], list[int]]]:
    """A program of a desk follows the feed, within the block: the ids that it got so far, without a gap."""
    log = made.folder / "followed"
    with open(log, "wb") as file:
        argv = [sys.executable, "-c", FOLLOWER]
        program = subprocess.Popen(argv, env=desk(made), cwd=made.folder, stdout=file, stderr=file)

    def ids() -> list[int]:
        text = log.read_text()
        assert program.poll() is None, text
        found = [int(line) for line in text.splitlines(keepends=True) if line.endswith("\n") and line.strip().isdigit()]
        assert found == list(range(found[0], found[0] + len(found))) if found else True, text
        return found

    try:
        yield ids
    finally:
        program.terminate()
        program.wait(60)


def until(holds: Callable[[], bool], what: str, timeout_s: float = 300) -> float:
    """Wait until something holds; how long that took, s."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < timeout_s, what
        time.sleep(0.2)
    return time.monotonic() - began


def goes_on(ids: Callable[[], list[int]], trades: int = 20) -> float:
    """Wait until the follower has got so many more trades."""
    before = len(ids())
    return until(lambda: len(ids()) >= before + trades, "the feed stands still")


def written(made: Project) -> list[int]:
    """The ids of the trades in InfluxDB."""
    query = urllib.parse.urlencode({"db": "tickwire", "q": "SELECT id FROM trades WHERE symbol = 'BTC/USDT'"})
    with urllib.request.urlopen(f"http://{made.address('influxdb', 8086)}/query?{query}", timeout=30) as answer:
        (found,) = json.loads(answer.read())["results"]
    return sorted(int(row[1]) for series in found.get("series", []) for row in series["values"])


def all_written(made: Project, ids: list[int]) -> None:
    """Each id up to the newest that the follower has is in the database, once, from the first one there."""
    until(lambda: written(made)[-1:] >= ids[-1:], "the database does not get what the desk got")
    found = written(made)
    assert found == list(range(found[0], found[-1] + 1))
