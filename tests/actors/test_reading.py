"""Reading the tape of trades."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from support.candle_feed import TRADES, trade, trade_tape
from tickwire import broker, streams
from tickwire.bus import connect
from tickwire.config import NatsSettings
from tickwire.feeds import Trades
from tickwire.streamer.reading import Reading


async def test_a_reading_that_was_closed_while_the_broker_was_away_is_not_made_again(tmp_path: Path) -> None:
    heard: asyncio.Queue[int] = asyncio.Queue()

    async def take(sequence: int, _trades: Trades) -> None:
        heard.put_nowait(sequence)

    async with AsyncExitStack() as second, AsyncExitStack() as first:
        url = await first.enter_async_context(broker.embedded(tmp_path / "nats"))
        async with connect(NatsSettings(url=url), name="test") as bus:
            await streams.declare(bus.jetstream, 8, 1.0)
            tape = await trade_tape(bus)
            before = set(bus.client._subs)
            reading = Reading(bus, TRADES, take, lambda _reason: None)
            await reading.open(1)
            await tape.say(trade(0))
            assert await heard.get() == 1
            await first.aclose()
            async with asyncio.timeout(100):
                while bus.client.is_connected:
                    await asyncio.sleep(0.01)
                await reading.close()
                await second.enter_async_context(broker.embedded(tmp_path / "nats", port=int(url.rpartition(":")[2])))
                await tape.say(trade(1))
            # Those of confirmations and answers may have been added.
            left = [each.subject for number, each in bus.client._subs.items() if number not in before]
            assert all(subject.startswith("_INBOX") and subject.endswith("*") for subject in left), left
            assert heard.empty()
