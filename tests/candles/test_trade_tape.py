"""Reads the tape of trades for candles."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from candles.candle_feed import TRADES, trade, trade_tape
from support.wires import wire
from tape.places import OTHER_SUBJECT, TRADES_STREAM
from tickwire.bus import embedded, streams
from tickwire.bus.connection import connect
from tickwire.model.feeds import Trades
from tickwire.settings import NatsSettings
from tickwire.streamer.candles.trade_tape import TradeTapeReader, read_back

pytestmark = pytest.mark.actors


async def test_a_reading_that_was_closed_while_the_broker_was_away_is_not_made_again(tmp_path: Path) -> None:
    heard: asyncio.Queue[int] = asyncio.Queue()

    async def take(sequence: int, _trades: Trades) -> None:
        heard.put_nowait(sequence)

    async with AsyncExitStack() as second, AsyncExitStack() as first:
        url = await first.enter_async_context(embedded.embedded(tmp_path / "nats"))
        async with connect(NatsSettings(url=url), name="test") as bus:
            await streams.declare(bus.jetstream, 8, 2.0)
            async with trade_tape(bus) as tape:
                before = set(bus.client._subs)
                reading = TradeTapeReader(bus, TRADES, take, lambda _reason: None)
                await reading.open(1)
                await tape.say(trade(0))
                assert await heard.get() == 2, "the first message is the hand-over"
                await first.aclose()
                async with asyncio.timeout(100):
                    while bus.client.is_connected:
                        await asyncio.sleep(0.01)
                    await reading.close()
                    again = embedded.embedded(tmp_path / "nats", port=int(url.rpartition(":")[2]))
                    await second.enter_async_context(again)
                    await tape.say(trade(1))
                # Those of confirmations and answers may have been added.
                left = [each.subject for number, each in bus.client._subs.items() if number not in before]
                assert all(subject.startswith("_INBOX") and subject.endswith("*") for subject in left), left
                assert heard.empty()


async def test_messages_that_retention_takes_before_they_are_read_are_a_gap(tmp_path: Path) -> None:
    """Read live over a connection that was cut, and read back by pages from a place before them."""
    heard: list[tuple[int, Trades]] = []
    last = asyncio.Event()

    async def take(sequence: int, told: Trades) -> None:
        heard.append((sequence, told))
        if told.trades[-1].timestamp == trade(9).timestamp:
            last.set()

    async with asyncio.timeout(100), embedded.embedded(tmp_path / "nats") as url, wire(url) as line:
        async with (
            connect(NatsSettings(url=url), name="writes") as bus,
            connect(NatsSettings(url=line.url), name="reads") as follower,
        ):
            await streams.declare(bus.jetstream, 8, 2.0)
            # The first message of all is none that others were before.
            await bus.jetstream.publish(OTHER_SUBJECT, b"another feed's")
            async with trade_tape(bus) as tape:
                reading = TradeTapeReader(follower, TRADES, take, lambda _reason: None)
                await reading.open(1)
                for number in range(3):
                    await tape.say(trade(number))
                while len(heard) < 3:
                    await asyncio.sleep(0.01)
                line.cut()
                await follower.lost.wait()
                for number in range(3, 10):
                    await tape.say(trade(number))
                await bus.jetstream.purge_stream(TRADES_STREAM, keep=2)
                await line.mend()
                await last.wait()
                await reading.close()
                assert [told.gap is not None for _, told in heard] == [False] * 3 + [True, False]
                back = [told async for _, told in read_back(bus, TRADES, heard[2][0], lambda _reason: None)]
                assert [told.gap is not None for told in back] == [True, False]


async def test_before_the_first_message_of_a_feed_nothing_is_missing(tmp_path: Path) -> None:
    async with asyncio.timeout(100), embedded.embedded(tmp_path / "nats") as url:
        async with connect(NatsSettings(url=url), name="test") as bus:
            await streams.declare(bus.jetstream, 8, 2.0)
            ack = await bus.jetstream.publish(OTHER_SUBJECT, b"another feed's")
            async with trade_tape(bus) as tape:
                await tape.say(trade(0))
                await tape.say(trade(1))
                back = [told async for _, told in read_back(bus, TRADES, ack.seq, lambda _reason: None)]
                assert [told.gap for told in back] == [None, None]
