"""Minutes without a trade, live: rows, no rows or nothing claimed, as it is known of the exchange."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from candles.candle_feed import (
    FEED,
    MINUTE,
    START,
    CandleVenue,
    TradeTape,
    candle,
    facts,
    fetching,
    ranges,
    running,
    trade,
    trade_tape,
    witness,
)
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed
from tickwire.streamer.candles.intervals import QUIET
from tickwire.venues.units import NOTHING, SPOT

pytestmark = pytest.mark.actors


@pytest.fixture(autouse=True)
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is revised here, and two minutes of real time would be waited for otherwise."""
    monkeypatch.setattr("tickwire.venues.profile.SETTLE_MS", 0)


def asked(requests: list[tuple[str, int, int, bool]]) -> list[tuple[int, int]]:
    """The ranges of one-minute candles, melted together."""
    ranges = sorted((since, until) for timeframe, since, until, _ in requests if timeframe == "1m")
    melted: list[tuple[int, int]] = []
    for since, until in ranges:
        if melted and since <= melted[-1][1]:
            melted[-1] = melted[-1][0], max(until, melted[-1][1])
        else:
            melted.append((since, until))
    return melted


@pytest.mark.parametrize(
    ("exchange", "rows", "claimed"),
    [
        ("okx", [0, 1, 2, 3], [(0, 4 * MINUTE)]),
        ("coinbase", [0, 3], [(0, 4 * MINUTE)]),
        # Of these two nobody knows what their history has.
        ("bitstamp", [0, 3], [(0, MINUTE), (3 * MINUTE, 4 * MINUTE)]),
        ("bitfinex", [0, 3], [(0, MINUTE), (3 * MINUTE, 4 * MINUTE)]),
    ],
)
async def test_quiet_minutes_are_what_the_exchanges_own_history_has(
    bus: Bus, exchange: str, rows: list[int], claimed: list[tuple[int, int]]
) -> None:
    feed = Feed("candle", exchange, "BTC/USD")
    async with trade_tape(bus, feed._replace(kind="trade")) as tape:
        await tape.say(trade(-1))
        async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m", feed=feed):
            await tape.say(trade(5, 10.0), trade(6, 11.0))
            await tape.say(until=2 * MINUTE)
            await tape.say(trade(3 * MINUTE, 12.0))
            await tape.say(until=4 * MINUTE)
            await seen.until(lambda: seen.pages and seen.pages[-1].until == START + 4 * MINUTE)
            await seen.until(lambda: any(each.timestamp == START + 3 * MINUTE for each in seen.closed()))
            assert [facts(each)[0] for each in seen.closed()] == rows
            flat = [facts(each) for each in seen.closed() if each.trades == 0]
            assert flat == [(minute, 11.0, 11.0, 11.0, 11.0, 0.0, 0, True) for minute in rows if minute in (1, 2)]
            told = [(since, until) for since, until, _ in ranges(seen)]
            assert asked([("1m", *each, False) for each in told]) == claimed
            if exchange in ("bitstamp", "bitfinex"):
                while asked(fetcher.asked) != [(MINUTE, 3 * MINUTE)]:
                    await fetcher.came(20)
            else:
                assert fetcher.asked == []


async def test_quiet_minutes_before_any_known_trade_are_asked_for(bus: Bus, tape: TradeTape) -> None:
    """Of which the close before is not known: at the beginning, and behind a gap."""
    await tape.say(until=0)
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m"):
        await tape.say(until=MINUTE)
        await fetcher.requested(1)
        assert asked(fetcher.asked) == [(0, MINUTE)]
        await tape.say(trade(MINUTE, 10.0), until=3 * MINUTE)
        await seen.until(lambda: len(seen.closed()) == 2)
        assert [facts(each)[:2] for each in seen.closed()] == [(1, 10.0), (2, 10.0)]
    assert seen.pages[-1].until == START + 3 * MINUTE


async def test_a_long_silence_is_asked_for_rather_than_published_row_by_row(bus: Bus, tape: TradeTape) -> None:
    await tape.say(trade(-1))
    end = QUIET + 5
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m"):
        await tape.say(trade(5, 10.0), trade(MINUTE + 5, 11.0))
        await tape.say(trade(end * MINUTE, 12.0))
        await fetcher.requested(1)
        assert asked(fetcher.asked) == [(2 * MINUTE, end * MINUTE)]
        await tape.say(trade((end + 1) * MINUTE, 12.0))
        await seen.until(lambda: len(seen.closed()) == 3)
        assert [facts(each)[0] for each in seen.closed()] == [0, 1, end]


async def test_a_late_trade_has_the_flat_rows_behind_it_fetched_anew(bus: Bus, tape: TradeTape) -> None:
    await tape.say(trade(-1))
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m"):
        await tape.say(trade(5, 10.0))
        await tape.say(until=3 * MINUTE)
        await seen.until(lambda: len(seen.closed()) == 3)
        await tape.say(trade(50_000, 20.0))
        await fetcher.requested(1)
        assert fetcher.asked == [("1m", 0, 3 * MINUTE, True)]
        # From here on at the price of the late one.
        await tape.say(until=4 * MINUTE)
        await seen.until(lambda: len(seen.closed()) == 4)
        assert facts(seen.closed()[-1]) == (3, 20.0, 20.0, 20.0, 20.0, 0.0, 0, True)


async def test_a_new_owner_goes_on_with_the_flat_rows(bus: Bus, tape: TradeTape) -> None:
    """Each minute is closed once, though its owner ended between two."""
    await tape.say(trade(-1))
    async with witness(bus) as seen:
        async with running(bus, "1m"):
            await tape.say(trade(5, 10.0))
            await tape.say(until=2 * MINUTE)
            await seen.until(lambda: len(seen.closed()) == 2)
        async with running(bus, "1m", owner="two", venue=CandleVenue(at=2 * MINUTE)):
            await tape.say(until=4 * MINUTE)
            await tape.say(trade(4 * MINUTE, 11.0), until=5 * MINUTE)
            await seen.until(lambda: len([each for each in seen.closed() if not each.repeated]) == 5)
        fresh = [facts(each) for each in seen.closed() if not each.repeated]
        assert [each[0] for each in fresh] == [0, 1, 2, 3, 4]
        assert [each[1] for each in fresh] == [10.0] * 4 + [11.0]


async def test_candles_of_which_the_unit_is_not_known_are_told_so_and_not_cached(bus: Bus) -> None:
    feed = Feed("candle", "phemex", "BTC/USDT:USDT")
    async with trade_tape(bus, feed._replace(kind="trade")) as tape:
        await tape.say(trade(-1))
        async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m", feed=feed, units=NOTHING):
            await tape.say(trade(5, 10.0), until=3 * MINUTE)
            await seen.until(seen.closed)
            assert [(each.volume_unit, each.complete) for each in seen.closed()] == [("unknown", True)]
            while asked(fetcher.asked) != [(0, 3 * MINUTE)]:
                await fetcher.came(20)
            assert seen.pages == []


@pytest.mark.parametrize(("symbol", "goes_on"), [("BTC/USDT", True), ("BTC/USDT:USDT", False)])
async def test_a_candle_that_an_earlier_version_began_in_contracts_is_not_gone_on_with(
    bus: Bus, symbol: str, goes_on: bool
) -> None:
    """It said no unit: of spot markets it was base currency."""
    feed = FEED._replace(symbol=symbol)
    async with trade_tape(bus, feed._replace(kind="trade")) as tape:
        first = await tape.say(trade(-1), trade(1, 10.0, 3.0))
        prices: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close"), 10.0)
        old = candle(START, exchange=feed.exchange, symbol=symbol, **prices, volume=300.0, sequence=first)
        said = msgspec.json.encode({k: v for k, v in msgspec.to_builtins(old).items() if k != "volume_unit"})
        await bus.jetstream.publish(f"{feed.tape}.1m", said)
        async with witness(bus) as seen, running(bus, "1m", feed=feed, units=SPOT):
            await tape.say(trade(2, 10.0, 1.0), trade(MINUTE, 10.0))
            await seen.until(seen.closed)
            assert seen.closed()[0].volume == (301.0 if goes_on else 4.0)
