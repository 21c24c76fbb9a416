"""Every dialect's trade is ccxt's: id, time, side, price and amount of the same frame, by two parsers."""

from __future__ import annotations

import pytest

from tickwire.venues import registry
from venues.samples import by_ccxt, dialects, sample

pytestmark = pytest.mark.golden


def test_the_venues_with_a_dialect_are_found() -> None:
    assert {"binance", "okx"} <= set(dialects())


@pytest.mark.parametrize("exchange", dialects())
async def test_a_sample_decodes_to_the_trade_that_ccxt_parses(exchange: str) -> None:
    chosen, dialect = sample(exchange), registry.dialect_of(exchange)
    (expected,) = by_ccxt(chosen)()
    assert dialect.decode is not None
    found = dialect.decode(chosen.frame)
    assert found is not None
    ((kind, market, (trade,), timeframe),) = found
    assert (kind, market, timeframe) == ("trade", dialect.market_name(chosen.market), None)
    assert (trade.id, trade.timestamp, trade.price, trade.amount) == tuple(
        expected[name] for name in ("id", "timestamp", "price", "amount")
    )
    is_makers = registry.profile_of(exchange).trades.side == "maker"
    assert trade.side == ({"buy": "sell", "sell": "buy"}[expected["side"]] if is_makers else expected["side"])
