"""A venue that sends malformed frames: they are reported, and the stream continues."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from support.processes import SimulatorProcess, running_simulator
from support.venues import BTC, PATHS, Memory, counted, venue_at
from tickwire.exchange.ccxt_patches.socket_hooks import Hooks
from tickwire.model.feeds import Feed

pytestmark = pytest.mark.actors

RATE = 800
"""Trades of each symbol a second."""


async def test_a_malformed_frame_is_told_and_the_stream_goes_on(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url) as venue, venue.watching(BTC, memory):
        await memory.get(10)
        await exchange.fault("stream", "ws_malformed", count=2)
        await exchange.fault("stream", "ws_malformed", count=1, text='{"neither":')
        await memory.until(lambda: memory.told.count("rejected") == 3)
        await memory.get(len(memory.items) + 50)
        assert venue.router.rejected == 3
    counted(memory.items)
    assert memory.told == ["connected", "rejected", "rejected", "rejected"]


@pytest.mark.parametrize("hooks", [PATHS["typed"], PATHS["resolve"]], ids=["typed", "resolve"])
async def test_an_error_message_of_the_exchange_is_told_and_the_stream_goes_on(
    exchange: SimulatorProcess, hooks: Hooks
) -> None:
    memory = Memory()
    async with venue_at(exchange.url, hooks=hooks) as venue, venue.watching(BTC, memory):
        await memory.get(10)
        error = json.dumps({"error": {"code": 2, "msg": "Invalid request: no reason"}})
        await exchange.fault("stream", "ws_malformed", count=1, text=error)
        await memory.until(lambda: "rejected" in memory.told)
        await memory.get(len(memory.items) + 50)
    counted(memory.items)
    assert memory.told == ["connected", "rejected"]
    assert "Invalid request: no reason" in memory.reasons[1]


@pytest.mark.parametrize("hooks", PATHS.values(), ids=PATHS.keys())
async def test_a_sink_that_raises_is_told_and_gets_the_next_ones(exchange: SimulatorProcess, hooks: Hooks) -> None:
    class Clumsy(Memory):
        def take(self, items: Sequence[Any], received: int) -> None:
            if not self.told.count("rejected"):
                raise ZeroDivisionError("clumsy")
            super().take(items, received)

    memory = Clumsy()
    async with venue_at(exchange.url, hooks=hooks) as venue, venue.watching(BTC, memory):
        counted(await memory.get(50))
    assert memory.told == ["connected", "rejected"]
    assert "clumsy" in memory.reasons[1]


@pytest.mark.parametrize("hooks", PATHS.values(), ids=PATHS.keys())
async def test_a_cut_is_told_at_once_and_data_comes_again(exchange: SimulatorProcess, hooks: Hooks) -> None:
    memory = Memory()
    async with venue_at(exchange.url, hooks=hooks) as venue, venue.watching(BTC, memory):
        for cut in range(1, 4):
            await memory.get(len(memory.items) + 10)
            await exchange.fault("stream", "ws_cut", seconds=0.3)
            await memory.until(lambda: memory.told.count("connected") == cut + 1)  # noqa: B023
            await memory.get(len(memory.items) + 10)
    assert memory.told == ["connected"] + ["disconnected", "connected"] * 3


async def test_all_feeds_of_a_socket_are_told_of_its_end(exchange: SimulatorProcess) -> None:
    memories = [Memory(), Memory()]
    async with venue_at(exchange.url) as venue:
        venue.rest.options["streamLimits"]["spot"] = 1
        async with venue.watching(BTC, memories[0]), venue.watching(BTC._replace(symbol="ETH/USDT"), memories[1]):
            for memory in memories:
                await memory.get(5)
            await exchange.fault("stream", "ws_cut", seconds=0.2)
            for memory in memories:
                await memory.until(lambda: memory.told == ["connected", "disconnected", "connected"])  # noqa: B023


async def test_a_silent_socket_is_opened_again(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url, silence_s=0.5) as venue, venue.watching(BTC, memory):
        await memory.get(10)
        await exchange.fault("stream", "ws_silent")
        await memory.until(lambda: "disconnected" in memory.told)
        assert "silent for" in memory.reasons[1]
        await exchange.clear()
        await memory.until(lambda: memory.told[-1] == "connected")
        await memory.get(len(memory.items) + 10)


async def test_a_silent_socket_does_not_answer_and_a_quiet_one_does_at_once() -> None:
    ether = Feed("trade", "binance", "ETH/USDT")
    async with running_simulator("--live-rate", "0.01") as exchange:
        bitcoins, ethers = Memory(), Memory()
        async with venue_at(exchange.url) as venue, venue.watching(BTC, bitcoins), venue.watching(ether, ethers):
            assert not await venue.answering([Feed("trade", "binance", "XRP/USDT")], now())
            await bitcoins.until(lambda: bitcoins.told == ["connected"])
            await ethers.until(lambda: ethers.told == ["connected"])
            assert await venue.answering([ether, Feed("trade", "binance", "XRP/USDT"), BTC], now()) == [ether, BTC]
            await exchange.fault("stream", "ws_silent")
            assert not await venue.answering([BTC], now() + 1)
            await exchange.clear()
            assert await venue.answering([BTC], now() + 1) == [BTC]


def now() -> int:
    """The monotonic clock, ms."""
    return int(time.monotonic() * 1000)


async def test_a_feed_that_falls_silent_on_a_living_socket_is_subscribed_again() -> None:
    async with running_simulator("--live-rate", "0.01") as exchange:
        memory = Memory()
        async with venue_at(exchange.url, feed_silence_s=0.5) as venue, venue.watching(BTC, memory):
            await memory.until(lambda: memory.told[:3] == ["connected", "disconnected", "connected"])
        assert "silent for" in memory.reasons[1]
        events = [entry["event"] for entry in await exchange.log("/ws/") if entry.get("streams")]
        assert events[:3] == ["subscribe", "unsubscribe", "subscribe"]


async def test_a_book_may_be_silent_for_a_shorter_time_than_its_socket(exchange: SimulatorProcess) -> None:
    memory = Memory()
    book = Feed("book", "binance", "BTC/USDT")
    async with venue_at(exchange.url, book_silence_s=0.5) as venue, venue.watching(book, memory):
        await memory.get(1)
        await exchange.fault("stream", "ws_silent")
        await memory.until(lambda: "disconnected" in memory.told)
        assert "silent for" in memory.reasons[1]
        await exchange.clear()


async def test_a_socket_that_only_answers_pings_is_alive() -> None:
    async with running_simulator("--live-rate", "0.01") as exchange:
        memory = Memory()
        async with venue_at(exchange.url, silence_s=1.0) as venue, venue.watching(BTC, memory):
            await memory.until(lambda: memory.told == ["connected"])
            with pytest.raises(AssertionError, match="did not come"):
                await memory.until(lambda: len(memory.told) > 1, timeout_s=2.5)


async def test_a_subscription_that_the_exchange_refuses_is_asked_for_again(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url) as venue, venue.watching(BTC, memory):
        await memory.get(10)
        # The first request on this socket had the id 1.
        refusal = json.dumps({"error": {"code": 2, "msg": "Invalid request: too many streams"}, "id": 1})
        await exchange.fault("stream", "ws_malformed", count=1, text=refusal)
        await memory.until(lambda: memory.told == ["connected", "disconnected", "connected"])
        await memory.get(len(memory.items) + 10)
    assert "too many streams" in memory.reasons[1]
