"""What an exchange lists while we run is found, in the streamer and in the fetcher; what it takes off is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from support.processes import SimulatorProcess, running_simulator
from support.venues import Memory, settings, venue_at
from tickwire.errors import ExchangeFailed, UnknownSymbol
from tickwire.exchange import listing
from tickwire.fetcher import candle_source as fetching
from tickwire.fetcher.calls import ignore_retry
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.model.feeds import Feed
from tickwire.observe.metrics import Metrics
from tickwire.streamer.subscriptions.live_venue import LiveVenue

pytestmark = pytest.mark.actors

LISTS = {"binance": "exchangeInfo", "okx": "public/instruments"}
NEW = "ETH/USDT"


async def lists(simulator: SimulatorProcess, *, listed: bool) -> None:
    """Have the exchange list the symbol, or not."""
    await simulator.order("listing", symbol=NEW, listed=listed)


@asynccontextmanager
async def not_listing(simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiveVenue]:
    """A venue that does not list the symbol when it is opened, and may be asked for its list again."""
    await lists(simulator, listed=False)
    async with venue_at(simulator.url) as venue:
        await venue.markets.market("BTC/USDT")
        monkeypatch.setattr(venue.markets._listing, "_tried_at", float("-inf"))
        yield venue


@pytest.mark.parametrize("exchange", ["binance", "okx"])
async def test_a_symbol_that_is_listed_while_the_streamer_runs_can_be_watched(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "AGAIN_S", 0.0)
    async with running_simulator("--live-rate", "200") as simulator:
        await lists(simulator, listed=False)
        old, new = Memory(), Memory()
        async with venue_at(simulator.url, exchange) as venue:
            async with venue.watching(Feed("trade", exchange, "BTC/USDT"), old):
                await old.get(1)
                with pytest.raises(UnknownSymbol, match=f"does not list {NEW}"):
                    await venue.markets.check(Feed("trade", exchange, NEW))
                await lists(simulator, listed=True)
                await venue.markets.check(Feed("trade", exchange, NEW))
                async with venue.watching(Feed("trade", exchange, NEW), new):
                    await new.get(10)
                await old.get(len(old.items) + 50)
            assert old.told == ["connected"]


async def test_the_exchange_is_asked_once_however_many_ask_for_what_it_does_not_list(
    simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with not_listing(simulator, monkeypatch) as venue:
        answers = await asyncio.gather(*(venue.markets.market(NEW) for _ in range(50)), return_exceptions=True)
        assert {type(each) for each in answers} == {UnknownSymbol}
        # Once for BTC/USDT, and once more for all of the others.
        assert len(await simulator.log(LISTS["binance"])) == 2


@pytest.mark.parametrize("exchange", ["binance", "okx"])
async def test_an_exchange_that_is_down_is_asked_once_however_many_wait_for_its_markets(
    exchange: str, simulator: SimulatorProcess
) -> None:
    async with venue_at(simulator.url, exchange) as venue:
        await simulator.fault(LISTS[exchange], "status", code=503)
        answers = await asyncio.gather(*(venue.markets.market(f"{n}/USDT") for n in range(50)), return_exceptions=True)
        assert {type(each) for each in answers} == {ExchangeFailed}
        asked = len(await simulator.log(LISTS[exchange]))
        with pytest.raises(ExchangeFailed):
            await venue.markets.market("BTC/USDT")
        # As often for fifty as for one who comes later, and is not told what was so before.
        assert len(await simulator.log(LISTS[exchange])) == 2 * asked
        await simulator.clear()
        assert await venue.markets.market("BTC/USDT")


async def test_of_a_symbol_nothing_is_said_while_the_exchange_does_not_answer(
    simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with not_listing(simulator, monkeypatch) as venue:
        await simulator.fault(LISTS["binance"], "status", code=503)
        for _ in range(3):
            with pytest.raises(ExchangeFailed, match="503"):
                await venue.markets.market(NEW)
        assert len(await simulator.log(LISTS["binance"])) == 2
        assert await venue.markets.market("BTC/USDT")


async def test_a_symbol_that_is_taken_off_the_list_is_refused_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_simulator("--live-rate", "200") as simulator, venue_at(simulator.url) as venue:
        memory = Memory()
        async with venue.watching(Feed("trade", "binance", "BTC/USDT"), memory):
            await memory.get(1)
            await venue.markets.check(Feed("trade", "binance", NEW))
            await lists(simulator, listed=False)
            monkeypatch.setattr(listing, "AGAIN_S", 0.0)
            monkeypatch.setattr(listing, "OLD_S", 0.0)
            with pytest.raises(UnknownSymbol):
                await venue.markets.check(Feed("trade", "binance", NEW))
            await memory.get(len(memory.items) + 50)
        assert memory.told == ["connected"]


@pytest.mark.parametrize("exchange", ["binance", "okx"])
async def test_a_symbol_that_is_listed_while_the_fetcher_runs_can_be_fetched(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "AGAIN_S", 0.0)
    async with running_simulator() as simulator:
        await lists(simulator, listed=False)
        metrics = FetcherMetrics(Metrics().registry)
        async with fetching.open_candle_source(exchange, settings(simulator.url, exchange), metrics) as venue:
            with pytest.raises(UnknownSymbol):
                await venue.paging_facts(NEW, "1m", ignore_retry)
            await lists(simulator, listed=True)
            assert (await venue.paging_facts(NEW, "1m", ignore_retry)).limit > 1
