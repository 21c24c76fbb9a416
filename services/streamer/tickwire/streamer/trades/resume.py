"""Reads the end of a feed's tape, so that a new owner continues from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from nats.js.api import RawStreamMsg

from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed, Trade, Trades
from tickwire.observe import logs
from tickwire.tape.layout import layout_of
from tickwire.tape.sequence import backwards, enforced_of
from tickwire.tape.stored import former_place
from tickwire.tape.writer import last_message, message_at

log = logs.get(__name__)


class Recent(NamedTuple):
    """The last trades of a tape, in order, and up to when (ms) the tape is declared complete, if a message says so."""

    trades: list[Trade]
    until: int | None


async def recent_trades(bus: Bus, feed: Feed, end: int, wanted: int) -> Recent:
    """The last `wanted` trades of a feed, or all if the tape has fewer, up to the message of sequence `end`.

    Goes on in the tape of an earlier version where the feed's partition begins. Reads each message of the feed by
    itself, one round trip each, from the stream's leader (a replica may lag). Retries while the broker is away, until
    cancelled.
    """
    batches: list[list[Trade]] = []
    untils: list[int] = []
    found = 0
    async for message in _backwards(bus, feed, end):
        decoded = bus.undecodable.decode(feed.public, message.data or b"", Trades)
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


async def _backwards(bus: Bus, feed: Feed, end: int) -> AsyncIterator[RawStreamMsg]:
    """The messages of a feed from the one of sequence `end` back, newest first, as far as they are stored."""
    stream = (await layout_of(bus)).place_of(feed).stream
    newest = await message_at(bus, stream, end)
    oldest = 1
    if newest is not None:
        async for message in _of_stream(bus, stream, newest):
            yield message
            oldest = enforced_of(message.headers)
    former = None if oldest else await former_place(bus, feed.public)
    last = None if former is None else await last_message(bus, *former)
    if former is not None and last is not None:
        log.info("the end of the tape of an earlier version is read, too", **feed.fields)
        async for message in _of_stream(bus, former.stream, last):
            yield message


def _of_stream(bus: Bus, stream: str, newest: RawStreamMsg) -> AsyncIterator[RawStreamMsg]:
    return backwards(newest, lambda each: enforced_of(each.headers), lambda sequence: message_at(bus, stream, sequence))
