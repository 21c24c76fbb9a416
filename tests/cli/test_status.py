"""`tickwire status`: on a terminal, where the broker is silent, with jobs nobody has spoken of."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from cli.terminal import Lines, on_terminal, pictures
from support import brokers
from support.commands import command, up
from support.processes import environment, running_simulator, tickwire
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.client import survey as status_survey
from tickwire.model import messages, subjects
from tickwire.model.messages import FetchRequest, Job

pytestmark = pytest.mark.system


@pytest.mark.parametrize("feeds", [10, 80])
async def test_a_small_terminal_shows_every_stream_and_counts_feeds_that_do_not_fit(feeds: int, tmp_path: Path) -> None:
    async with running_simulator("--symbols", "100") as exchange, up(tmp_path, exchange) as running:
        names = ",".join(f"T{number:03}/USDT" for number in range(1, feeds + 1))
        assert (await running.run("start", "ticker", "binance", names)).code == 0
        facts = json.loads((await running.run("status", "--json")).out)
        screen = await asyncio.to_thread(
            on_terminal, running.env, "status", "--watch", height=24, width=100,
            enough=lambda text: len(pictures(text)) > 3,
        )  # fmt: skip
    assert screen.code == 130, screen.text
    picture = pictures(screen.text)[2]
    assert len(picture) <= 24
    assert max(map(len, picture)) <= 100
    words = " ".join(picture).split()
    for each in facts["streams"]:
        assert each["stream"] in words
    for each in facts["services"]:
        assert words.count(each["instance"]) >= 1
    # Nothing is cut: of the leases that one instance holds fewer are named.
    assert re.search("^leases of +holder +number +since +which", "\n".join(picture), re.M)
    assert not any("…" in line for line in picture)
    shown = sum("ticker binance T" in line for line in picture)
    (more,) = [int(line.split()[1]) for line in picture if re.fullmatch(r"and \d+ more *", line)]
    assert shown > 0
    assert shown + more == feeds


async def test_the_pace_of_a_feed_is_its_messages_over_the_time_that_passed(tmp_path: Path) -> None:
    async with running_simulator("--live-rate", "20") as exchange, up(tmp_path, exchange) as running:
        assert (await running.run("start", "trade", "binance", "BTC/USDT")).code == 0
        async with command(running.folder, running.env, "status", "--watch") as watching:
            lines = Lines(watching)
            seen: list[tuple[float, int, float]] = []
            while len(seen) < 5:
                row = (await lines.until("^trade binance BTC/USDT +live ")).split()
                if row[8] != "-":
                    seen.append((time.monotonic(), int(row[7].replace(",", "")), float(row[8])))
            assert await watching.stop(signal.SIGINT) == 130
    ratios = [
        pace / ((counted - before) / (at - earlier)) for (earlier, before, _), (at, counted, pace) in pairwise(seen)
    ]
    assert statistics.median(ratios) == pytest.approx(1, abs=0.1)


@asynccontextmanager
async def declared(folder: Path) -> AsyncIterator[tuple[brokers.Server, dict[str, str]]]:
    """A broker with all streams, and the environment of its operator."""
    async with brokers.serving(folder / "nats") as server:
        env = environment(folder, **brokers.variables_of(server.url, "operator"))
        assert (await tickwire(env, "declare")).code == 0
        yield server, env


async def test_while_the_broker_is_silent_watching_says_so_and_goes_on(tmp_path: Path) -> None:
    """For longer than one call to JetStream may take, 5 s."""
    async with declared(tmp_path) as (server, env):
        async with command(tmp_path, env, "status", "--watch") as watching:
            lines = Lines(watching)
            await lines.until("^stream ")
            server.suspend()
            await watching.says("tickwire: the broker does not answer (3 s)")
            await watching.says("tickwire: the broker does not answer (9 s)")
            server.resume()
            await lines.until("^TRADES ")
            assert await watching.stop(signal.SIGINT) == 130
        assert "Traceback" not in "\n".join(watching.lines)


async def test_while_the_broker_is_gone_watching_says_so_and_goes_on_with_the_next_one(tmp_path: Path) -> None:
    async with declared(tmp_path) as (server, env):
        async with command(tmp_path, env, "status", "--watch", "--json") as watching:
            lines = Lines(watching)
            await lines.until("TRADES")
            await server.kill()
            await watching.says("does not answer (3 s)")
            await server.start()
            await lines.until("TRADES")
            assert await watching.stop(signal.SIGINT) == 130
        assert "Traceback" not in "\n".join(watching.lines)


async def test_on_a_terminal_the_last_state_stays_below_that_the_broker_is_silent(tmp_path: Path) -> None:
    async with declared(tmp_path) as (server, env):

        def silent(text: str) -> bool:
            if len(pictures(text)) == 2:
                server.suspend()
            if found := "does not answer (3 s)" in text:
                server.resume()
            return found

        screen = await asyncio.to_thread(on_terminal, env, "status", "--watch", enough=silent, height=24)
    assert screen.code == 130, screen.text
    picture = pictures(screen.text)[2]
    assert re.match(r"(the broker|a service) does not answer \(3 s\)", picture[0])
    assert picture[1].startswith("broker  nats://")
    assert "TRADES" in " ".join(picture).split()
    assert len(picture) <= 24


async def test_what_is_asked_once_waits_for_a_silent_broker_too(tmp_path: Path) -> None:
    async with (
        brokers.serving(tmp_path / "nats") as server,
        connect(brokers.as_user(server.url, "operator"), name="test") as bus,
    ):
        await streams.declare(bus.jetstream, 8, 2.0)
        server.suspend()
        # Longer than one call to JetStream may take, 5 s.
        asyncio.get_running_loop().call_later(6, server.resume)
        found = await status_survey.collect(bus)
    assert "TRADES" in [each.stream for each in found.streams]


async def test_a_job_that_nobody_has_spoken_of_hides_no_other(bus: Bus) -> None:
    first = FetchRequest(id="first", exchange="binance", symbol="BTC/USDT", timeframe="1h", since=0, until=7_200_000)
    second = msgspec.structs.replace(first, id="second", symbol="ETH/USDT")
    for request in (first, second):
        await bus.append(subjects.jobs("binance"), messages.encode(request), message_id=str(request.id))
    running = Job(
        id="second", exchange="binance", symbol="ETH/USDT", timeframe="1h", state="running", since=0, until=7_200_000,
        rows_fetched=1,
    )  # fmt: skip
    await bus.append(subjects.job("second"), messages.encode(running), message_id="one")
    found = (await status_survey.collect(bus)).jobs
    assert [(job.id, job.state, job.key.symbol) for job in found] == [
        ("first", "queued", "BTC/USDT"),
        ("second", "running", "ETH/USDT"),
    ]


async def test_a_job_whose_id_cannot_be_hides_no_others(bus: Bus) -> None:
    """On a broker without fetchers, so that both jobs stay in the queue."""
    for job_id in ("no id", "sound"):
        request = FetchRequest(exchange="binance", symbol="A/B", timeframe="1m", since=0, until=60_000, id=job_id)
        await bus.append(subjects.jobs("binance"), messages.encode(request), message_id=job_id)
    found = (await status_survey.collect(bus)).jobs
    assert [(job.id, job.state) for job in found] == [("sound", "queued")]
