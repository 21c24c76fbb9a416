"""A tape of more partitions than deploy/nats/accounts.conf lists: what is said, and that its remedy works."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from security.secured_pipeline import declared, one_line, secured
from support import brokers, live
from support.brokers import as_user, variables_of
from support.processes import environment, running_simulator, tickwire
from tickwire.bus.connection import connect
from tickwire.errors import Forbidden
from tickwire.model.feeds import Feed
from tickwire.model.feeds.layout import TapeLayout
from tickwire.settings import TapeSettings
from tickwire.tape.stored import read_pages

pytestmark = pytest.mark.faults

FILES = brokers.DEPLOY / "nats"
MAKER = FILES / "make_accounts.py"
ETH = Feed("trade", "binance", "ETH/USDT")
STREAM = TapeLayout(16).place_of(ETH).stream


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of secure.conf and of what it includes."""
    for name in ("secure.conf", "accounts.conf"):
        shutil.copy(FILES / name, tmp_path)
    return tmp_path / "secure.conf"


def list_partitions(config: Path, count: int) -> str:
    """Run the maker on the accounts beside a file; what it writes."""
    accounts = config.parent / "accounts.conf"
    subprocess.run([sys.executable, str(MAKER), str(count), str(accounts)], check=True)
    return accounts.read_text()


def test_accounts_of_any_number_of_partitions_are_made_of_any_other(config: Path) -> None:
    shipped = (FILES / "accounts.conf").read_text()
    assert list_partitions(config, 8) == shipped
    for count in (1, 64, 3, 16):
        made = list_partitions(config, count)
        # Of the streamer, and of the archive.
        assert made.count(f'"$JS.API.STREAM.MSG.GET.BOOK_DELTAS-{count - 1}"') == 2
        assert f"-{count}" not in made
        # The metadata are asked of the first one alone.
        assert made.count("STREAM.INFO.TRADES-") == shipped.count("STREAM.INFO.TRADES-0")
        brokers.check_config(config, brokers.environment(config.parent, 4222))
    assert list_partitions(config, 8) == shipped


@pytest.mark.timeout(240)
async def test_more_partitions_than_accounts_list_are_refused_with_a_remedy_that_works(
    config: Path, tmp_path: Path
) -> None:
    assert STREAM not in config.with_name("accounts.conf").read_text()
    tape = TapeSettings(partitions=16)
    async with (
        declared(tmp_path / "nats", str(config), tape) as server,
        running_simulator("--live-rate", "50") as busy,
    ):
        for user in ("streamer", "sink"):
            sink = {"TICKWIRE_SINK_URL": "http://127.0.0.1:1", "TICKWIRE_SINK_TOKEN": "t", "TICKWIRE_SINK_ORG": "desk"}
            env = environment(tmp_path, TICKWIRE_TAPE_PARTITIONS="16", **variables_of(server.url, user), **sink)
            ended = await tickwire(env, "service", user)
            assert ended.code in (1, 2)
            assert "python deploy/nats/make_accounts.py" in one_line(ended.err)
        with pytest.raises(Forbidden, match=r"make_accounts\.py"):
            await read_all(server.url)
        list_partitions(config, 16)
        server.process.send_signal(signal.SIGHUP)
        await server.says("Reloaded server configuration")
        before = server.log.count("iolation")
        async with secured(server, busy, tmp_path) as line:
            await line.start("streamer", 0, TICKWIRE_TAPE_PARTITIONS="16", **variables_of(server.url, "streamer"))
            await line.started("streamer")
            async with live.seeing(line.bus, ETH) as seen:
                for kind in ("trade", "book", "candle"):
                    feed = ETH._replace(kind=kind, timeframe="1m" if kind == "candle" else None)
                    await live.start(line.bus, feed, "program", ttl_s=60)
                await seen.until(lambda: len(seen.sequences) > 50)
            assert await read_all(server.url) > 50
            assert await line.stop("streamer") == 0
        assert server.log.count("iolation") == before


async def read_all(url: str) -> int:
    """As a program, read back what is stored of a feed; the number of messages."""
    async with connect(as_user(url, "desk"), name="desk") as bus:
        return sum([len(page) async for page in read_pages(bus, ETH.public, 0)])
