"""Contract markets through every process: what a market is, and trades that say what one unit of their amount is."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import live
from support.hearing import hearing
from support.pipeline import OKX_CONFIG, pipeline
from support.processes import running_simulator
from tickwire.errors import BadRequest, UnknownExchange, UnknownSymbol
from tickwire.model.feeds import Feed, MarketReport, MarketRequest, Trades

pytestmark = pytest.mark.system

CONFIG = (
    OKX_CONFIG
    + """
[exchange.binancecoinm]
gateway = "{gateway}"
[exchange.binancecoinm.ccxt]
enableRateLimit = false
"""
)


async def test_a_program_learns_what_a_market_is_and_what_its_trades_count(broker: str, tmp_path: Path) -> None:
    async with (
        running_simulator("--live-rate", "20") as simulator,
        pipeline(broker, simulator, tmp_path, ("streamer",), CONFIG) as line,
    ):

        async def described(exchange: str, symbol: str) -> MarketReport:
            return await line.bus.request(
                "streamer.market", MarketRequest(exchange=exchange, symbol=symbol), MarketReport, timeout_s=60
            )

        spot = await described("okx", "BTC/USDT")
        assert (spot.kind, spot.amount_unit, spot.contract_size, spot.multiplier) == ("spot", "base", None, None)
        assert (spot.base, spot.quote, spot.settle, spot.price_step, spot.volume_unit) == (
            "BTC",
            "USDT",
            None,
            0.01,
            "base",
        )
        linear = await described("okx", "BTC/USDT:USDT")
        assert (linear.kind, linear.amount_unit, linear.contract_size) == ("linear", "contracts", 0.01)
        assert (linear.multiplier, linear.inverse, linear.settle, linear.amount_step) == (0.01, False, "USDT", 1.0)
        inverse = await described("binancecoinm", "BTC/USD:BTC")
        assert (inverse.kind, inverse.amount_unit, inverse.contract_size) == ("inverse", "contracts", 100)
        assert (inverse.multiplier, inverse.inverse, inverse.volume_unit) == (100.0, True, "base")
        with pytest.raises(UnknownSymbol, match="does not list BTC/EUR"):
            await described("okx", "BTC/EUR")
        with pytest.raises(UnknownExchange, match="did you mean okx"):
            await described("okex", "BTC/USDT")
        with pytest.raises(BadRequest):
            await described("okx", "B" * 500)

        said = {}
        for exchange, symbol in (("okx", "BTC/USDT"), ("okx", "BTC/USDT:USDT"), ("binancecoinm", "BTC/USD:BTC")):
            feed = Feed("trade", exchange, symbol)
            async with hearing(line.bus, feed.public, Trades) as heard:
                await live.start(line.bus, feed)
                await heard.until_said(lambda found: any(each.trades for each in found))
            said[exchange, symbol] = {(each.multiplier, each.inverse) for each in heard.said}
        assert said["okx", "BTC/USDT:USDT"] == {(0.01, False)}
        assert said["binancecoinm", "BTC/USD:BTC"] == {(100.0, True)}
        # On spot markets nothing is added.
        ((multiplier, inverse_),) = said["okx", "BTC/USDT"]
        assert str(multiplier) == str(inverse_) == "UNSET"
