"""Reading the tape of a market's trades: where to begin, and each message from there on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.js.api import StreamInfo
from nats.js.client import JetStreamContext

from tickwire.bus import graceful_close, streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import cancellable, direct_get
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trades
from tickwire.observe import logs
from tickwire.process.loop_yield import LoopYield
from tickwire.tape.reader import read_pages
from tickwire.tape.sequence import expected_of, has_gap
from tickwire.tape.writer import RETRY_S, last_message

log = logs.get(__name__)

MARGIN_MS = 120_000
"""How much earlier than an interval reading back begins: a tape says each minute how far it is complete."""
_SKIPPED = Gap(since=None, until=None, reason="no longer on the tape when it was read")
_UNREADABLE = Gap(since=None, until=None, reason="a message of the tape cannot be read")


class TradeTapeReader:
    """The tape of `trades` from a message on. `take` is given the sequence of each and what it says, one at a time.

    `unreadable` is told of a message that is none; it counts as a gap.
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
        self._hand_on = take
        self._unreadable = unreadable
        self._subscription: JetStreamContext.PushSubscription | None = None
        self._over = False
        self._last = 0
        """The sequence of the last message that was handed on."""

    async def open(self, start: int) -> None:
        """Begin with the first message at or after sequence `start`, repeating while the broker is away."""
        while True:
            try:
                self._subscription = await cancellable(
                    self._bus.subscribe_ordered(self._trades.tape, streams.TRADES, self._take, start_sequence=start)
                )
                break
            except nats.errors.Error as error:
                log.debug("stream TRADES cannot be read yet", **self._trades.fields, error=repr(error))
            await asyncio.sleep(RETRY_S)
        if self._over:
            # It had its last message before it was known to be open.
            await self.close()

    def end(self) -> None:
        """Hand on nothing more, though there may be messages in hand."""
        self._over = True

    async def close(self) -> None:
        """End, and let the broker send no more."""
        self.end()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await graceful_close.unsubscribe(self._bus.client, subscription)

    async def _take(self, message: Msg) -> None:
        if self._over:
            return
        told = told_by(message.data, self._trades, self._unreadable)
        if has_gap(expected_of(message.headers), self._last):
            # Retention was faster than we are.
            told = skipped(told)
        self._last = sequence_of(message.reply)
        await self._hand_on(self._last, told)


async def read_back(
    bus: Bus, trades: Feed, after: int, unreadable: Callable[[str], None]
) -> AsyncGenerator[tuple[int, Trades], None]:
    """What the tape keeps after a sequence, up to its present end: by pages, so that nothing else waits behind it."""
    loop_yield = LoopYield()
    async with aclosing(read_pages(bus, trades.public, after, known=False)) as found:
        async for page in found:
            for taped in page:
                told = told_by(taped.data, trades, unreadable)
                yield taped.sequence, skipped(told) if taped.skipped else told
                # By time: a message has one trade, or as many thousands as fit into it.
                await loop_yield.after_step()


def told_by(data: bytes, trades: Feed, unreadable: Callable[[str], None]) -> Trades:
    """A message of the tape; one that cannot be read, of which `unreadable` is told, is a gap."""
    try:
        return messages.decode(data, Trades)
    except BadRequest as error:
        unreadable(str(error))
        return Trades(exchange=trades.exchange, symbol=trades.symbol, trades=[], received=0, gap=_UNREADABLE)


def skipped(told: Trades) -> Trades:
    """A message before which others are no longer kept: a gap, if it does not name one itself."""
    return told if told.gap is not None else msgspec.structs.replace(told, gap=_SKIPPED)


async def stream_info(bus: Bus, trades: Feed) -> StreamInfo:
    """That of stream TRADES, asked for until it answers, for a market."""
    while True:
        try:
            return await cancellable(bus.jetstream.stream_info(streams.TRADES))
        except nats.errors.Error as error:
            log.debug("stream TRADES does not answer", **trades.fields, error=repr(error))
        await asyncio.sleep(RETRY_S)


async def position(bus: Bus, trades: Feed, back_ms: int, info: StreamInfo) -> int:
    """The sequence after which to read in order to see what happened in the last `back_ms` at least."""
    last = await last_message(bus, streams.TRADES, trades.tape)
    if last is None or last.seq is None or last.time is None:
        return info.state.last_seq
    # What the broker stored is found by its own clock: that of this machine may be another.
    stored_since = last.time.timestamp() - (back_ms + MARGIN_MS) / 1000
    first = await _first_since(bus, trades, stored_since)
    # In a quiet market the last message is older, and says how far the tape was complete then.
    return min(last.seq, first if first is not None else last.seq) - 1


async def _first_since(bus: Bus, trades: Feed, stored: float) -> int | None:
    """The sequence of the market's first message that the broker stored at or after a time (s)."""
    at = datetime.fromtimestamp(stored, UTC).isoformat().replace("+00:00", "Z")
    request: dict[str, object] = {"next_by_subj": trades.tape, "start_time": at}
    while True:
        try:
            found = await direct_get(bus.client, streams.TRADES, request, timeout_s=2)
            return messages.header_int(found[0].headers, "Nats-Sequence") if found else None
        except (nats.errors.Error, TimeoutError) as error:
            log.debug("stream TRADES does not answer", **trades.fields, error=repr(error))
        await asyncio.sleep(RETRY_S)


def sequence_of(reply: str) -> int:
    """The stream sequence in the reply subject of a JetStream message, of the form with or without domain.

    Source: nats-architecture-and-design, ADR-15; nats-py's own `metadata` also parses what nobody asks for.
    """
    tokens = reply.split(".")
    return int(tokens[5] if len(tokens) == 9 else tokens[7])
