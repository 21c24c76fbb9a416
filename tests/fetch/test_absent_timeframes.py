"""Timeframes that ccxt lists for an exchange, but that its markets of one kind do not have, are refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from support.processes import running_simulator
from support.venues import settings, venue_at
from tickwire.errors import UnsupportedTimeframe
from tickwire.exchange import opening
from tickwire.fetcher import candle_source as fetching
from tickwire.fetcher.calls import ignore_retry
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.model.feeds import Feed
from tickwire.observe.metrics import Metrics
from tickwire.streamer.subscriptions import venue_markets
from tickwire.venues.profile import CandleFacts, Profile
from tickwire.venues.registry import declared, profile_of

pytestmark = pytest.mark.actors

TYPES = ("spot", "swap")


def absent() -> Iterator[Any]:
    """Each declared timeframe that is absent, as (exchange, kind of market, timeframe)."""
    for exchange, venue in declared().items():
        for kind, names in venue.profile.candles.absent.items():
            yield from (pytest.param(exchange, kind, name, id=f"{exchange}-{kind}-{name}") for name in names)


def without(exchange: str, kind: Any, timeframe: str) -> Profile:
    """The profile of an exchange whose markets of a kind lack a timeframe."""
    profile = profile_of(exchange)
    facts = msgspec.structs.replace(profile.candles, absent={kind: (timeframe,)})
    return msgspec.structs.replace(profile, candles=facts)


def test_only_markets_of_the_kind_lack_it() -> None:
    facts = CandleFacts(absent={"spot": ("2h", "3d")})
    assert facts.offered(("1h", "2h", "3d"), "spot") == ["1h"]
    assert facts.offered(("1h", "2h", "3d"), "linear") == ["1h", "2h", "3d"]
    assert facts.offered(("1h", "2h"), None) == ["1h", "2h"]


@pytest.mark.parametrize(("exchange", "kind", "timeframe"), list(absent()))
def test_what_is_declared_absent_is_listed_by_ccxt(exchange: str, kind: str, timeframe: str) -> None:
    assert timeframe in opening.timeframes(exchange)


@pytest.mark.parametrize("exchange", ["bitget", "okx"])
async def test_the_fetcher_refuses_it_and_names_those_that_there_are(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = without(exchange, "spot", "2h")
    monkeypatch.setattr(fetching, "profile_of", lambda name: profile)
    metrics = FetcherMetrics(Metrics().registry)
    async with (
        running_simulator() as simulator,
        fetching.open_candle_source(exchange, settings(simulator.url, exchange, TYPES), metrics) as venue,
    ):
        with pytest.raises(UnsupportedTimeframe, match=f"{exchange} has no 2h candles of BTC/USDT") as raised:
            await venue.paging_facts("BTC/USDT", "2h", ignore_retry)
        spot = await venue.paging_facts("BTC/USDT", "1h", ignore_retry)
        linear = await venue.paging_facts("BTC/USDT:USDT", "2h", ignore_retry)
    assert "1h" in str(raised.value)
    # Nor is it asked for as a larger timeframe of another one.
    assert "2h" not in spot.timeframes
    assert "2h" in linear.timeframes


@pytest.mark.parametrize("exchange", ["bitget", "okx"])
async def test_the_streamer_refuses_it_where_candles_are_the_exchange_s_own(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = without(exchange, "spot", "1M")
    monkeypatch.setattr(venue_markets, "profile_of", lambda name: profile)
    async with running_simulator() as simulator, venue_at(simulator.url, exchange, types=TYPES) as venue:
        with pytest.raises(UnsupportedTimeframe, match=f"{exchange} has no 1M candles of BTC/USDT"):
            await venue.markets.check(Feed("candle", exchange, "BTC/USDT", "1M"))
        await venue.markets.check(Feed("candle", exchange, "BTC/USDT", "1w"))
        await venue.markets.check(Feed("candle", exchange, "BTC/USDT:USDT", "1M"))
