"""Reads the end of a feed's tape, so that a new owner continues from it."""

from __future__ import annotations

from typing import NamedTuple

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed, Trade, Trades
from tickwire.tape.sequence import backwards, enforced_of
from tickwire.tape.writer import message_at


class Recent(NamedTuple):
    """The last trades of a tape, in order, and up to when (ms) the tape is declared complete, if a message says so."""

    trades: list[Trade]
    until: int | None


async def recent_trades(bus: Bus, feed: Feed, end: int, wanted: int) -> Recent:
    """The last `wanted` trades of a feed, or all if the tape has fewer, up to the message of sequence `end`.

    Reads each message of the feed by itself, one round trip each, from the stream's leader (a replica may lag). Retries
    while the broker is away, until cancelled.
    """
    batches: list[list[Trade]] = []
    untils: list[int] = []
    found = 0
    newest = await message_at(bus, streams.TRADES, end)
    if newest is None:
        return Recent([], None)
    stored = backwards(
        newest, lambda each: enforced_of(each.headers), lambda sequence: message_at(bus, streams.TRADES, sequence)
    )
    async for message in stored:
        decoded = bus.undecodable.decode(feed.tape, message.data or b"", Trades)
        if decoded is None:
            continue
        batches.append(decoded.trades)
        if decoded.until is not None:
            untils.append(decoded.until)
        found += len(decoded.trades)
        if found >= wanted:
            break
    trades = [trade for batch in reversed(batches) for trade in batch]
    return Recent(trades[-wanted:], max(untils, default=None))
