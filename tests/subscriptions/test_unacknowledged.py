"""A subscription that the exchange does not hear is made again: there is a deadline for its acknowledgement.

In markets so quiet that no data could prove it, while pings are answered.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from subscriptions import standins
from support.processes import SimulatorProcess, running_simulator
from support.venues import Memory, venue_at
from tickwire.model.feeds import Feed
from tickwire.streamer.subscriptions.live_venue import open_live_venue

pytestmark = pytest.mark.actors


QUIET = ("--live-rate", "0.01")


async def subscribed(simulator: SimulatorProcess) -> list[str]:
    """By the exchange's own account."""
    return sorted(name for socket in await simulator.sockets() for name in socket["streams"])


@pytest.mark.parametrize(
    ("exchange", "streams"), [("binance", ["btcusdt@aggTrade"]), ("okx", ["trades:BTC-USDT"])], ids=["binance", "okx"]
)
async def test_a_subscription_that_is_not_heard_is_made_again_and_says_so(exchange: str, streams: list[str]) -> None:
    async with running_simulator(*QUIET) as simulator:
        await simulator.fault("", "ws_deaf", count=2)
        memory = Memory()
        async with (
            venue_at(simulator.url, exchange, acknowledge_s=0.3) as venue,
            venue.watching(Feed("trade", exchange, "BTC/USDT"), memory),
        ):
            await memory.until(lambda: memory.told[-1:] == ["connected"])
            assert memory.told == ["disconnected", "connected"]
            assert "did not acknowledge the subscription within 0.3 s" in memory.reasons[0]
            assert await subscribed(simulator) == streams
            assert await simulator.faults() == []


async def test_neighbours_on_the_socket_do_not_notice() -> None:
    async with running_simulator(*QUIET) as simulator:
        await simulator.fault("ETH-USDT", "ws_deaf", count=4)
        others, memory = [Memory(), Memory()], Memory()
        async with (
            venue_at(simulator.url, "okx", acknowledge_s=0.2) as venue,
            AsyncExitStack() as stack,
        ):
            for other, symbol in zip(others, ("BTC/USDT", "SOL/USDT"), strict=True):
                await stack.enter_async_context(venue.watching(Feed("trade", "okx", symbol), other))
                await other.until(lambda: other.told == ["connected"])  # noqa: B023
            async with venue.watching(Feed("trade", "okx", "ETH/USDT"), memory):
                await memory.until(lambda: memory.told == ["disconnected", "connected"])
                assert await subscribed(simulator) == ["trades:BTC-USDT", "trades:ETH-USDT", "trades:SOL-USDT"]
        assert [other.told for other in others] == [["connected"]] * 2


async def test_a_socket_on_which_nothing_is_heard_is_given_up() -> None:
    async with running_simulator(*QUIET) as simulator:
        await simulator.fault("", "ws_deaf", count=3)
        memory = Memory()
        async with (
            venue_at(simulator.url, "okx", acknowledge_s=0.1) as venue,
            venue.watching(Feed("trade", "okx", "BTC/USDT"), memory),
        ):
            await memory.until(lambda: memory.told == ["disconnected", "connected"])
            events = [entry["event"] for entry in await simulator.log("/ws/")]
            assert events.count("disconnect") == 1


async def test_of_a_ticker_with_two_subscriptions_each_is_acknowledged_by_itself() -> None:
    """Data of the one prove nothing of the other, where the exchange is known to acknowledge each."""
    async with running_simulator("--live-rate", "200") as simulator:
        await simulator.fault("bookTicker", "ws_deaf", count=1)
        memory = Memory()
        async with (
            venue_at(simulator.url, acknowledge_s=0.5) as venue,
            venue.watching(Feed("ticker", "binance", "BTC/USDT"), memory),
        ):
            await memory.until(lambda: memory.told == ["disconnected", "connected"])
            assert await subscribed(simulator) == ["btcusdt@bookTicker", "btcusdt@ticker"]


@pytest.mark.parametrize("exchange", ["deribit", "bitget"])
async def test_any_venue_acknowledges_by_its_own_words_or_by_data(exchange: str) -> None:
    async with standins.standing_in(exchange) as stand_in:
        stand_in.swallow = 2
        async with open_live_venue(exchange, standins.settings(stand_in, acknowledge_s=0.2)) as venue:
            trades, book = Memory(), Memory()
            async with venue.watching(Feed("trade", exchange, standins.SYMBOL), trades):
                # Nothing is ever traded there: this is the exchange's word.
                await trades.until(lambda: trades.told == ["disconnected", "connected"])
                assert stand_in.swallowed == 2
                async with venue.watching(Feed("book", exchange, standins.SYMBOL), book):
                    await book.get(1)
                    assert book.told == ["connected"]
            assert trades.told == ["disconnected", "connected"]


async def test_a_venue_that_neither_answers_nor_says_anything_is_not_called_connected() -> None:
    async with standins.standing_in("deribit") as stand_in:
        stand_in.mute = True
        async with open_live_venue("deribit", standins.settings(stand_in, acknowledge_s=0.1)) as venue:
            memory = Memory()
            async with venue.watching(Feed("trade", "deribit", standins.SYMBOL), memory):
                await stand_in.until(lambda: stand_in.subscriptions >= 3)
                assert memory.told == ["disconnected"]
                stand_in.mute = False
                await memory.until(lambda: memory.told == ["disconnected", "connected"])
