"""How far the books and candles are written that stream SINK holds, and what it let go of before it was.

Its sequences have no holes of their own: it is emptied from its beginning, by age and by size. So wherever one is
missing behind the last that was read, something is lost. The acknowledgement alone does not tell: the broker moves it
past messages that expire.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from nats.aio.msg import Msg

from tickwire.bus.connection import Bus
from tickwire.model.feeds import Gap
from tickwire.model.messages import SinkPosition
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.sink import points
from tickwire.sink.offsets import Ledger
from tickwire.sink.reader import Reader

log = logs.get(__name__)


def missing(position: SinkPosition, sequence: int) -> int:
    """How many messages between a position and the one at `sequence` are not there any more. Pure."""
    return 0 if position.sequence is None else max(0, sequence - position.sequence - 1)


class Held:
    """How far a reader is in its stream. `begin` first, then `lost` of each batch, and `save` when it is written."""

    def __init__(self, bus: Bus, reader: Reader) -> None:
        self._reader = reader
        self._ledger = Ledger(bus, SinkPosition)
        self._path = f"stream.{reader.stream}"

    async def begin(self) -> None:
        """From now on all that the stream takes is to be written; what it let go of before nobody waited for."""
        if (await self._ledger.of(self._path)).sequence is None:
            self._ledger.keep(self._path, SinkPosition(sequence=await self._reader.first() - 1, time=now_ms()))
            await self._ledger.save([self._path])

    async def lost(self, found: Sequence[Msg]) -> list[str]:
        """Move on behind a batch: a point of `gaps` for each hole before and in it. An empty batch is the end."""
        position = await self._ledger.of(self._path)
        lines: list[str] = []
        same = position.stream in (0, self._reader.made) and (position.sequence or 0) <= self._reader.reached
        if self._reader.made and not same:
            lines.append(self._anew(position))
            position = SinkPosition(sequence=0, time=position.time)
        if self._reader.made:
            position = msgspec.structs.replace(position, stream=self._reader.made)
        reached = [(each.metadata.sequence.stream, int(each.metadata.timestamp.timestamp() * 1000)) for each in found]
        # All that is before the first has gone, though no message comes that would show it.
        for sequence, at in reached or [(await self._reader.first(), now_ms())]:
            if count := missing(position, sequence):
                lines.append(self._hole(position, sequence, at, count))
            last = sequence if found else sequence - 1
            if position.sequence is None or last > position.sequence:
                position = msgspec.structs.replace(position, sequence=last, time=at)
        self._ledger.keep(self._path, position)
        return lines

    async def save(self) -> None:
        """All up to here is in the database. Raises Fenced."""
        await self._ledger.save([self._path])

    def _anew(self, position: SinkPosition) -> str:
        log.error("the stream was made anew", stream=self._reader.stream, after=position.sequence)
        lost = Gap(since=position.time, until=now_ms(), reason="the stream of books and candles was made anew")
        return points.of_gap(lost, {"stream": self._reader.stream}, now_ms(), 0)

    def _hole(self, position: SinkPosition, sequence: int, at: int, count: int) -> str:
        log.error(
            "books and candles were not held until they could be written: see sink.held_age_s and sink.held_bytes",
            messages=count,
            after=position.sequence,
            before=sequence,
        )
        lost = Gap(
            since=position.time, until=at, reason=f"{count} books and candles no longer held when they could be written"
        )
        return points.of_gap(lost, {"stream": self._reader.stream}, at, sequence)
