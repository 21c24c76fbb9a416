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
from tickwire.tape.subject_writer import SubjectWriter
from tickwire.tape.writer import Confirm
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
    confirm: Confirm
    slot_tape: SlotTape
    """Of the slot that the feed is in."""
    tape: TapeSettings = field(default_factory=TapeSettings)
    units: Units = SPOT
    """The units of the market's numbers."""

    async def open_tape(self, public: str) -> tuple[SubjectWriter, bytes | None]:
        """The writer of trades or book deltas that are public on a subject, and the payload of the last message."""
        return await self.slot_tape.open(public)
