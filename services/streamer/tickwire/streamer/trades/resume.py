"""The end of a feed's tape, read back by whoever goes on with it."""

from __future__ import annotations

from typing import NamedTuple

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed, Trade, Trades
from tickwire.tape.sequence import backwards
from tickwire.tape.writer import expected, message_at


class Recent(NamedTuple):
    """The last trades of a tape, in order, and up to when (ms) it is complete, as far as one of its messages says."""

    trades: list[Trade]
    until: int | None


async def recent_trades(bus: Bus, feed: Feed, end: int, wanted: int) -> Recent:
    """The last `wanted` trades of a feed, or as many as the tape has, up to its message of sequence `end`.

    Reads each message by itself, by the stream leader's word (a replica may lag), and no message of another feed: a
    round trip each. Repeats while the broker is away, until cancelled.
    """
    parts: list[list[Trade]] = []
    untils: list[int] = []
    found = 0
    newest = await message_at(bus, streams.TRADES, end)
    if newest is None:
        return Recent([], None)
    async for message in backwards(newest, expected, lambda sequence: message_at(bus, streams.TRADES, sequence)):
        said = bus.undecodable.decode(feed.tape, message.data or b"", Trades)
        if said is None:
            continue
        parts.append(said.trades)
        untils += [] if said.until is None else [said.until]
        found += len(said.trades)
        if found >= wanted:
            break
    trades = [trade for part in reversed(parts) for trade in part]
    return Recent(trades[-wanted:], max(untils, default=None))
