"""`tickwire candles get` reports missing ranges in every format, and fetches them with `--fetch`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pandas
import pytest
import pytest_asyncio

from support.commands import Command, up
from support.processes import SimulatorProcess

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

HALVES = (
    ("--since", "2025-06-01", "--until", "2025-06-01T10:00"),
    ("--since", "2025-06-01T14:00", "--until", "2025-06-02"),
)
DAY = ("--since", "2025-06-01", "--until", "2025-06-02")
SINCE = 1_748_736_000_000
"""`date -u -d 2025-06-01 +%s000`."""
MINUTE = 60_000
HOLE = "2025-06-01 10:00 to 2025-06-01 14:00"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, exchange: SimulatorProcess) -> AsyncIterator[Command]:
    """`tickwire up` with minutes of a day cached, those from 10 to 14 o'clock apart."""
    async with up(tmp_path_factory.mktemp("up"), exchange) as command:
        for half in HALVES:
            fetched = await command.run("candles", "fetch", "binance", "BTC/USDT,SOL/USDT", "1m", *half)
            assert fetched.code == 0, fetched.err
        yield command


def opens(text: str) -> list[int]:
    """Open times of CSV, ms."""
    return [int(line["timestamp"]) for line in csv.DictReader(io.StringIO(text))]


@pytest.mark.parametrize("form", ["table", "csv", "jsonl", "parquet"])
async def test_missing_ranges_are_listed_and_the_exit_code_is_3(running: Command, tmp_path: Path, form: str) -> None:
    file = tmp_path / "candles"
    got = await running.run(
        "candles", "get", "binance", "BTC/USDT", "1m", *DAY, "--format", form, "--output", str(file)
    )
    assert got.code == 3, got.err
    (said,) = [line for line in got.err.splitlines() if "candles of" in line]
    assert "binance BTC/USDT 1m: 240 candles of 1,440 missing" in said
    assert HOLE in said
    if form == "csv":
        assert opens(file.read_text()) == [SINCE + minute * MINUTE for minute in range(1440) if not 600 <= minute < 840]
    if form == "jsonl":
        assert len([json.loads(line) for line in file.read_text().splitlines()]) == 1200
    if form == "parquet":
        assert len(pandas.read_parquet(file)) == 1200


async def test_without_a_range_it_is_what_is_missing_within_all_that_is_known(running: Command) -> None:
    got = await running.run("candles", "get", "binance", "BTC/USDT", "1m", "--format", "csv")
    assert got.code == 3
    assert "240 candles of 1,440 missing" in got.err
    assert HOLE in got.err


async def test_each_key_has_its_own_line_and_an_unknown_key_hides_no_other(running: Command) -> None:
    got = await running.run("candles", "get", "binance", "XRP/USDT,BTC/USDT", "1m", *DAY, "--format", "csv")
    assert got.code == 3
    assert len(opens(got.out)) == 1200
    assert [line.split(";")[0] for line in got.err.splitlines()] == [
        "tickwire: nothing is cached of binance XRP/USDT 1m in this range",
        f"tickwire: binance BTC/USDT 1m: 240 candles of 1,440 missing: {HOLE}",
    ]


async def test_what_is_known_whole_is_given_without_a_word(running: Command) -> None:
    got = await running.run("candles", "get", "binance", "BTC/USDT", "1m", *HALVES[1], "--format", "csv")
    assert (got.code, got.err) == (0, "")
    assert len(opens(got.out)) == 600


async def test_limit_gives_the_oldest_and_last_the_newest_and_both_say_what_lies_between(running: Command) -> None:
    one = ("candles", "get", "binance", "BTC/USDT", "1m", "--format", "csv", *DAY)
    oldest = await running.run(*one, "--limit", "3")
    assert (oldest.code, oldest.err) == (0, "")
    assert opens(oldest.out) == [SINCE, SINCE + MINUTE, SINCE + 2 * MINUTE]

    newest = await running.run(*one, "--last", "3")
    assert (newest.code, newest.err) == (0, "")
    assert opens(newest.out) == [SINCE + minute * MINUTE for minute in (1437, 1438, 1439)]

    across = await running.run(*one, "--last", "601")
    assert across.code == 3
    assert HOLE in across.err
    assert opens(across.out)[:2] == [SINCE + minute * MINUTE for minute in (599, 840)]

    stale = await running.run(*one[:7], "--last", "3")
    assert stale.code == 3, "these are the newest that are cached, and not the newest"
    assert "2025-06-02 00:00 to" in stale.err


async def test_fetch_has_what_is_missing_fetched_first(running: Command, exchange: SimulatorProcess) -> None:
    one = ("candles", "get", "binance", "SOL/USDT", "1m", *DAY, "--format", "csv")
    assert (await running.run(*one)).code == 3
    await exchange.forget_log()
    got = await running.run(*one, "--fetch")
    assert got.code == 0, got.err
    assert opens(got.out) == [SINCE + minute * MINUTE for minute in range(1440)]
    assert got.err.startswith("binance SOL/USDT 1m: 1,440 rows")
    assert got.err.endswith("complete\n")
    assert await exchange.log("klines") != []

    refused = await running.run("candles", "get", "binance", "BTC/USTD", "1m", *DAY, "--fetch", "--format", "csv")
    assert (refused.code, opens(refused.out)) == (1, [])
    assert "BTC/USDT" in refused.err


async def test_fetch_of_the_last_ones_needs_no_since(running: Command) -> None:
    got = await running.run("candles", "get", "binance", "ETH/USDT", "1h", "--last", "5", "--fetch", "--format", "csv")
    assert got.code == 0, got.err
    times = opens(got.out)
    assert len(times) == 5
    assert times[-1] - times[0] == 4 * 60 * MINUTE

    unsaid = await running.run("candles", "get", "binance", "ETH/USDT", "1h", "--fetch")
    assert unsaid.code == 2
    assert "--since" in unsaid.err
