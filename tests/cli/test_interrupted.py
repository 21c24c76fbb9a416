"""Ctrl-C while a service has a command's request and does not answer: the command ends at once."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from support.commands import command
from support.processes import environment
from tickwire.bus.connection import Bus

pytestmark = pytest.mark.actors


@pytest.mark.parametrize(
    ("subject", "arguments"),
    [
        ("archive.days", ("archive", "days", "binance", "BTC/USDT")),
        ("archive.days", ("trades", "get", "okx", "BTC/USDT:USDT", "--since", "1h")),
        ("cache.list", ("candles", "list")),
        ("cache.verify", ("candles", "verify", "binance", "BTC/USDT", "1h")),
    ],
)
async def test_ctrl_c_ends_a_command_whose_request_is_not_answered(
    bus: Bus, tmp_path: Path, subject: str, arguments: tuple[str, ...]
) -> None:
    asked = asyncio.Event()

    async def take(_: Msg) -> None:
        asked.set()

    async with bus.subscribed(subject, take), asyncio.timeout(100):
        await bus.client.flush()
        async with command(tmp_path, environment(tmp_path, TICKWIRE_NATS_URL=bus.url), *arguments) as running:
            await asked.wait()
            assert await running.stop(signal.SIGINT) == 130
    assert running.lines == []
