"""The body of a ticker feed against a real broker and a scripted exchange."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from support.feeds import body
from support.hearing import last, listening
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.errors import Fenced
from tickwire.model.feeds import Feed, Ticker
from tickwire.streamer import tickers

pytestmark = pytest.mark.actors

FEED = Feed("ticker", "binance", "BTC/USDT")


async def test_pieces_are_put_together_and_what_was_never_said_is_absent(bus: Bus) -> None:
    async with body(bus, tickers.run, FEED, cadence_ms=0) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([{"bid": 10.0, "bid_amount": 1.5, "ask": 11.0, "ask_amount": 2.0}], 1000)
        first = await running.public.first(lambda ticker: ticker.bid is not None)
        assert (first.timestamp, first.received, first.last, first.volume) == (None, 1000, None, None)
        sink.take([{"timestamp": 50, "last": 10.5, "volume": 7, "bid": None, "unheard_of": "x"}], 1001)
        second = await running.public.first(lambda ticker: ticker.last == 10.5)
        assert second == Ticker(
            exchange="binance",
            symbol="BTC/USDT",
            timestamp=50,
            received=1001,
            last=10.5,
            bid=10.0,
            bid_amount=1.5,
            ask=11.0,
            ask_amount=2.0,
            volume=7.0,
        )
        assert await last(bus, streams.TICKERS, FEED.tape, Ticker) == second
        assert running.context.status.state == "live"


async def test_updates_that_had_no_message_of_their_own_are_counted(bus: Bus) -> None:
    async with body(bus, tickers.run, FEED, cadence_ms=1000) as running:
        sink = await running.venue.sink()
        sink.connected()
        for number in range(1, 101):
            sink.take([{"last": float(number)}], number)
        await running.public.first(lambda ticker: ticker.last == 100.0)
        sink.take([{"last": 101.0}], 101)
        await running.public.first(lambda ticker: ticker.last == 101.0)
        said = [ticker for ticker in running.public.said if ticker.last is not None]
        assert sum(1 + ticker.conflated for ticker in said) == 101
        conflated = sum(ticker.conflated for ticker in said)
        assert conflated >= 98
        await running.counted(lambda status: status.conflated == conflated)
        # Half of the cadence: on a busy machine one may arrive late.
        assert running.public.times[-1] - running.public.times[-2] > 0.5


async def test_what_was_said_before_an_interruption_is_not_mixed_with_what_comes_after(bus: Bus) -> None:
    async with body(bus, tickers.run, FEED, cadence_ms=0) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([{"bid": 10.0, "timestamp": 5}], 1000)
        before = await running.public.first(lambda ticker: ticker.bid == 10.0)
        sink.take([{"bid": 10.5}], 1001)
        next_ = await running.public.first(lambda ticker: ticker.bid == 10.5)
        sink.disconnected("cut")
        assert (await running.said("disconnected")).message == "cut"
        assert running.context.status.state == "disconnected"
        sink.connected()
        sink.take([{"last": 11.0}], 2000)
        after = await running.public.first(lambda ticker: ticker.last == 11.0)
        assert (after.bid, after.timestamp) == (None, None)
        # Where updates may be missing before a message, it says so.
        assert [each.interrupted for each in (before, next_, after)] == [True, False, True]
        assert running.context.status.reconnects == 1


async def test_a_new_owner_repeats_the_last_message_and_shuts_the_old_one_out(bus: Bus) -> None:
    async with body(bus, tickers.run, FEED, cadence_ms=0) as old:
        sink = await old.venue.sink()
        sink.connected()
        sink.take([{"last": 10.0, "timestamp": 5}], 1000)
        before = await old.public.first(lambda ticker: ticker.last == 10.0)
        async with body(bus, tickers.run, FEED, cadence_ms=0) as new:
            await new.venue.sink()
            repeated = msgspec.structs.replace(before, interrupted=False, repeated=True)
            assert await new.public.first(lambda ticker: True) == repeated
            sink.take([{"last": 666.0}], 2000)
            assert isinstance(await old.ended(), Fenced)
            (await new.venue.sink()).take([{"last": 12.0}], 2000)
            await new.public.first(lambda ticker: ticker.last == 12.0)
            assert [ticker.last for ticker in new.public.said] == [10.0, 12.0]


async def test_a_new_owner_shuts_the_old_one_out_though_neither_has_said_anything(bus: Bus) -> None:
    async with body(bus, tickers.run, FEED, cadence_ms=0) as old:
        sink = await old.venue.sink()
        async with body(bus, tickers.run, FEED, cadence_ms=0) as new:
            await new.venue.sink()
            await new.public.first(lambda ticker: True)
            sink.take([{"last": 666.0}], 2000)
            assert isinstance(await old.ended(), Fenced)
            assert all(ticker.last is None for ticker in new.public.said)


async def test_a_last_message_that_cannot_be_read_gives_way_to_an_empty_one(bus: Bus) -> None:
    await bus.jetstream.publish(FEED.tape, b'{"exchange":"binance","price":"10"}')
    public = await listening(bus, FEED.public, Ticker)
    async with body(bus, tickers.run, FEED, cadence_ms=0) as running:
        await running.venue.sink()
        marker = await public.first(lambda ticker: True)
        assert (marker.exchange, marker.symbol, marker.last, marker.bid) == ("binance", "BTC/USDT", None, None)


async def test_a_message_with_fields_of_another_version_is_repeated_as_far_as_it_is_known(bus: Bus) -> None:
    old = {"exchange": "binance", "symbol": "BTC/USDT", "timestamp": 5, "received": 6, "last": 10.0, "new": [1]}
    await bus.jetstream.publish(FEED.tape, msgspec.json.encode(old))
    async with body(bus, tickers.run, FEED, cadence_ms=0) as running:
        await running.venue.sink()
        marker = await running.public.first(lambda ticker: True)
        assert (marker.timestamp, marker.received, marker.last) == (5, 6, 10.0)


async def test_what_cannot_be_used_is_counted_and_said_once_a_second(bus: Bus) -> None:
    async with body(bus, tickers.run, FEED, cadence_ms=0) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([{"last": "much"}, None, {"last": 10.0}], 1000)
        for _ in range(50):
            sink.rejected("a broken frame")
        await running.public.first(lambda ticker: ticker.last == 10.0)
        await running.said("rejected")
        assert running.context.status.rejected == 52
        assert [status.event for status in running.statuses.said] == ["starting", "connected", "rejected"]


async def test_stopping_publishes_what_was_said_last_and_leaves_it(bus: Bus) -> None:
    async with body(bus, tickers.run, FEED, cadence_ms=60_000) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([{"last": 10.0}], 1000)
        await running.public.first(lambda ticker: ticker.last == 10.0)
        sink.take([{"last": 11.0}], 1000)
        await running.stop()
        assert running.venue.left.is_set()
        assert (await last(bus, streams.TICKERS, FEED.tape, Ticker)).last == 11.0
        await running.said("stopped")


@pytest.mark.parametrize("said", ["NaN", math.nan, math.inf, -1.0, "x"])
async def test_a_field_that_is_no_number_is_unknown_and_the_others_are_published(bus: Bus, said: Any) -> None:
    async with body(bus, tickers.run, FEED, cadence_ms=0) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([{"last": 10.0, "bid": 9.0, "volume": 5.0}], 1000)
        await running.public.first(lambda ticker: ticker.last == 10.0)
        sink.take([{"last": said, "bid": 9.5, "volume": said}], 1001)
        after = await running.public.first(lambda ticker: ticker.bid == 9.5)
        assert (after.last, after.volume) == (None, None)
        assert running.context.status.rejected == 2
        assert "cannot be read" in (await running.said("rejected")).message


async def test_the_price_0_of_an_empty_side_is_no_price(bus: Bus) -> None:
    async with body(bus, tickers.run, FEED, cadence_ms=0) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([{"last": 10.0, "bid": 9.0, "bid_amount": 1.0}], 1000)
        await running.public.first(lambda ticker: ticker.bid == 9.0)
        sink.take([{"bid": 0.0, "bid_amount": 0.0, "ask": 11.0}], 1001)
        after = await running.public.first(lambda ticker: ticker.ask == 11.0)
        assert (after.bid, after.bid_amount, after.last) == (None, 0.0, 10.0)
        assert running.context.status.rejected == 0
