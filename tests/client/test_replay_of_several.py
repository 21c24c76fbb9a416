"""Replays of several feeds from a real tape, which the test writes."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from client.written_tape import BEGINS_LATE, FEEDS, trade, write
from tickwire.bus.connection import Bus
from tickwire.client import BadRequest, Gap, Replayed, Trade, connect, connect_sync
from tickwire.model import feeds
from tickwire.model.times import now_ms

pytestmark = pytest.mark.actors


def replayed(market: tuple[str, str], item: feeds.Trade) -> Replayed:
    """A trade of the bus as the client replays it: it equals that."""
    return Replayed(*market, cast(Trade, item))


async def test_feeds_of_three_venues_are_replayed_on_one_clock_and_each_time_the_same(bus: Bus) -> None:
    """More than a page of each; times that several feeds share, and some that go back."""
    start = now_ms() - 10_000
    expected = []
    for index, market in enumerate(FEEDS):
        times = [start + number * 3 // (index + 1) - 5 * (number % 7 == 3) for number in range(600)]
        trades = [trade(number, time) for number, time in enumerate(times)]
        await write(bus, market, [trades[at : at + 2] for at in range(0, 600, 2)])
        highest = 0
        for each in trades:
            highest = max(highest, each.timestamp)
            expected.append((highest, index, replayed(market, each)))
    expected.sort(key=lambda each: each[:2])
    async with connect(bus.url) as client:
        for _ in range(2):
            async with asyncio.timeout(100):
                found = [each async for each in client.replay(FEEDS, start - 60_000) if isinstance(each.item, Trade)]
            assert found == [each for _, _, each in expected]
        # The order of feeds decides between trades of one time, and nothing else.
        turned = [each async for each in client.replay(FEEDS[::-1], start - 60_000) if isinstance(each.item, Trade)]
        assert sorted(turned, key=str) == sorted(found, key=str)
        assert turned != found


async def test_gaps_are_replayed_in_their_place_and_the_range_ends_each_feed(bus: Bus) -> None:
    start = now_ms()
    gap = Gap(since=start + 10, until=start + 20, reason="a test")
    await write(
        bus, FEEDS[0], [[trade(1, start), trade(2, start + 10)], [trade(3, start + 20), trade(4, start + 90)]], gap
    )
    await write(bus, FEEDS[1], [[trade(1, start + 15), trade(2, start + 80)]])
    async with connect(bus.url) as client:
        found = [each async for each in client.replay(FEEDS[:2], start, start + 90)]
    one, other = FEEDS[:2]
    assert found == [
        replayed(one, trade(1, start)),
        replayed(one, trade(2, start + 10)),
        Replayed(*one, gap),
        # What happened there before the tape begins is not known; it comes with the first trade.
        Replayed(*other, Gap(since=start, until=start + 15, reason=BEGINS_LATE)),
        replayed(other, trade(1, start + 15)),
        replayed(one, trade(3, start + 20)),
        replayed(other, trade(2, start + 80)),
    ]


async def test_several_feeds_take_as_long_as_what_happened_by_the_speed(bus: Bus) -> None:
    start = now_ms() - 60_000
    await write(bus, FEEDS[0], [[trade(1, start)], [trade(2, start + 900)]])
    await write(bus, FEEDS[1], [[trade(1, start + 300)], [trade(2, start + 1200)]])
    loop = asyncio.get_running_loop()
    async with connect(bus.url) as client:
        started, seen = loop.time(), []
        async for each in client.replay(FEEDS[:2], start, speed=3):
            if not isinstance(each.item, Trade):
                continue
            seen.append((each.exchange, each.item.id))
            # Never before it is due.
            assert loop.time() - started >= (each.item.timestamp - start) / 1000 / 3
    assert seen == [("binance", "1"), ("kraken", "1"), ("binance", "2"), ("kraken", "2")]


async def test_a_replay_without_an_end_ends_with_what_was_there_when_it_began(bus: Bus) -> None:
    """A feed that goes on as fast as it is replayed would never end."""
    start = now_ms() - 2000
    await write(bus, FEEDS[0], [[trade(1, start)], [trade(2, start + 1000)]])
    async with connect(bus.url) as client, asyncio.timeout(100):
        for replay in (client.replay(*FEEDS[0], start, speed=2), client.replay(FEEDS[:1], start, speed=2)):
            found = list[object]()
            async for each in replay:
                if not found:
                    await write(bus, FEEDS[0], [[trade(3, now_ms() + 60_000)], [trade(4, now_ms() + 3_600_000)]])
                found.append(each.item if isinstance(each, Replayed) else each)
            assert found == [trade(1, start), trade(2, start + 1000)]


async def test_an_hour_passes_in_a_second_where_that_is_the_speed(bus: Bus) -> None:
    start, hour = now_ms() - 3_600_000, 3_600_000
    await write(bus, FEEDS[0], [[trade(1, start)], [trade(2, start + hour)]])
    async with connect(bus.url) as client, asyncio.timeout(100):
        alone = [each async for each in client.replay(*FEEDS[0], start, speed=3600)]
        several = [each.item async for each in client.replay(FEEDS[:1], start, speed=3600)]
    assert alone == several == [trade(1, start), trade(2, start + hour)]


async def test_a_list_without_feeds_or_with_one_twice_is_refused(bus: Bus) -> None:
    async with connect(bus.url) as client:
        with pytest.raises(BadRequest, match="no feed is given"):
            client.replay([], "1h")
        with pytest.raises(BadRequest, match="binance BTC/USDT is given twice"):
            client.replay([FEEDS[0], FEEDS[0]], "1h")
        with pytest.raises(BadRequest, match="'binance' is not a feed"):
            client.replay(FEEDS[0], "1h")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="since"):
            client.replay(FEEDS)  # type: ignore[call-overload]


async def test_replay_takes_a_feed_or_a_list_of_feeds_by_place_and_by_name(bus: Bus) -> None:
    start = now_ms()
    await write(bus, FEEDS[0], [[trade(1, start), trade(2, start + 10)]])
    (exchange, symbol), one, several = FEEDS[0], trade(1, start), replayed(FEEDS[0], trade(1, start))
    async with connect(bus.url) as client:
        until = start + 10
        for single in (
            client.replay(exchange, symbol, start, until),
            client.replay(exchange=exchange, symbol=symbol, since=start, until=until, speed=100),
        ):
            assert [each async for each in single] == [one]
        for listed in (
            client.replay([FEEDS[0]], start, until),
            client.replay(feeds=[FEEDS[0]], since=start, until=until, speed=100),
            client.replay_of([FEEDS[0]], start, until),
        ):
            assert [each async for each in listed] == [several]


async def test_the_blocking_client_replays_several_feeds(bus: Bus) -> None:
    start = now_ms()
    for index, market in enumerate(FEEDS):
        await write(bus, market, [[trade(1, start + index)]])

    def read() -> list[Replayed]:
        with connect_sync(bus.url) as client:
            return [each for each in client.replay(FEEDS, start) if isinstance(each.item, Trade)]

    assert await asyncio.to_thread(read) == [
        replayed(market, trade(1, start + index)) for index, market in enumerate(FEEDS)
    ]
