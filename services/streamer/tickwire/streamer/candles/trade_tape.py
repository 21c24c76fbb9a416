"""Reads the trade tape of one market: where to start, stored messages in pages, and live messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial

import msgspec
from nats.aio.msg import Msg
from nats.js.api import StreamInfo
from nats.js.client import JetStreamContext

from tickwire.bus import graceful_close
from tickwire.bus.connection import Bus
from tickwire.bus.requests import until_answered
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trades
from tickwire.process.loop_yield import LoopYield
from tickwire.tape.layout import layout_of
from tickwire.tape.sequence import has_gap, previous_of
from tickwire.tape.stored import read_pages, rfc3339, stored_tape
from tickwire.tape.writer import last_message

MARGIN_MS = 120_000
"""Reading starts this much earlier than an interval: the tape is declared complete once a minute."""
_SKIPPED = Gap(since=None, until=None, reason="no longer on the tape when it was read")
_UNREADABLE = Gap(since=None, until=None, reason="a message of the tape cannot be read")


class TradeTapeReader:
    """Reads the tape of `trades` from a sequence on, one message at a time: `take` gets its sequence and content.

    `unreadable` is called with the reason for each message that cannot be decoded; such a message counts as a gap.
    """

    def __init__(
        self,
        bus: Bus,
        trades: Feed,
        take: Callable[[int, Trades], Awaitable[None]],
        unreadable: Callable[[str], None],
    ) -> None:
        self._bus = bus
        self._trades = trades
        self._take = take
        self._unreadable = unreadable
        self._subscription: JetStreamContext.PushSubscription | None = None
        self._closed = False
        self._last = 0
        """Sequence of the last message taken."""

    async def open(self, start: int) -> None:
        """Begin with the first message at or after sequence `start`; retries while the broker is away."""
        stream, subject = (await layout_of(self._bus)).place_of(self._trades)
        subscribe = partial(self._bus.subscribe_ordered, subject, stream, self._receive, start_sequence=start)
        self._subscription = await until_answered(subscribe, f"stream {stream}")
        if self._closed:
            # It was closed while the subscription was being made.
            await self.close()

    def end(self) -> None:
        """Take no more messages, though some may have been received."""
        self._closed = True

    async def close(self) -> None:
        """Take no more messages, and unsubscribe."""
        self.end()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            # Even while the broker is away: the client would subscribe again when it is back.
            await graceful_close.unsubscribe(self._bus.client, subscription)

    async def _receive(self, message: Msg) -> None:
        if self._closed:
            return
        trades = decode_trades(message.data, self._trades, self._unreadable)
        if has_gap(previous_of(message.headers), self._last):
            # Retention removed messages before they were read.
            trades = after_gap(trades)
        self._last = sequence_of(message.reply)
        await self._take(self._last, trades)


async def read_back(
    bus: Bus, trades: Feed, after: int, unreadable: Callable[[str], None]
) -> AsyncGenerator[tuple[int, Trades], None]:
    """The stored messages after a sequence, up to the present end; yields to the event loop in between."""
    loop = LoopYield()
    async with aclosing(read_pages(bus, trades.public, after, known=False)) as pages:
        async for page in pages:
            for message in page:
                content = decode_trades(message.data, trades, unreadable)
                yield message.sequence, after_gap(content) if message.skipped else content
                # By time: a message has one trade, or as many thousands as fit into it.
                await loop.after_step()


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


def sequence_of(reply: str) -> int:
    """The stream sequence in the reply subject of a JetStream message, of the form with or without a domain.

    Source: nats-architecture-and-design, ADR-15; nats-py's own `metadata` parses everything else, too.
    """
    tokens = reply.split(".")
    return int(tokens[5] if len(tokens) == 9 else tokens[7])
