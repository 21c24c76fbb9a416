"""The request for the markets of an exchange, with a real exchange on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.processes import SimulatorProcess
from support.serving import serving
from tickwire.bus.connection import Bus
from tickwire.client import listed_markets
from tickwire.errors import Busy, ExchangeFailed, NoSuchService, NotLoaded, UnknownExchange
from tickwire.fetcher import market_tables
from tickwire.fetcher import service as fetcher_service
from tickwire.model.messages import MarketList, MarketsRequest
from tickwire.settings import Settings

pytestmark = pytest.mark.actors


@pytest.fixture
async def fetcher(bus: Bus, settings: Settings) -> AsyncIterator[None]:
    async with serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one"):
        yield


async def asked(bus: Bus, **request: Any) -> MarketList:
    return await listed_markets.page(bus, MarketsRequest(**{"exchange": "binance"} | request))


@pytest.mark.usefixtures("fetcher")
async def test_markets_are_loaded_once_and_found_in_pages(bus: Bus, exchange: SimulatorProcess) -> None:
    found = await asked(bus)
    assert [(each.symbol, each.kind, each.base, each.quote) for each in found.markets] == [
        ("BTC/USDT", "spot", "BTC", "USDT"),
        ("ETH/USDT", "spot", "ETH", "USDT"),
    ]
    assert (found.total, found.near) == (2, [])
    assert abs(found.loaded - time.time() * 1000) < 100_000
    part = await asked(bus, limit=1, offset=1)
    assert ([each.symbol for each in part.markets], part.total) == (["ETH/USDT"], 2)
    assert [each.symbol for each in await listed_markets.listed(bus, "binance", "eth")] == ["ETH/USDT"]
    unknown = await asked(bus, search="ETG/USDT")
    assert (unknown.markets, unknown.total, unknown.near[0]) == ([], 0, "ETH/USDT")
    assert len(await exchange.log("exchangeInfo")) == 1


@pytest.mark.usefixtures("fetcher")
async def test_markets_that_are_not_loaded_are_said_never_an_empty_list(bus: Bus, exchange: SimulatorProcess) -> None:
    await exchange.fault("exchangeInfo", "hang")
    with pytest.raises(NotLoaded, match="the markets of binance are being loaded"):
        await asked(bus, wait=False)
    with pytest.raises(UnknownExchange, match="did you mean binance"):
        await asked(bus, exchange="binanc")


@pytest.mark.usefixtures("fetcher")
async def test_an_exchange_that_refuses_is_an_error_and_is_asked_again_later(
    bus: Bus, exchange: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await exchange.fault("exchangeInfo", "status", code=500)
    for _ in range(3):
        with pytest.raises(ExchangeFailed, match="binance: markets: "):
            await asked(bus)
    assert len(await exchange.log("exchangeInfo")) == 1
    await exchange.clear()
    monkeypatch.setattr(market_tables, "AGAIN_S", 0.0)
    assert (await asked(bus)).total == 2
    # An old table is answered from, also where the exchange is away now.
    await exchange.fault("exchangeInfo", "status", code=500)
    monkeypatch.setattr(market_tables, "OLD_S", 0.0)
    assert [(await asked(bus)).total for _ in range(3)] == [2, 2, 2]


async def test_a_stop_ends_a_load_that_hangs_and_who_waits_for_it(
    bus: Bus, settings: Settings, exchange: SimulatorProcess
) -> None:
    own = settings.of_exchange("binance")
    patient = own.model_copy(update={"ccxt": own.ccxt | {"timeout": 600_000}})
    settings = settings.model_copy(update={"exchange": {"binance": patient}})
    await exchange.fault("exchangeInfo", "hang")
    async with asyncio.timeout(100):
        async with serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one"):
            waiting = asyncio.ensure_future(asked(bus))
            while not await exchange.log("exchangeInfo"):
                await asyncio.sleep(0.05)
        with pytest.raises((Busy, NoSuchService)):
            await waiting
