"""An owner goes on where the tape of an earlier version ends, which had no partitions, and fences its writer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nats.js.api import RePublish

from support.feeds import ScriptedVenue
from support.trading import Rest, trade, trades
from tape.places import owned
from tape.slots import writing
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.errors import Fenced
from tickwire.model import messages
from tickwire.model.feeds import Trade, Trades
from tickwire.settings import NatsSettings
from tickwire.streamer.trades.resume import recent_trades
from tickwire.tape.writer import TapeWriter, open_writer
from trades.trade_feed import FEED, push, running

pytestmark = pytest.mark.actors

FORMER = "tape.trade.binance.BTC-USDT"


def encoded(some: list[Trade]) -> bytes:
    return messages.encode(Trades(exchange="binance", symbol="BTC/USDT", trades=some, received=1))


@pytest.fixture
async def upgraded(broker: str) -> AsyncIterator[tuple[Bus, TapeWriter]]:
    """A connection to a broker that was upgraded, and the writer that the earlier version left behind."""
    async with connect(NatsSettings(url=broker), name="test") as bus:
        await bus.jetstream.add_stream(
            name=streams.TRADES,
            subjects=["tape.trade.*.*"],
            republish=RePublish(src="tape.trade.>", dest="md.trade.>"),
            allow_direct=True,
        )
        writer, _ = await open_writer(bus, streams.TRADES, FORMER, owned)
        for start in range(0, 700, 100):
            await writer.append(encoded(trades(start, start + 100)))
        await streams.declare(bus.jetstream, 8, 2.0)
        yield bus, writer


async def test_an_owner_goes_on_where_the_former_tape_ends(upgraded: tuple[Bus, TapeWriter]) -> None:
    bus, former = upgraded
    venue = ScriptedVenue(Rest(trades(0, 1200)))
    public: list[Trade] = []

    async def hear(message: object) -> None:
        public.extend(messages.decode(message.data, Trades).trades)  # type: ignore[attr-defined]

    await bus.subscribe(FEED.public, hear)
    async with running(bus, venue) as body:
        push(body.sink, trades(1100, 1210))
        await body.said("repaired")
        await body.public.until_said(lambda said: any(trade(1209) in each.trades for each in said))
    assert next(call["fromId"] for call in venue.rest.calls) == 700
    assert public == trades(700, 1210)
    with pytest.raises(Fenced):
        await former.append(encoded([trade(700)]))
    # The next owner finds all that it needs in the partition.
    async with running(bus, ScriptedVenue(Rest(trades(0, 1210))), owner="two"):
        pass
    info = await bus.jetstream.stream_info(streams.TRADES)
    assert info.state.messages == 8, "seven of the earlier version, and the one that fences it"


async def test_trades_are_read_back_across_both_streams(upgraded: tuple[Bus, TapeWriter]) -> None:
    bus, _ = upgraded
    async with writing(bus, FEED) as writer:
        ends = [await writer.append(encoded(trades(start, start + 10))) for start in range(700, 750, 10)]
    assert (await recent_trades(bus, FEED, ends[-1], 20)).trades == trades(730, 750)
    assert (await recent_trades(bus, FEED, ends[-1], 300)).trades == trades(450, 750)
    assert (await recent_trades(bus, FEED, ends[-1], 2000)).trades == trades(0, 750)
