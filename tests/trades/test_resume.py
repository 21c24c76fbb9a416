"""An owner of a trade feed resumes where the tape ends, and one that was overtaken adds nothing."""

from __future__ import annotations

from typing import Any

import pytest
from ccxt.base import errors

from support.feeds import ScriptedVenue
from support.trading import START, Rest, trade, trades
from tape.places import OTHER_SUBJECT, TRADES_STREAM
from tape.slots import writing
from tickwire.bus.connection import Bus
from tickwire.errors import Fenced
from tickwire.model import messages
from tickwire.model.feeds import Trades
from tickwire.settings import StreamerSettings
from tickwire.streamer.trades.resume import recent_trades
from tickwire.tape.layout import layout_of
from trades.trade_feed import FEED, consecutive, on_tape, push, running, witness

pytestmark = pytest.mark.actors


async def test_an_owner_goes_on_where_the_tape_ends(bus: Bus) -> None:
    await on_tape(bus, trades(0, 700))
    venue = ScriptedVenue(Rest(trades(0, 3000)))
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(2900, 3010))
        await seen.until(lambda: consecutive(seen, 0, 3010))
        await seen.until(lambda: "repaired" in seen.events())
        assert {message.source for message in seen.messages if message.trades[:1] == [trade(700)]} == {"rest"}
        assert [call["fromId"] for call in venue.rest.calls] == [700, 1700, 2700]
        assert sum(status.trades for status in seen.statuses) == body.context.status.repaired == 2200


async def test_the_last_trade_is_found_behind_any_number_of_messages_without_trades(bus: Bus) -> None:
    await on_tape(bus, trades(0, 10))
    async with writing(bus, FEED) as tape:
        for _ in range(600):
            await tape.append(messages.encode(Trades(exchange="binance", symbol="BTC/USDT", trades=[], received=1)))
    venue = ScriptedVenue(Rest(trades(0, 20)))
    async with witness(bus) as seen, running(bus, venue):
        await seen.until(lambda: consecutive(seen, 0, 20))


async def test_what_waits_for_missing_trades_at_the_end_is_left_to_the_next_owner(bus: Bus) -> None:
    venue = ScriptedVenue(Rest())
    venue.rest.always = errors.NetworkError("down")
    settings = StreamerSettings(repair_s=60)
    async with witness(bus) as seen:
        async with running(bus, venue, settings) as body:
            push(body.sink, [trade(0), trade(5)])
            await seen.until(lambda: seen.ids == [0])
        assert seen.ids == [0]
        async with running(bus, ScriptedVenue(Rest(trades(0, 8))), settings, owner="two"):
            await seen.until(lambda: consecutive(seen, 0, 8))


async def test_an_owner_that_was_overtaken_adds_nothing(bus: Bus) -> None:
    first, second = ScriptedVenue(Rest(trades(0, 30))), ScriptedVenue(Rest(trades(0, 30)))
    public: list[Trades] = []

    async def hear(message: Any) -> None:
        public.append(messages.decode(message.data, Trades))

    await bus.subscribe(FEED.public, hear)
    async with witness(bus) as seen:
        with pytest.raises(ExceptionGroup) as raised:
            async with running(bus, first) as zombie:
                push(zombie.sink, trades(0, 10))
                await seen.until(lambda: consecutive(seen, 0, 10))
                async with running(bus, second, owner="two") as successor:
                    push(zombie.sink, trades(10, 20))
                    with pytest.raises(Fenced):
                        await zombie.task
                    push(successor.sink, trades(10, 25))
                    await seen.until(lambda: consecutive(seen, 0, 25) or consecutive(seen, 0, 30))
                zombie.context.status.report("gap")
        assert raised.group_contains(Fenced), "nor may it say anything"
        assert first.left.is_set()
        assert [each.id for message in public for each in message.trades] == [str(number) for number in seen.ids]
        assert "one" not in {status.owner for status in seen.statuses[seen.events().index("starting", 1) :]}


async def test_however_much_others_said_the_last_trades_are_read_back_at_once_and_alone(bus: Bus) -> None:
    """20,000 messages of others in between, not one of which is sent to us."""
    await on_tape(bus, trades(0, 1200))
    for number in range(20_000):
        await bus.client.publish(OTHER_SUBJECT, b"{}")
        if number % 5000 == 4999:
            await bus.client.flush()
    async with writing(bus, FEED) as tape:
        end = await tape.append(messages.encode(Trades(exchange="binance", symbol="BTC/USDT", trades=[], received=1)))
    assert end > 20_000
    # A connection asks for it once.
    await layout_of(bus)
    before = bus.client.stats["in_msgs"]
    recent = await recent_trades(bus, FEED, end, 1000)
    assert recent.trades == trades(200, 1200)
    assert bus.client.stats["in_msgs"] - before == 4, "the marker, and messages of 200, 500 and 500"


async def test_what_retention_left_of_the_tape_is_read_back_with_how_far_it_is_complete(bus: Bus) -> None:
    ends = []
    async with writing(bus, FEED) as tape:
        for number in range(6):
            some = [trade(number)] if number < 5 else []
            until = START + 1000 * number if number in (3, 4) else None
            message = Trades(exchange="binance", symbol="BTC/USDT", trades=some, received=1, until=until)
            ends.append(await tape.append(messages.encode(message)))
    assert (await recent_trades(bus, FEED, ends[-1], 2)) == (trades(3, 5), START + 4000)
    await bus.jetstream.purge_stream(TRADES_STREAM, seq=ends[2])
    assert (await recent_trades(bus, FEED, ends[-1], 10)) == (trades(2, 5), START + 4000)
    assert (await recent_trades(bus, FEED, ends[2], 10)) == (trades(2, 3), None)
