"""What tests of candle feeds stand on."""

from __future__ import annotations

import pytest

from tickwire.exchange import opening


@pytest.fixture(scope="session")
def ccxt_imported() -> None:
    """ccxt takes seconds to import: services do that before they serve."""
    opening.timeframes("binance")
