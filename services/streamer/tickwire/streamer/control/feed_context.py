"""What the body of a feed works with: its market, venue, demand, status and stop event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed
from tickwire.settings import StreamerSettings, TapeSettings
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.control.feed_status import FeedStatus
from tickwire.streamer.control.feed_venue import FeedVenue
from tickwire.streamer.control.slot_tape import SlotTape
from tickwire.tape.layout import layout_of
from tickwire.tape.subject_writer import SubjectWriter
from tickwire.tape.writer import Confirm, TapeWriter, open_writer
from tickwire.venues.units import SPOT, Units


@dataclass(frozen=True)
class FeedContext:
    """Everything that the body of a feed needs.

    A body runs until `stop` is set, then publishes what it has accepted and returns. It raises Fenced when another
    owner has taken over, and typed errors of `tickwire.errors` when the feed cannot continue.
    """

    feed: Feed
    """Without timeframe."""
    bus: Bus
    venue: FeedVenue
    settings: StreamerSettings
    demand: Demand
    status: FeedStatus
    stop: asyncio.Event
    confirm: Confirm | None = None
    tape: TapeSettings = field(default_factory=TapeSettings)
    slot_tape: SlotTape | None = None
    """Of the slot that the feed is in; without one the feed's own writers have one message in flight."""
    units: Units = SPOT
    """The units of the market's numbers."""

    async def open_tape(self, public: str) -> tuple[SubjectWriter | TapeWriter, bytes | None]:
        """The writer of trades or book deltas that are public on a subject, and the payload of the last message."""
        if self.slot_tape is not None:
            return await self.slot_tape.open(public)
        stream, subject = (await layout_of(self.bus)).place(public)
        return await open_writer(self.bus, stream, subject, self.confirm)
