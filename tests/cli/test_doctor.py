"""`tickwire doctor` against a simulated exchange, sound and with each step broken."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from support.ports import free_port
from support.processes import SimulatorProcess, environment, running_simulator, tickwire

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

STEPS = ["dns", "tcp", "tls", "markets", "clock", "candles", "websocket", "subscription"]
CONFIG = """
[exchange.{exchange}]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false, options = {{ fetchMarkets = {{ types = ["spot"] }} }} }}
"""


@pytest_asyncio.fixture(loop_scope="module")
async def exchange() -> AsyncIterator[SimulatorProcess]:
    """A simulated exchange."""
    async with running_simulator("--live-rate", "20") as process:
        yield process


async def doctor(folder: Path, gateway: str, exchange: str = "binance") -> tuple[int, list[dict[str, Any]], str]:
    """Its exit code, the steps, and what it says."""
    config = folder / "tickwire.toml"
    config.write_text(CONFIG.format(exchange=exchange, gateway=gateway))
    env = environment(folder / "data", TICKWIRE_CONFIG=str(config))
    ended = await tickwire(env, "doctor", exchange, "--json")
    return ended.code, json.loads(ended.out)["steps"] if ended.out else [], ended.err


def states(steps: list[dict[str, Any]]) -> dict[str, str]:
    """The state of each step."""
    return {each["step"]: each["state"] for each in steps}


@pytest.mark.parametrize("exchange_id", ["binance", "okx"])
async def test_each_step_is_fine_where_the_exchange_is(
    exchange: SimulatorProcess, tmp_path: Path, exchange_id: str
) -> None:
    code, steps, said = await doctor(tmp_path, exchange.url, exchange_id)
    assert (code, states(steps)) == (0, dict.fromkeys(STEPS, "fine")), (steps, said)


async def broken(exchange: SimulatorProcess, step: str) -> str:
    """Break a step; the gateway to use."""
    if step == "dns":
        return "http://nosuch.invalid:81"
    if step == "tcp":
        return f"http://127.0.0.1:{free_port()}"
    if step == "tls":
        return exchange.url.replace("http://", "https://")
    if step == "clock":
        await exchange.clock(advance=3_600_000)
    elif step == "subscription":
        await exchange.fault("", "ws_deaf")
    else:
        match = {"markets": "exchangeInfo", "candles": "klines", "websocket": "/ws"}[step]
        await exchange.fault(match, "status", code=451 if step == "candles" else 503)
    return exchange.url


@pytest.mark.parametrize(
    ("step", "remedy"),
    [
        ("dns", "DNS of this machine"),
        ("tcp", "gateway"),
        ("tls", "between this machine and it"),
        ("markets", "try again"),
        ("clock", "NTP"),
        ("candles", "location"),
        ("websocket", "try again"),
        ("subscription", "try again"),
    ],
)
async def test_the_step_that_fails_is_named_with_its_remedy(
    exchange: SimulatorProcess, tmp_path: Path, step: str, remedy: str
) -> None:
    gateway = await broken(exchange, step)
    code, steps, said = await doctor(tmp_path, gateway)
    assert code == 1, (steps, said)
    found = states(steps)
    assert [name for name, state in found.items() if state == "failed"] == [step], steps
    at = STEPS.index(step)
    assert all(found[each] == "fine" for each in STEPS[:at])
    later = "fine" if step in ("clock", "candles") else "skipped"
    assert all(found[each] == later for each in STEPS[at + 1 :])
    assert remedy in steps[at]["remedy"]


async def test_people_get_a_line_for_each_step_and_one_with_the_remedy(tmp_path: Path) -> None:
    config = tmp_path / "tickwire.toml"
    config.write_text(CONFIG.format(exchange="binance", gateway="http://nosuch.invalid:81"))
    env = environment(tmp_path / "data", TICKWIRE_CONFIG=str(config))
    ended = await tickwire(env, "doctor", "binance")
    assert ended.code == 1
    assert [line.split()[:2] for line in ended.out.splitlines()] == [
        [step, "failed" if step == "dns" else "skipped"] for step in STEPS
    ]
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("tickwire: dns: its name has no address here")
    unknown = await tickwire(env, "doctor", "binanse")
    assert unknown.code == 1
    assert "binance" in unknown.err
