"""Reads the trade tape of one market: where to start, and every message from there on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

import msgspec
from nats.js.api import StreamInfo

from tickwire.bus.connection import Bus
from tickwire.bus.requests import until_answered
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trades
from tickwire.streamer.control.slot_tape import SlotTape
from tickwire.tape.layout import layout_of
from tickwire.tape.stored import rfc3339, stored_tape
from tickwire.tape.writer import last_message

MARGIN_MS = 120_000
"""Reading starts this much earlier than an interval: the tape is declared complete once a minute."""
_SKIPPED = Gap(since=None, until=None, reason="no longer on the tape when it was read")
_UNREADABLE = Gap(since=None, until=None, reason="a message of the tape cannot be read")


async def follow_trades(
    slot: SlotTape, trades: Feed, after: int, unreadable: Callable[[str], None]
) -> AsyncGenerator[tuple[int, Trades], None]:
    """Every message after a sequence and its content: the stored ones, then each that becomes stored, without end.

    `unreadable` is called with the reason for each message that cannot be decoded; such a message counts as a gap.
    """
    async with aclosing(await slot.follow(trades.public, after)) as stored:
        async for message in stored:
            content = decode_trades(message.data, trades, unreadable)
            yield message.sequence, after_gap(content) if message.skipped else content


def decode_trades(data: bytes, trades: Feed, unreadable: Callable[[str], None]) -> Trades:
    """Decode a message of the tape; one that cannot be decoded becomes a gap, and `unreadable` gets the reason."""
    try:
        return messages.decode(data, Trades)
    except BadRequest as error:
        unreadable(str(error))
        return Trades(exchange=trades.exchange, symbol=trades.symbol, trades=[], received=0, gap=_UNREADABLE)


def after_gap(message: Trades) -> Trades:
    """The message with a gap before it, unless it has one already: messages before it are no longer stored."""
    return message if message.gap is not None else msgspec.structs.replace(message, gap=_SKIPPED)


async def stream_info(bus: Bus, trades: Feed) -> StreamInfo:
    """The state of the stream of these trades; retries until the broker answers."""
    stream = (await layout_of(bus)).place_of(trades).stream
    return await until_answered(partial(bus.jetstream.stream_info, stream), f"stream {stream}")


async def position(bus: Bus, trades: Feed, back_ms: int, info: StreamInfo) -> int:
    """The sequence after which to read to see at least what happened in the last `back_ms`."""
    place = (await layout_of(bus)).place_of(trades)
    last = await last_message(bus, place.stream, place.subject)
    if last is None or last.seq is None or last.time is None:
        return info.state.last_seq
    # Messages are found by the broker's clock, which may differ from this machine's.
    stored_since = last.time.timestamp() - (back_ms + MARGIN_MS) / 1000
    first = await (await stored_tape(bus, trades.public)).first_since(rfc3339(stored_since))
    # In a quiet market the last message is older, and says up to when the tape was complete then.
    return min(last.seq, first.sequence if first is not None else last.seq) - 1
