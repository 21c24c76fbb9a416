"""Detects books and candles that expired in stream SINK before they were written.

The stream has no holes of its own: messages expire from its start, by age and by size. So a sequence missing behind
the last one read means lost messages. The consumer's acknowledgement floor does not show this: the broker moves it past
messages that expire.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from nats.aio.msg import Msg

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.fenced_entries import FencedEntries
from tickwire.model.feeds import Gap
from tickwire.model.messages import SinkPosition
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.sink import points
from tickwire.sink.reader import StreamReader

log = logs.get(__name__)


def missing(position: SinkPosition, sequence: int) -> int:
    """How many messages between a position and the one at `sequence` have expired. Pure."""
    return 0 if position.sequence is None else max(0, sequence - position.sequence - 1)


class Retention:
    """The position of a reader in its stream: call `begin`, then `gaps_before` each batch, and `save` once written."""

    def __init__(self, bus: Bus, reader: StreamReader) -> None:
        self._reader = reader
        self._offsets = FencedEntries(bus, streams.SINK, SinkPosition)
        self._path = f"stream.{reader.stream}"

    async def begin(self) -> None:
        """Start at the stream's first message if there is no position yet: what expired before is no loss."""
        if (await self._offsets.of(self._path)).sequence is None:
            self._offsets.set(self._path, SinkPosition(sequence=await self._reader.first_sequence() - 1, time=now_ms()))
            await self._offsets.save([self._path])

    async def gaps_before(self, found: Sequence[Msg]) -> list[str]:
        """Advance behind a batch; returns a point of `gaps` for each hole before or in it. Empty: the stream's end."""
        position = await self._offsets.of(self._path)
        lines: list[str] = []
        same = position.stream in (0, self._reader.created) and (position.sequence or 0) <= self._reader.last_sequence
        if self._reader.created and not same:
            lines.append(self._stream_recreated(position))
            position = SinkPosition(sequence=0, time=position.time)
        if self._reader.created:
            position = msgspec.structs.replace(position, stream=self._reader.created)
        reached = [(each.metadata.sequence.stream, int(each.metadata.timestamp.timestamp() * 1000)) for each in found]
        # In an empty stream all messages before its first sequence have expired, and no message shows that.
        for sequence, at in reached or [(await self._reader.first_sequence(), now_ms())]:
            if count := missing(position, sequence):
                lines.append(self._messages_expired(position, sequence, at, count))
            last = sequence if found else sequence - 1
            if position.sequence is None or last > position.sequence:
                position = msgspec.structs.replace(position, sequence=last, time=at)
        self._offsets.set(self._path, position)
        return lines

    async def save(self) -> None:
        """Store the position: everything before it is in the database. Raises Fenced."""
        await self._offsets.save([self._path])

    def _stream_recreated(self, position: SinkPosition) -> str:
        log.error("the stream was recreated", stream=self._reader.stream, after=position.sequence)
        lost = Gap(since=position.time, until=now_ms(), reason="the stream of books and candles was recreated")
        return points.of_gap(lost, {"stream": self._reader.stream}, now_ms(), 0)

    def _messages_expired(self, position: SinkPosition, sequence: int, at: int, count: int) -> str:
        log.error(
            "books and candles expired before they could be written: see sink.held_age_s and sink.held_bytes",
            messages=count,
            after=position.sequence,
            before=sequence,
        )
        lost = Gap(
            since=position.time, until=at, reason=f"{count} books and candles no longer held when they could be written"
        )
        return points.of_gap(lost, {"stream": self._reader.stream}, at, sequence)
