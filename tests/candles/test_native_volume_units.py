"""Volumes of candles that the exchange itself publishes: converted to base currency where their unit is known."""

from __future__ import annotations

from typing import Any

import pytest

from candles.candle_feed import START, CandleVenue, candle, fetching, running, witness
from support.simulated import simulated
from support.venues import PATHS, Memory, venue_at
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Candle, Feed
from tickwire.model.messages import VolumeUnit
from tickwire.venues.registry import grid_of, profile_of
from tickwire.venues.units import Units, units_of

pytestmark = pytest.mark.actors

WEEK = 7 * 86_400_000
LINEAR = {"contract": True, "linear": True, "contractSize": 0.0001}
INVERSE = {"contract": True, "inverse": True, "contractSize": 100}


@pytest.fixture(autouse=True)
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is revised here, and two minutes of real time would be waited for otherwise."""
    monkeypatch.setattr("tickwire.venues.profile.SETTLE_MS", 0)


def first_week(exchange: str) -> int:
    """The open time (ms) of the first week after START on the grid of a venue."""
    return grid_of(exchange, "1w").ceil_open(START)


def week(number: int, *, closed: bool, symbol: str, exchange: str) -> Candle:
    """A weekly candle as ccxt has it, with 7 of whatever its volume counts."""
    opened = first_week(exchange) + number * WEEK
    prices: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close"), 10.0)
    return candle(opened, "1w", exchange=exchange, symbol=symbol, **prices, volume=7.0, trades=0, closed=closed)


@pytest.mark.parametrize(
    ("exchange", "units", "volume", "unit"),
    [
        ("okx", units_of(profile_of("okx"), LINEAR), 7.0, "base"),
        ("gate", units_of(profile_of("gate"), LINEAR), 0.0007, "base"),
        ("binancecoinm", units_of(profile_of("binancecoinm"), INVERSE), 7.0, "contracts"),
        ("gate", units_of(profile_of("gate"), {"spot": True}), 7.0, "quote"),
        ("phemex", units_of(profile_of("phemex"), LINEAR), 7.0, "unknown"),
    ],
)
async def test_what_an_exchanges_own_candle_counts_is_measured_or_said_and_then_fetched(
    bus: Bus, exchange: str, units: Units, volume: float, unit: VolumeUnit
) -> None:
    feed, venue = Feed("candle", exchange, "BTC/USDT:USDT"), CandleVenue(exchange=exchange)
    async with (
        witness(bus) as seen,
        fetching(bus) as fetcher,
        running(bus, "1w", venue=venue, feed=feed, units=units),
    ):
        await venue.watched.wait()
        sink = venue.sinks["1w"]
        sink.connected()
        sink.take([week(0, closed=False, symbol=feed.symbol, exchange=exchange)], 0)
        sink.take([week(0, closed=True, symbol=feed.symbol, exchange=exchange)], 0)
        await seen.until(lambda: seen.closed("1w"))
        assert [(each.volume, each.volume_unit) for each in seen.closed("1w")] == [(volume, unit)]
        if unit == "base":
            await seen.until(lambda: seen.pages)
            assert [(page.volume_unit, page.rows[0][5]) for page in seen.pages] == [("base", volume)]
            # What may be revised is asked for again.
            is_final = profile_of(exchange).candles.settle_ms == 0
            if is_final:
                assert fetcher.requests == []
            else:
                await fetcher.requested(1)
        else:
            await fetcher.requested(1)
            assert [each.since for each in fetcher.requests] == [first_week(exchange)]
            assert seen.pages == []


@pytest.mark.parametrize("path", PATHS)
async def test_coin_m_candles_are_in_base_by_our_decoder_and_in_contracts_by_ccxt(path: str) -> None:
    feed = Feed("candle", "binancecoinm", "BTC/USD:BTC", "1m")
    now = START + 30_500
    symbols = [{"symbol": "BTC/USDT", "price": 60_000, "tick": "0.1", "lot": "1", "amount": 3}]
    async with (
        simulated(now=now, speed=1, symbols=symbols, live_rate=20) as running_,
        venue_at(running_.url, "binancecoinm", types=("inverse",), hooks=PATHS[path]) as venue,
    ):
        units, memory = await venue.markets.units(feed.symbol), Memory()
        async with venue.watching(feed, memory):
            first = (await memory.get(1))[0]
    assert (units.fetches, units.watches) == ("base", "contracts")
    if path == "typed":
        assert first.volume_unit == "base"
        assert 0 < first.volume < 10
    else:
        assert first.volume_unit is None
        assert first.volume >= 1
        assert first.volume.is_integer()
