"""Tickers: what an exchange says of a market piece by piece, put together.

| subject | direction | what |
|---|---|---|
| `tape.ticker.<exchange>.<token>` | publishes | `Ticker`, at most every `cadence_ms`; public as `md.ticker.…` |
| `tape.status.ticker.<exchange>.<token>` | publishes | `Status`, by `FeedStatus`; public as `md.status.ticker.…` |
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from tickwire.bus import streams
from tickwire.errors import BadRequest
from tickwire.model import messages, numbers
from tickwire.model.feeds import Ticker
from tickwire.model.times import now_ms
from tickwire.process import lifecycle
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.throttle import Rejections, Throttle
from tickwire.tape.writer import TapeWriter, open_writer

FIELDS = frozenset(Ticker.__struct_fields__) - {"exchange", "symbol", "timestamp", "received", "conflated"}
"""The fields that an update may have, besides `timestamp`; others are ignored."""
AMOUNTS = frozenset({"bid_amount", "ask_amount", "volume", "quote_volume"})
"""Those that are no prices."""


async def run(context: FeedContext) -> None:
    """Publish the ticker of `context.feed` until `context.stop`; see FeedContext for what is raised."""
    tape, last = await open_writer(context.bus, streams.TICKERS, context.feed.tape, context.confirm)
    await tape.append(messages.encode(_again(context, last)))
    context.status.report("starting")
    await TickerFeed(context, tape).run()
    context.status.state = "stopped"
    context.status.report("stopped")


def _again(context: FeedContext, last: bytes | None) -> Ticker:
    """The last message as it was; an empty one where there is none, or none that can be read."""
    if last is not None:
        try:
            return msgspec.structs.replace(messages.decode(last, Ticker), conflated=0)
        except BadRequest:
            pass
    return Ticker(exchange=context.feed.exchange, symbol=context.feed.symbol, timestamp=None, received=now_ms())


class TickerFeed:
    """The ticker: the venue puts updates in (`FeedSink`), the publisher takes the newest state out."""

    def __init__(self, context: FeedContext, tape: TapeWriter) -> None:
        self._context = context
        self._status = context.status
        self._tape = tape
        self._throttle = Throttle()
        self._complaints = Rejections(context.status)
        self._said: dict[str, float] = {}
        self._timestamp: int | None = None
        self._received = 0
        self._updates = 0
        self._connections = 0
        self._ended = False

    async def run(self) -> None:
        """All of the feed's work, until the context says stop."""
        async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
            publisher = group.create_task(self._publish())
            async with self._context.venue.watching(self._context.feed, self):
                await self._context.stop.wait()
            self._ended = True
            self._throttle.notify_now()
            await publisher

    def take(self, items: Sequence[Any], received: int) -> None:
        """Updates: dicts with some of the fields. One that is None says nothing."""
        for item in items:
            try:
                timestamp = item.get("timestamp")
                timestamp = None if timestamp is None else int(timestamp)
                names = FIELDS & item.keys()
            except (TypeError, ValueError, AttributeError, OverflowError) as error:
                self._complaints.add(f"an update that cannot be read: {error!r}")
                continue
            for name in names:
                if item[name] is not None:
                    self._say(name, item[name])
            # Binance's best prices of the spot market come without a time: the newest one said stays.
            if timestamp is not None:
                self._timestamp = max(timestamp, self._timestamp or 0)
            self._received = received
            self._updates += 1
            self._throttle.notify()
            if self._status.state != "live":
                self._status.state = "live"

    def _say(self, name: str, value: Any) -> None:
        """A field as it is from now on: unknown where the value cannot be one. The other fields are good."""
        try:
            # VenuePool say 0 for the best price of an empty side, and for the last price before the first trade.
            if name in AMOUNTS:
                self._said[name] = numbers.amount(value)
            elif float(value):
                self._said[name] = numbers.price(value, self._context.feed.symbol)
            else:
                self._said.pop(name, None)
        except (TypeError, ValueError) as error:
            self._said.pop(name, None)
            self._complaints.add(f"{name} cannot be read: {error}")

    def connected(self) -> None:
        """What was said before is not put together with what comes: it may be long past."""
        if self._connections:
            self._status.reconnects += 1
        self._connections += 1
        self._status.state = "live"
        self._status.report("connected")

    def disconnected(self, reason: str) -> None:
        """The last message stays, with the time it is of."""
        self._said = {}
        self._timestamp = None
        self._updates = 0
        self._status.state = "disconnected"
        self._status.report("disconnected", reason)

    def rejected(self, reason: str) -> None:
        """Say so."""
        self._complaints.add(reason)

    def left_out(self, reason: str) -> None:
        """Say so."""
        self._complaints.add(f"an update: {reason}")

    async def _publish(self) -> None:
        """The newest state, one publish in flight, at most every `settings.cadence_ms`."""
        while True:
            await self._throttle.wait(self._context.settings.cadence_ms / 1000)
            if self._updates:
                updates, self._updates = self._updates, 0
                message = Ticker(
                    exchange=self._context.feed.exchange,
                    symbol=self._context.feed.symbol,
                    timestamp=self._timestamp,
                    received=self._received,
                    conflated=updates - 1,
                    **self._said,
                )
                await self._tape.append(messages.encode(message))
                self._status.published(updates, received=message.received, timestamp=message.timestamp)
                self._status.conflated += updates - 1
            if self._ended and not self._updates:
                return
