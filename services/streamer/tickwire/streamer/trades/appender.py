"""Appends trades and gaps to the tape of one feed, in messages of bounded size."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tickwire.model import messages
from tickwire.model.feeds import Gap, Trade, Trades
from tickwire.model.times import now_ms
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.control.feed_status import FeedStatus
from tickwire.streamer.trades.ordering import Source, TradeRun
from tickwire.streamer.trades.queue import BATCH_TRADES
from tickwire.tape.subject_writer import SubjectWriter
from tickwire.venues.dialect import NoTrade
from tickwire.venues.units import stated_in_trades

MESSAGE_BYTES = 512 * 1024
"""Most bytes of a message: half of nats-server's default `max_payload`."""


class _Published(Struct, gc=False):
    """To be called when a message with so many live trades is stored. One object, where a closure is several.

    `received` and `timestamp`: see `FeedStatus.published`.
    """

    status: FeedStatus
    trades: int
    received: int
    timestamp: int

    def __call__(self, sequence: int) -> None:
        self.status.published(self.trades, received=self.received, timestamp=self.timestamp)


class TradeAppender:
    """The tape of one trade feed. One call at a time."""

    def __init__(self, context: FeedContext, writer: SubjectWriter) -> None:
        self._client = context.bus.client
        self._exchange, self._symbol = context.feed.exchange, context.feed.symbol
        self._clock = context.venue.clock
        self._ids_count = context.venue.sequential_ids
        self._status = context.status
        self._writer = writer
        self.free = writer.free
        """Whether a message can be sent at once."""
        self._units = stated_in_trades(context.units)

    @property
    def _most_bytes(self) -> int:
        """Half of what the broker takes leaves room for the headers."""
        return min(MESSAGE_BYTES, self._client.max_payload // 2)

    def append_now(self, run: TradeRun) -> bool:
        """Send a run without waiting; False, and nothing is sent, if it must wait or is not simply live trades."""
        trades = run.trades
        if run.gap is not None or not 0 < len(trades) <= BATCH_TRADES:
            return False
        for each in trades:
            if type(each) is NoTrade:
                return False
        message = self._message(trades, run.received, run.source)
        data = messages.encode(message, 1 if message.until is not None else 2)
        size = len(data)
        if size > MESSAGE_BYTES or size * 2 > self._client.max_payload:
            return False
        return self._writer.append_now(data, _Published(self._status, len(trades), run.received, trades[-1].timestamp))

    def declare_now(self, until: int, gap: Gap | None) -> bool:
        """Send without waiting that nothing is missing before `until` (ms) but `gap`; see `append_now`."""

        def done(_: int) -> None:
            self._status.published(0)
            self._report(gap)

        return self._writer.append_now(messages.encode(self._message([], now_ms(), "live", gap, until)), done)

    async def settled(self) -> None:
        """Wait until what `append_now` sent is stored. Raises Fenced."""
        await self._writer.settled()

    async def append(self, runs: Sequence[TradeRun]) -> None:
        """Append runs, and report their gaps. Raises Fenced."""
        for run in runs:
            trades = [trade for trade in run.trades if type(trade) is not NoTrade]
            if run.trades and not trades and run.gap is None:
                continue
            # A run may have a gap and no trades.
            for start in range(0, max(1, len(trades)), BATCH_TRADES):
                await self.append_message(
                    trades[start : start + BATCH_TRADES],
                    run.received or now_ms(),
                    source=run.source,
                    gap=None if start else run.gap,
                )
            if run.source == "rest":
                self._status.repaired += len(trades)
            self._report(run.gap)

    async def append_message(
        self,
        trades: list[Trade],
        received: int,
        *,
        source: Source = "live",
        gap: Gap | None = None,
    ) -> int:
        """Append one message, or several if the trades take too many bytes; returns the sequence of the last."""
        data = messages.encode(self._message(trades, received, source, gap))
        if len(data) > self._most_bytes and len(trades) > 1:
            half = len(trades) // 2
            await self.append_message(trades[:half], received, source=source, gap=gap)
            return await self.append_message(trades[half:], received, source=source)
        sequence = await self._writer.append(data)
        if trades and source == "live":
            self._status.published(len(trades), received=received, timestamp=trades[-1].timestamp)
        else:
            self._status.published(len(trades))
        return sequence

    def _message(
        self, trades: list[Trade], received: int, source: Source, gap: Gap | None = None, until: int | None = None
    ) -> Trades:
        if trades and self._ids_count:
            # Where ids count up, no trade can come before one that is on the tape.
            now, last = self._clock(), trades[-1].timestamp
            until = last if now is not None and last < now else now
        return Trades(
            exchange=self._exchange,
            symbol=self._symbol,
            trades=trades,
            received=received,
            source=source,
            gap=gap,
            until=until,
            **self._units,
        )

    def _report(self, gap: Gap | None) -> None:
        if gap is not None:
            self._status.gaps += 1
            self._status.report("gap", gap.reason, gap=gap)
