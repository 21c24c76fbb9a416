"""`tickwire jobs list` and `jobs cancel` beside running services."""

from __future__ import annotations

import asyncio
import json

import pytest

from support.pipeline import Pipeline
from support.processes import tickwire
from tickwire.errors import JobParked
from tickwire.model import messages, subjects
from tickwire.model.messages import ErrorReply, Job
from tickwire.model.subjects import Key

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

DAY = 86_400_000


async def day(line: Pipeline) -> tuple[int, int]:
    now: int = (await line.simulator.clock())["now"]
    return now // DAY * DAY - DAY, now // DAY * DAY


async def test_jobs_are_listed_and_cancelled_by_their_ids(line: Pipeline) -> None:
    since, until = await day(line)
    await line.simulator.fault("klines", "hang")
    running = await line.submit(Key("binance", "T021/USDT", "1m"), since, until)
    waiting = await line.submit(Key("binance", "T021/USDT", "1m"), since, until)
    async with asyncio.timeout(100):
        while not await line.simulator.log("klines"):
            await asyncio.sleep(0.05)
    listed = await tickwire(line.env, "jobs", "list")
    assert listed.code == 0, listed.err
    rows = {row.split()[0]: row.split() for row in listed.out.splitlines()}
    assert rows[running.id][1:5] == ["binance", "T021/USDT", "1m", "running"]
    assert rows[waiting.id][4] == "queued"
    done = await tickwire(line.env, "jobs", "cancel", waiting.id, running.id, "never-was", "--json")
    assert done.code == 1
    assert done.err.splitlines() == [
        "tickwire: never-was: nothing is known of a job 'never-was'; see `tickwire jobs list`"
    ]
    ended = json.loads(done.out)["jobs"]
    assert [(job["id"], job["state"], job["error"]["code"]) for job in ended] == [
        (waiting.id, "failed", "cancelled"),
        (running.id, "failed", "cancelled"),
    ]
    assert [job["missing"] for job in ended] == [[[since, until]], [[since, until]]]
    await line.simulator.clear()
    after = await tickwire(line.env, "jobs", "list", "--json")
    states = {job["id"]: job["state"] for job in json.loads(after.out)["jobs"]}
    assert (states[running.id], states[waiting.id]) == ("failed", "failed")


async def test_a_cancelled_fetch_ends_its_command_with_the_reason(line: Pipeline) -> None:
    since, until = await day(line)
    await line.simulator.fault("klines", "hang")
    asked = len(await line.simulator.log("klines"))
    arguments = ("candles", "fetch", "binance", "T022/USDT", "1m", "--since", str(since), "--until", str(until))
    fetch = asyncio.create_task(tickwire(line.env, *arguments, timeout_s=100))
    async with asyncio.timeout(100):
        while len(await line.simulator.log("klines")) == asked:
            await asyncio.sleep(0.05)
    found = json.loads((await tickwire(line.env, "jobs", "list", "--json")).out)["jobs"]
    (job,) = [job["id"] for job in found if job["symbol"] == "T022/USDT"]
    assert (await tickwire(line.env, "candles", "cancel", job)).code == 0
    ended = await fetch
    assert ended.code == 1
    assert f"binance T022/USDT 1m: job {job} was cancelled; what it had stored is kept" in ended.err
    await line.simulator.clear()


async def test_a_parked_job_is_listed_with_the_reason_and_a_done_one_only_if_asked_for(line: Pipeline) -> None:
    since, until = await day(line)
    done = await line.submit(Key("binance", "T023/USDT", "1h"), since, until)
    assert (await done.result()).state == "done"
    error = ErrorReply(code=JobParked.code, message="job parked-one was given up", remedy="see the fetcher's log")
    parked = Job(
        id="parked-one",
        exchange="binance",
        symbol="T024/USDT",
        timeframe="1m",
        state="failed",
        since=since,
        until=until,
        error=error,
        crashes=2,
    )
    await line.bus.append(subjects.job("parked-one"), messages.encode(parked), message_id="parked-one.test")
    listed = await tickwire(line.env, "jobs", "list")
    rows = {row.split()[0]: row.split() for row in listed.out.splitlines()}
    assert rows["parked-one"][1:5] == ["binance", "T024/USDT", "1m", "parked"]
    assert "tickwire: parked-one: job parked-one was given up" in listed.err
    assert done.id not in rows
    everything = await tickwire(line.env, "jobs", "list", "--all")
    assert f"{done.id} " in everything.out
