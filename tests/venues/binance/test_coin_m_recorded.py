"""Messages of the simulator's COIN-M futures beside recorded ones: the same fields, types and forms of numbers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulator.asking import RECORDED, connected, form, samples
from support.simulated import simulated

pytestmark = [
    pytest.mark.golden,
    pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded messages are not there"),
]


async def made(stream: str) -> Any:
    """The simulator's first message of a stream."""
    async with (
        simulated(now=1_750_000_030_500, speed=1, live_rate=50) as running,
        connected(running, f"dstream.binance.com/stream?streams={stream}") as connection,
        asyncio.timeout(100),
    ):
        return (await connection.receive_json())["data"]


@pytest.mark.parametrize(
    ("event", "stream"),
    [("depthUpdate", "depth@100ms"), ("bookTicker", "bookTicker"), ("24hrTicker", "ticker"), ("trade", "trade")],
)
async def test_messages_have_the_recorded_form(event: str, stream: str) -> None:
    found = (each["message"].get("data", {}) for each in samples("binancecoinm"))
    theirs = next(each for each in found if each.get("e") == event)
    ours = await made(f"btcusd_perp@{stream}")
    # The sides of a book may be empty.
    assert {name: form(value) for name, value in ours.items() if value != []} == {
        name: form(value) for name, value in theirs.items() if ours[name] != []
    } | {name: form(ours[name]) for name in ours if theirs[name] == [] and ours[name] != []}
    if event == "depthUpdate":
        assert all(size.isdigit() for side in "ba" for _, size in ours[side])
