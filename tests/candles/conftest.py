"""What tests of candle feeds stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from candles.candle_feed import TradeTape, trade_tape
from tickwire.bus.connection import Bus
from tickwire.exchange import opening


@pytest.fixture(scope="session")
def ccxt_imported() -> None:
    """ccxt takes seconds to import: services do that before they serve."""
    opening.timeframes("binance")


@pytest.fixture
async def tape(bus: Bus) -> AsyncIterator[TradeTape]:
    """The tape of the trades of BTC/USDT, whose owner the test is."""
    async with trade_tape(bus) as made:
        yield made
