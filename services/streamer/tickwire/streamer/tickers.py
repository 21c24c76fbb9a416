"""Ticker feeds: updates of single fields, merged into one state.

| subject | direction | what |
|---|---|---|
| `tape.ticker.<exchange>.<token>` | publishes | `Ticker`, at most every `cadence_ms`; public as `md.ticker.…` |
| `tape.status.ticker.<exchange>.<token>` | publishes | `Status`, by `FeedStatus`; public as `md.status.ticker.…` |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tickwire.bus import streams
from tickwire.errors import BadRequest
from tickwire.model import messages, numbers
from tickwire.model.feeds import Feed, Ticker
from tickwire.model.times import now_ms
from tickwire.process import lifecycle
from tickwire.process.throttle import Throttle
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.throttle import Rejections
from tickwire.tape.writer import TapeWriter, open_writer
from tickwire.task_group import TaskGroup

FIELDS = frozenset(Ticker.__struct_fields__) - {
    "exchange", "symbol", "timestamp", "received", "conflated", "interrupted", "repeated",
}  # fmt: skip
"""The fields that an update may have, besides `timestamp`; others are ignored."""
AMOUNTS = frozenset({"bid_amount", "ask_amount", "volume", "quote_volume"})
"""The fields that are not prices."""


async def run(context: FeedContext) -> None:
    """Publish the ticker of `context.feed` until `context.stop` is set; raises as `FeedContext` describes."""
    writer, last = await open_writer(context.bus, streams.TICKERS, context.feed.tape, context.confirm)
    # Fences an earlier writer.
    await writer.append(messages.encode(_repeated(context, last)))
    context.status.report("starting")
    await TickerFeed(context, writer).run()
    context.status.state = "stopped"
    context.status.report("stopped")


def _repeated(context: FeedContext, last: bytes | None) -> Ticker:
    """The last message again; an empty one if there is none that can be decoded."""
    if last is not None:
        try:
            return msgspec.structs.replace(messages.decode(last, Ticker), conflated=0, interrupted=False, repeated=True)
        except BadRequest:
            pass
    feed = context.feed
    return Ticker(exchange=feed.exchange, symbol=feed.symbol, timestamp=None, received=now_ms(), repeated=True)


class TickerState:
    """The fields of a ticker as the exchange updated them last; missing ones are unknown."""

    def __init__(self, symbol: str) -> None:
        self.fields: dict[str, float] = {}
        self.timestamp: int | None = None
        """Of the newest update that has a time, ms."""
        self._symbol = symbol

    def update(self, item: Mapping[str, Any]) -> list[str]:
        """Apply an update: a dict with some of the fields; None says nothing. Returns the reasons of bad values.

        Raises TypeError, ValueError, AttributeError or OverflowError if the update is not such a dict.
        """
        timestamp = item.get("timestamp")
        timestamp = None if timestamp is None else int(timestamp)
        reasons = [self._set(name, item[name]) for name in FIELDS & item.keys() if item[name] is not None]
        # Binance's best prices of spot markets have no time: the newest known one stays.
        if timestamp is not None:
            self.timestamp = max(timestamp, self.timestamp or 0)
        return [reason for reason in reasons if reason is not None]

    def _set(self, name: str, value: Any) -> str | None:
        """Set a field, to unknown if the value is impossible; the reason then. Other fields are not affected."""
        try:
            # Venues send 0 as the best price of an empty side, and as the last price before the first trade.
            if name in AMOUNTS:
                self.fields[name] = numbers.amount(value)
            elif float(value):
                self.fields[name] = numbers.price(value, self._symbol)
            else:
                self.fields.pop(name, None)
        except (TypeError, ValueError) as error:
            self.fields.pop(name, None)
            return f"{name} cannot be read: {error}"
        return None

    def message(self, feed: Feed, received: int, *, conflated: int, interrupted: bool) -> Ticker:
        """The message of this state, whose newest update was `received` at a time (ms)."""
        values: dict[str, Any] = self.fields
        return Ticker(
            exchange=feed.exchange,
            symbol=feed.symbol,
            timestamp=self.timestamp,
            received=received,
            conflated=conflated,
            interrupted=interrupted,
            **values,
        )

    def clear(self) -> None:
        """All is unknown."""
        self.fields = {}
        self.timestamp = None


class TickerFeed:
    """The ticker of one market: the venue puts updates in (a `FeedSink`), the publisher takes the newest state out."""

    def __init__(self, context: FeedContext, writer: TapeWriter) -> None:
        self._context = context
        self._status = context.status
        self._writer = writer
        self._throttle = Throttle()
        self._rejections = Rejections(context.status)
        self._state = TickerState(context.feed.symbol)
        self._received = 0
        self._updates = 0
        """Number of updates since the last message."""
        self._connections = 0
        self._interrupted = True
        """Whether nothing was published since it was connected."""
        self._finishing = False

    async def run(self) -> None:
        """Run until `stop` is set; the newest state is published before it returns."""
        async with lifecycle.unwrapped(), TaskGroup() as group:
            publisher = group.create_task(self._publish())
            async with self._context.venue.watching(self._context.feed, self):
                await self._context.stop.wait()
            self._finishing = True
            self._throttle.notify_now()
            await publisher

    def take(self, items: Sequence[Mapping[str, Any]], received: int) -> None:
        """Apply updates: dicts with some of the fields."""
        for item in items:
            try:
                reasons = self._state.update(item)
            except (TypeError, ValueError, AttributeError, OverflowError) as error:
                self._rejections.add(f"an update that cannot be read: {error!r}")
                continue
            for reason in reasons:
                self._rejections.add(reason)
            self._received = received
            self._updates += 1
            self._throttle.notify()
            if self._status.state != "live":
                self._status.state = "live"

    def connected(self) -> None:
        """Updates arrive from now on. They are not merged with those before the interruption, which may be old."""
        if self._connections:
            self._status.reconnects += 1
        self._connections += 1
        self._status.state = "live"
        self._status.report("connected")

    def disconnected(self, reason: str) -> None:
        """Nothing arrives. The last message stays as it is, with its time."""
        self._state.clear()
        self._updates = 0
        self._interrupted = True
        self._status.state = "disconnected"
        self._status.report("disconnected", reason)

    def rejected(self, reason: str) -> None:
        """A message could not be used."""
        self._rejections.add(reason)

    def left_out(self, reason: str) -> None:
        """The time of an update could not be used."""
        self._rejections.add(f"an update: {reason}")

    async def _publish(self) -> None:
        """Publish the newest state at most every `settings.cadence_ms`, one append in flight."""
        while True:
            await self._throttle.wait(self._context.settings.cadence_ms / 1000)
            if self._updates:
                updates, self._updates = self._updates, 0
                interrupted, self._interrupted = self._interrupted, False
                message = self._state.message(
                    self._context.feed, self._received, conflated=updates - 1, interrupted=interrupted
                )
                await self._writer.append(messages.encode(message))
                self._status.published(updates, received=message.received, timestamp=message.timestamp)
                self._status.conflated += updates - 1
            if self._finishing and not self._updates:
                return
