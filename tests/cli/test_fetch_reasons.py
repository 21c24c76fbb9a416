"""`tickwire candles fetch` reports why the exchange fails: while it retries, and at once where a retry cannot help."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from nats.aio.msg import Msg

from cli.terminal import on_terminal
from support.commands import CONFIG, Command, command
from support.processes import SimulatorProcess, environment
from tickwire.bus.connection import connect
from tickwire.model import messages
from tickwire.model.messages import Job
from tickwire.settings import NatsSettings

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

DAY = ("--since", "2025-06-01", "--until", "2025-06-02")
VENUES = ("binance", "okx")
SLOW = """
[exchange.okx]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false }}
[exchange.kraken]
gateway = "http://nosuch.invalid:81"
[exchange.bybit]
gateway = "{tls}"
"""
"""The exchange's name has no address by RFC 6761; at the other, nobody speaks TLS."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, exchange: SimulatorProcess) -> AsyncIterator[Command]:
    """`tickwire up` that waits a while between attempts, as it does by default."""
    folder = tmp_path_factory.mktemp("up")
    config = folder / "slow.toml"
    text = CONFIG.format(gateway=exchange.url).replace("0.05", "1.0").replace("_s = 0.5", "_s = 4")
    tls = exchange.url.replace("http://", "https://")
    config.write_text(text + SLOW.format(gateway=exchange.url, tls=tls))
    env = environment(folder / "data", TICKWIRE_CONFIG=str(config))
    async with command(folder, env, "up") as started:
        await started.says("ready:")
        yield started


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def sound(exchange: SimulatorProcess) -> AsyncIterator[None]:
    """No fault stays for the next test."""
    yield
    await exchange.clear()


async def test_why_nothing_comes_is_said_once_while_it_happens_and_the_job_goes_on(
    running: Command, exchange: SimulatorProcess
) -> None:
    """In the job's messages, on standard error, and in the log of the fetcher."""
    heard: list[Job] = []
    before = len(running.lines)
    url = json.loads((running.folder / "data" / "run.json").read_text())["nats_url"]
    async with connect(NatsSettings(url=url), name="test") as bus:

        async def hear(message: Msg) -> None:
            heard.append(messages.decode(message.data, Job))

        await bus.subscribe("md.job.*", hear)
        await exchange.fault("klines", "status", code=503)
        arguments = ("candles", "fetch", "binance", "BTC/USDT", "1h", *DAY)
        async with command(running.folder, running.env, *arguments) as fetching:
            await fetching.says("503")
            (said,) = [line for line in fetching.lines if "503" in line]
            assert said.startswith("binance BTC/USDT 1h: ")
            assert "next try in" in said or "trying again" in said
            async with asyncio.timeout(100):
                while sum(bool(job.last_error) for job in heard) < 2:
                    await asyncio.sleep(0.05)
            await exchange.clear()
            async with asyncio.timeout(100):
                assert await fetching.process.wait() == 0
            assert sum("503" in line for line in fetching.lines) == 1
    failing = [job for job in heard if job.last_error]
    assert all("503" in job.last_error and job.state == "running" for job in failing)
    assert all(job.next_try_at is not None for job in failing)
    assert failing[-1].retries > failing[0].retries >= 1
    assert (heard[-1].state, heard[-1].last_error, heard[-1].next_try_at) == ("done", "", None)
    logged = [line for line in running.lines[before:] if "an exchange fails" in line and '"over' not in line]
    assert len(logged) == 1
    assert "503" in logged[0]


async def test_it_stands_below_the_bar_on_a_terminal(running: Command, exchange: SimulatorProcess) -> None:
    await exchange.fault("klines", "status", code=503)
    screen = await asyncio.to_thread(
        on_terminal, running.env, "candles", "fetch", "binance", "ETH/USDT", "1h", *DAY, width=160,
        enough=lambda text: "next try in" in text,
    )  # fmt: skip
    assert screen.code == 130
    assert "binance ETH/USDT 1h: " in screen.text
    assert "503" in screen.text


@pytest.mark.parametrize(("status", "remedy"), [(451, "location"), (403, "refuses this IP address")])
@pytest.mark.parametrize("exchange_id", VENUES)
async def test_a_refusal_of_whoever_asks_is_said_at_once(
    running: Command, exchange: SimulatorProcess, exchange_id: str, status: int, remedy: str
) -> None:
    """Asked once, though five attempts are made of what may pass."""
    await exchange.forget_log()
    endpoint = "history-candles" if exchange_id == "okx" else "klines"
    await exchange.fault(endpoint, "status", code=status)
    ended = await running.run("candles", "fetch", exchange_id, "SOL/USDT", "1h", *DAY)
    assert ended.code == 1, ended.err
    assert str(status) in ended.err
    assert remedy in ended.err
    # Jobs of tests before may still try again.
    asked = [
        each
        for each in await exchange.log("history-candles" if exchange_id == "okx" else "klines")
        if "SOL" in str(each)
    ]
    assert len(asked) == 1


async def test_a_403_that_asks_for_patience_is_tried_again(running: Command, exchange: SimulatorProcess) -> None:
    await exchange.fault("klines", "status", code=403, body="access too frequent", count=1)
    ended = await running.run("candles", "fetch", "binance", "XRP/USDT", "1h", *DAY)
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("exchange_id", "symbol", "expected"),
    [("kraken", "BTC/USD", "its name has no address here"), ("bybit", "BTC/USDT", "TLS cannot be agreed on with it")],
)
async def test_no_network_and_no_tls_are_said_after_one_repetition(
    running: Command, exchange_id: str, symbol: str, expected: str
) -> None:
    began = time.monotonic()
    ended = await running.run("candles", "fetch", exchange_id, symbol, "1h", *DAY)
    assert ended.code == 1
    assert expected in ended.err
    assert "(after 2 attempts)" in ended.err
    assert f"exchange.{exchange_id}.ccxt" in ended.err
    # Five attempts, as of what may pass, take ten seconds by the waits alone.
    assert time.monotonic() - began < 60
