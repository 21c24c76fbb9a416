"""What cannot be streamed is refused by `streamer.start` itself, with the reason and the remedy."""

from __future__ import annotations

import importlib.util

import pytest

from support import live
from support.hearing import reports
from support.loopback import market
from support.serving import serving
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.errors import UnsupportedKind, UnsupportedTimeframe
from tickwire.model import messages
from tickwire.model.feeds import Feed, StartRequest
from tickwire.settings import ExchangeSettings, Settings
from tickwire.streamer.service import serve_streamer

pytestmark = pytest.mark.actors

SYMBOL = "BTC/USDT"


def offline(*exchanges: str) -> Settings:
    """Exchanges whose market is known, and which are not there."""
    own = ExchangeSettings(gateway="http://127.0.0.1:9", ccxt={"markets": {SYMBOL: market(SYMBOL, "BTCUSDT")}})
    return Settings(exchange=dict.fromkeys(exchanges, own))


async def test_what_a_venue_cannot_stream_here_is_refused_with_the_remedy(bus: Bus) -> None:
    async with serving(bus, serve_streamer, offline("alpaca", "luno", "blofin", "mexc", "backpack", "phemex")):
        for exchange, remedy in (("alpaca", "TICKWIRE_ALPACA_API_KEY"), ("luno", "TICKWIRE_LUNO_API_KEY")):
            with pytest.raises(UnsupportedKind, match=remedy):
                await live.start(bus, Feed("trade", exchange, SYMBOL))
        with pytest.raises(UnsupportedKind, match="spot markets are not available"):
            await live.start(bus, Feed("book", "blofin", SYMBOL))
        if importlib.util.find_spec("google") is None:
            for feed in (Feed("trade", "mexc", SYMBOL), Feed("candle", "mexc", SYMBOL, "1m")):
                with pytest.raises(UnsupportedKind, match="pip install 'protobuf"):
                    await live.start(bus, feed)
        for exchange, timeframe in (("backpack", "15"), ("phemex", "1Y")):
            with pytest.raises(UnsupportedTimeframe, match="is not a timeframe"):
                await live.start(bus, Feed("candle", exchange, SYMBOL, timeframe))


async def test_an_interest_in_what_is_no_timeframe_is_passed_over(bus: Bus) -> None:
    """An entry that an earlier version or another program put into the bucket."""
    request = StartRequest(kind="candle", exchange="phemex", symbol=SYMBOL, timeframe="1Y", subscriber="old")
    subject = f"$KV.{streams.INTEREST}.candle.phemex.BTC-USDT.1Y.old"
    await bus.jetstream.publish(subject, messages.encode(request))
    async with serving(bus, serve_streamer, offline("phemex")) as streamer:
        with pytest.raises(UnsupportedTimeframe):
            await live.start(bus, request.feed._replace(timeframe="2Y"))
        assert await reports(bus) == []
        assert not streamer.done()
