"""The streams of trades that a sink reads: the partitions, and before them what an earlier version has written."""

from __future__ import annotations

import nats.errors
import nats.js.errors

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.fenced_entries import FencedEntries
from tickwire.model.feeds.layout import TapeLayout
from tickwire.model.messages import SinkTotals
from tickwire.observe import logs
from tickwire.sink.batch_points import Tape
from tickwire.sink.reader import StreamReader

log = logs.get(__name__)


class TradeStreams:
    """The readers of all streams of trades, and how far each feed is written."""

    def __init__(self, bus: Bus, layout: TapeLayout) -> None:
        self.offsets = FencedEntries(bus, streams.SINK, SinkTotals)
        self.former = StreamReader(bus, streams.TRADES, optional=True) if layout.former else None
        """Of the stream of an earlier version, which may be deleted at any time."""
        partitions = [StreamReader(bus, f"{streams.TRADES}-{number}") for number in range(layout.partitions)]
        self.readers = partitions if self.former is None else [self.former, *partitions]
        self._finished = self.former is None

    async def former_is_written(self) -> bool:
        """Whether everything of the stream of an earlier version is in the database."""
        if self.former is None or self.former.gone:
            return True
        try:
            pending = await self.former.pending()
        except nats.js.errors.NotFoundError:
            # The consumer is made with the first batch.
            return False
        except nats.errors.Error as error:
            log.debug("it is not known what is left of the former stream", error=repr(error))
            return False
        if not pending and not self._finished:
            self._finished = True
            log.info("the tape of an earlier version is written to its end")
        return not pending

    def tape(self, reader: StreamReader) -> Tape:
        """What is known of a reader's stream."""
        former = self.former.created if self.former is not None else 0
        return Tape(reader.created, reader.last_sequence, reader.stream, former)
