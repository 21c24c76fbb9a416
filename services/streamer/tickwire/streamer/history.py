"""The last trades of a feed's tape, read back by whoever goes on with it."""

from __future__ import annotations

import asyncio

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from tickwire import logs, messages, streams
from tickwire.bus import Bus, cancellable
from tickwire.errors import BadRequest
from tickwire.feeds import Feed, Trade, Trades
from tickwire.streamer.tape import RETRY_S

log = logs.get(__name__)

FIRST_STEP = 256
FACTOR = 16
"""How many messages of the whole stream are gone back at first, and how many times as many each time after."""
PATIENCE_S = 10.0


async def recent_trades(bus: Bus, feed: Feed, end: int, wanted: int) -> list[Trade]:
    """The last `wanted` trades of a feed, or as many as the tape has, up to its message of sequence `end`.

    Repeats while the broker is away, until cancelled.
    """
    step = FIRST_STEP
    while True:
        start = max(1, end - step)
        found = await _between(bus, feed, start, end)
        if len(found) >= wanted or start == 1:
            return found[-wanted:]
        step *= FACTOR


async def _between(bus: Bus, feed: Feed, start: int, end: int) -> list[Trade]:
    while True:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await _read(bus, feed, start, end)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            log.debug("the tape cannot be read yet", subject=feed.tape, error=repr(error))
        await asyncio.sleep(RETRY_S)


async def _read(bus: Bus, feed: Feed, start: int, end: int) -> list[Trade]:
    trades: list[Trade] = []
    done = asyncio.Event()

    async def take(message: Msg) -> None:
        if done.is_set():
            return
        try:
            trades.extend(messages.decode(message.data, Trades).trades)
        except BadRequest as error:
            log.warning("a message on the tape cannot be read", subject=feed.tape, error=str(error))
        if message.metadata.sequence.stream >= end:
            done.set()

    # An ordered consumer rather than direct reads, which a replica that lags may answer.
    subscription = await cancellable(bus.ordered(feed.tape, streams.TRADES, take, start_sequence=start))
    try:
        await done.wait()
    finally:
        try:
            await subscription.unsubscribe()
        except nats.errors.Error as error:
            log.debug("could not unsubscribe", error=repr(error))
    return trades
