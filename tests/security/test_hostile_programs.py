"""A program that may do little sends what cannot be decoded: every service goes on, on deploy/nats/secure.conf."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import nats.errors
import pytest

from security.secured_pipeline import declared, secured
from support.hostile import GARBAGE
from support.processes import running_simulator

pytestmark = pytest.mark.faults

SERVICES = ("cache", "fetcher", "streamer")
PERMITTED = (
    "cache.get",
    "cache.coverage",
    "cache.list",
    "cache.verify",
    "fetcher.fetch",
    "fetcher.cancel",
    "fetcher.markets",
    "streamer.start",
    "streamer.stop",
    "streamer.list",
    "streamer.market",
)
"""What deploy/nats/accounts.conf lets `desk` request; `test_permissions.py` has what it refuses."""
KEY = b'{"exchange":"binance","symbol":"BTC/USDT","timeframe":"1h"}'


async def test_whatever_a_program_sends_ends_no_service_and_is_answered_in_one_line(tmp_path: Path) -> None:
    async with (
        declared(tmp_path / "nats") as server,
        running_simulator() as simulator,
        secured(server, simulator, tmp_path, SERVICES) as line,
    ):
        before = {name: program.process.pid for name, program in line.running.items()}
        client = line.bus.client
        for garbage in GARBAGE:
            answers = await asyncio.gather(
                *(client.request(subject, garbage, timeout=100) for subject in PERMITTED), return_exceptions=True
            )
            for subject, answer in zip(PERMITTED, answers, strict=True):
                assert not isinstance(answer, nats.errors.Error | TimeoutError), (subject, garbage[:40], answer)
                assert not isinstance(answer, BaseException), answer
                said = json.loads(answer.data)
                # Empty fields suit a request for everything.
                assert "code" in said or subject in ("cache.list", "streamer.list"), (subject, garbage[:40], said)
        assert {name: program.process.pid for name, program in line.running.items()} == before
        assert all(program.process.returncode is None for program in line.running.values())
        assert b'"verified":[]' in (await client.request("cache.coverage", KEY, timeout=60)).data
        found = json.loads((await client.request("streamer.market", KEY, timeout=60)).data)
        assert found["base"] == "BTC"
