"""`tickwire candles ...` against `tickwire up` and a simulated exchange, all real processes."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pandas
import pytest

from support.commands import Command, command
from support.processes import TICKWIRE, SimulatorProcess

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

DAY = ("--since", "2025-06-01", "--until", "2025-06-02")
SINCE, UNTIL = 1_748_736_000_000, 1_748_822_400_000
"""`date -u -d 2025-06-01 +%s000`, and a day later."""


async def truth(exchange: SimulatorProcess, symbol: str, timeframe: str) -> list[list[float]]:
    """What the exchange really has of that day: `[time, open, high, low, close, volume]`."""
    answer = await exchange.truth("candles", symbol=symbol, timeframe=timeframe, since=SINCE, until=UNTIL)
    rows = answer if isinstance(answer, list) else answer["candles"]
    return [[float(value) for value in row[:6]] for row in rows]


async def test_fetch_brings_every_combination_and_get_gives_it_back(
    running: Command, exchange: SimulatorProcess, tmp_path: Path
) -> None:
    """Fetched once, a second fetch asks the exchange for no candle at all."""
    what = ("binance", "BTC/USDT,ETH/USDT", "1m,1h")
    fetched = await running.run("candles", "fetch", *what, *DAY)
    assert fetched.code == 0, fetched.err
    assert [line.split()[1:5] for line in fetched.out.splitlines()[1:]] == [
        ["BTC/USDT", "1m", "0", "1,440"],
        ["BTC/USDT", "1h", "0", "24"],
        ["ETH/USDT", "1m", "0", "1,440"],
        ["ETH/USDT", "1h", "0", "24"],
    ]
    assert "binance ETH/USDT 1m: 1,440 rows" in fetched.err

    await exchange.forget_log()
    again = await running.run("candles", "fetch", *what, *DAY, "--json")
    facts = json.loads(again.out)
    assert (again.code, [(each["rows_from_cache"], each["rows_fetched"], each["complete"]) for each in facts]) == (
        0,
        [(1440, 0, True), (24, 0, True), (1440, 0, True), (24, 0, True)],
    )
    assert await exchange.log("klines") == []

    expected = await truth(exchange, "BTC/USDT", "1h")
    assert len(expected) == 24
    one = ("candles", "get", "binance", "BTC/USDT", "1h")
    lines = list(csv.reader(io.StringIO((await running.run(*one, "--format", "csv")).out)))
    assert lines[0] == ["timestamp", "open", "high", "low", "close", "volume"]
    assert [[float(value) for value in line] for line in lines[1:]] == expected
    assert lines[1][0] == str(SINCE)

    objects = [json.loads(line) for line in (await running.run(*one, "--format", "jsonl")).out.splitlines()]
    assert [list(map(float, each.values())) for each in objects] == expected

    file = tmp_path / "candles.parquet"
    parquet = await running.run("candles", "get", *what, "--format", "parquet", "--output", str(file))
    assert parquet.code == 0, parquet.err
    frame: Any = pandas.read_parquet(file)
    assert len(frame) == 2 * (1440 + 24)
    part = frame[(frame.symbol == "ETH/USDT") & (frame.timeframe == "1m")]
    assert part.drop(columns=["exchange", "symbol", "timeframe"]).to_numpy().tolist() == await truth(
        exchange, "ETH/USDT", "1m"
    )
    assert list(tmp_path.iterdir()) == [file]

    table = await running.run("candles", "get", "binance", "BTC/USDT", "1m", "--since", "2025-06-01T12:00")
    assert "2025-06-01 12:00" in table.out
    assert "680 rows of 720 not shown" in table.out
    some = await running.run(*one, "--format", "csv", "--since", "2025-06-01T12:00", "--limit", "2")
    assert len(some.out.splitlines()) == 3

    nothing = await running.run(*one, "--since", "2026-01-01")
    assert (nothing.code, nothing.out) == (3, "")
    assert "nothing is cached of binance BTC/USDT 1h in this range" in nothing.err

    listing = await running.run("candles", "list", "--json")
    assert [
        (each["symbol"], each["timeframe"], each["rows"], each["holes"]) for each in json.loads(listing.out)["keys"]
    ] == [
        ("BTC/USDT", "1m", 1440, 0),
        ("BTC/USDT", "1h", 24, 0),
        ("ETH/USDT", "1m", 1440, 0),
        ("ETH/USDT", "1h", 24, 0),
    ]
    for verb in ("list", "verify"):
        misspelt = await running.run("candles", verb, "binanse")
        assert (misspelt.code, misspelt.out) == (1, "")
        assert misspelt.err == "tickwire: nothing cached matches binanse; did you mean binance?\n"
    verified = await running.run("candles", "verify")
    assert verified.code == 0
    assert verified.out.count("clean") == 4

    # A reader that has seen enough is no error.
    piped = subprocess.run(
        f"{' '.join(TICKWIRE)} candles get binance BTC/USDT,ETH/USDT 1m --format csv | head -n 1",
        shell=True,
        env=running.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (piped.stdout, piped.stderr) == ("exchange,symbol,timeframe,timestamp,open,high,low,close,volume\n", "")
    for form in ("csv", "jsonl"):
        arguments = (*TICKWIRE, "candles", "get", "binance", "BTC/USDT,ETH/USDT", "1m", "--format", form)
        with subprocess.Popen(arguments, env=running.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
            assert reading.stdout is not None
            assert reading.stderr is not None
            reading.stdout.close()
            # `tickwire ... | head` is no failure, also where the shell has `set -o pipefail`.
            assert (reading.wait(timeout=100), reading.stderr.read()) == (0, b"")


@pytest.mark.parametrize(
    ("what", "code", "expected"),
    [
        (("binanse", "BTC/USDT", "1m"), 1, "binance"),
        (("binance", "BTC/USTD", "1m"), 1, "BTC/USDT"),
        (("binance", "BTC/USDT", "7m"), 2, "5m"),
    ],
)
async def test_what_the_exchange_does_not_have_is_refused_in_one_line(
    running: Command, what: tuple[str, ...], code: int, expected: str
) -> None:
    ended = await running.run("candles", "fetch", *what)
    assert (ended.code, ended.out) == (code, "")
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("tickwire: ")
    assert expected in ended.err


async def test_one_bad_name_among_good_ones_stops_only_itself(running: Command) -> None:
    ended = await running.run("candles", "fetch", "binance", "XRP/USDT,XRP/USTD", "1h", *DAY)
    assert ended.code == 1
    assert "XRP/USTD" in ended.err
    assert "complete" in ended.out


async def test_what_is_not_cached_is_said_plainly(running: Command) -> None:
    ended = await running.run("candles", "verify", "binance", "NOT/CACHED", "1m")
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1


async def test_ctrl_c_detaches_from_jobs_that_go_on_and_can_be_followed(
    running: Command, exchange: SimulatorProcess
) -> None:
    await exchange.forget_log()
    # The answer comes late: longer than the command takes to end, however busy the machine is.
    await exchange.fault("klines", "delay", seconds=15)
    try:
        arguments = ("candles", "fetch", "binance", "SOL/USDT", "1h", *DAY)
        async with command(running.folder, running.env, *arguments) as fetch:
            async with asyncio.timeout(100):
                while not await exchange.log("klines"):
                    await asyncio.sleep(0.05)
            assert await fetch.stop(signal.SIGINT) == 130
            await fetch.says("detached: 1 job")
    finally:
        await exchange.clear()
    job = fetch.lines[-1].rpartition("follow ")[2].rstrip("`")
    followed = await running.run("candles", "follow", job)
    assert followed.code == 0, followed.err
    assert followed.out.splitlines()[1].split()[:5] == ["binance", "SOL/USDT", "1h", "0", "24"]
    unknown = await running.run("candles", "follow", "no-such-job")
    assert unknown.code == 2
    assert "nothing is known of a job" in unknown.err


async def test_a_malformed_file_is_shown_and_only_an_explicit_repair_touches_it(running: Command) -> None:
    assert (await running.run("candles", "fetch", "binance", "DOGE/USDT", "1h", *DAY)).code == 0
    (file,) = (running.folder / "data" / "cache").glob("binance_DOGE-USDT_1h.csv")
    good = file.read_text()
    lines = good.splitlines(keepends=True)
    broken = "".join([*lines[:10], "what is this\n", *lines[10:]])
    file.write_text(broken)

    verified = await running.run("candles", "verify", "binance", "DOGE/USDT")
    assert verified.code == 1
    assert "11" in verified.out + verified.err
    assert file.read_text() == broken

    repaired = await running.run("candles", "repair", "binance", "DOGE/USDT", "1h")
    assert repaired.code == 0, repaired.err
    assert "kept 24 rows, dropped 1 line" in repaired.out
    assert file.read_text() == good
    assert (await running.run("candles", "verify", "binance", "DOGE/USDT", "1h")).code == 0
