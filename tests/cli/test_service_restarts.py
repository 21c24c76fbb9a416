"""Commands and programs outlive a restart of the service that they wait for."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from support.pipeline import Pipeline
from support.processes import TICKWIRE
from tickwire.client import Client, connect
from tickwire.process import children

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

DAY = 86_400_000


@asynccontextmanager
async def command(line: Pipeline, *arguments: str, **variables: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *TICKWIRE, *arguments, env=line.env | variables, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        await children.end(process)


async def says(process: Process, text: str) -> None:
    """Wait until a command says so on standard error."""
    assert process.stderr is not None
    async with asyncio.timeout(100):
        while text not in (said := (await process.stderr.readline()).decode()):
            assert said, f"ended without saying {text!r}"


async def ended(process: Process) -> tuple[int, str, str]:
    async with asyncio.timeout(100):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def a_day(line: Pipeline) -> tuple[int, int]:
    """The day that ended an hour ago by the exchange's clock (ms): as long however many minutes begin meanwhile."""
    until = (await line.simulator.clock())["now"] // 60_000 * 60_000 - 3_600_000
    return until - DAY, until


async def span(line: Pipeline) -> list[str]:
    """The same day as options of a command."""
    since, until = await a_day(line)
    return ["--since", str(since), "--until", str(until)]


async def test_fetches_go_on_when_their_fetcher_was_killed_and_comes_back(line: Pipeline) -> None:
    await line.simulator.fault("klines", "hang")
    arguments = ["candles", "fetch", "binance", "T011/USDT", "1m", *await span(line), "--json"]
    async with command(line, *arguments) as one, command(line, *arguments[:3], "T012/USDT", *arguments[4:]) as two:
        async with asyncio.timeout(100):
            while len(await line.simulator.log("klines")) < 2:
                await asyncio.sleep(0.05)
        await line.kill("fetcher")
        for each in (one, two):
            await says(each, "no fetcher is running; waiting for it up to 60 s")
        await line.simulator.clear()
        await line.start("fetcher")
        for each in (one, two):
            code, out, err = await ended(each)
            assert (code, "a fetcher answers again" in err) == (0, True), err
            (job,) = json.loads(out)
            assert (job["state"], job["complete"], job["rows_fetched"]) == ("done", True, 1440)


async def test_a_command_that_comes_before_its_service_waits_for_it(line: Pipeline) -> None:
    day = await span(line)
    await line.stop("fetcher")
    async with command(line, "candles", "fetch", "binance", "T013/USDT", "1m", *day) as fetch:
        await says(fetch, "no fetcher is running; waiting for it up to 60 s")
        await line.start("fetcher")
        assert (await ended(fetch))[0] == 0
    await line.stop("cache")
    async with command(line, "candles", "get", "binance", "T013/USDT", "1m", "--format", "csv") as get:
        await says(get, "no cache is running; waiting for it up to 60 s")
        await line.start("cache")
        code, out, _ = await ended(get)
        assert (code, len(out.splitlines())) == (0, 1441)


async def test_a_fetch_that_no_fetcher_comes_for_says_how_to_follow_it(line: Pipeline) -> None:
    await line.simulator.fault("klines", "hang")
    day = await span(line)
    asked = len(await line.simulator.log("klines"))
    fetching = ("candles", "fetch", "binance", "T014/USDT", "1m", *day)
    async with command(line, *fetching, TICKWIRE_NATS_PATIENCE_S="1") as process:
        async with asyncio.timeout(100):
            while len(await line.simulator.log("klines")) == asked:
                await asyncio.sleep(0.05)
        await line.kill("fetcher")
        code, _, err = await ended(process)
    assert code == 1
    assert "no fetcher is running" in err
    follow = err.rpartition("`tickwire ")[2].partition("`")[0].split()
    assert follow[:2] == ["candles", "follow"]
    await line.simulator.clear()
    await line.start("fetcher")
    async with command(line, *follow) as following:
        assert (await ended(following))[0] == 0


async def test_a_program_waits_for_the_service_it_asks(line: Pipeline) -> None:
    since, until = await a_day(line)
    await line.stop("fetcher")
    async with connect(line.bus.url) as client:
        away = asyncio.Event()
        client.bus.service_wait.report = lambda _: away.set()
        asked = asyncio.create_task(frame(client, since, until))
        async with asyncio.timeout(100):
            await away.wait()
        assert not asked.done()
        await line.start("fetcher")
        async with asyncio.timeout(100):
            assert await asked == 1440


async def frame(client: Client, since: int, until: int) -> int:
    return len(await client.candles("binance", "T015/USDT", "1m", since, until))


async def test_a_watch_that_comes_before_its_streamer_waits_for_it(line: Pipeline) -> None:
    await line.stop("streamer")
    async with command(line, "watch", "trade", "binance", "T016/USDT", "--count", "3", "--json") as watch:
        await says(watch, "no streamer is running; waiting for it up to 60 s")
        await line.start("streamer")
        code, out, _ = await ended(watch)
        assert (code, len(out.splitlines())) == (0, 3)


async def test_ps_outlives_a_restart_of_the_streamer(line: Pipeline) -> None:
    """With `--watch` however long it takes; once, it waits as every command."""
    async with command(line, "ps", "--watch", "--json") as watch:
        assert watch.stdout is not None
        async with asyncio.timeout(100):
            assert "feeds" in json.loads(await watch.stdout.readline())
        await line.kill("streamer")
        await says(watch, "no streamer is running")
        async with command(line, "ps", "--json") as once:
            await says(once, "no streamer is running; waiting for it up to 60 s")
            await line.start("streamer")
            code, out, err = await ended(once)
            assert (code, "feeds" in json.loads(out)) == (0, True), err
        await says(watch, "a streamer answers again")
        async with asyncio.timeout(100):
            assert "feeds" in json.loads(await watch.stdout.readline())
