"""Runs one feed while this instance owns its slot, again after each failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from tickwire.bus.connection import Bus
from tickwire.errors import (
    ConfigError,
    Fenced,
    TickwireError,
    UnknownExchange,
    UnknownSymbol,
    UnsupportedKind,
    UnsupportedTimeframe,
)
from tickwire.model.feeds import Feed
from tickwire.observe import logs
from tickwire.process.bulkhead import bulkhead, reason
from tickwire.process.lifecycle import leaf, unless_stopped
from tickwire.process.turns import Turns
from tickwire.settings import Settings
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.control.feed_status import FeedStatus, open_feed_status
from tickwire.streamer.control.feed_venue import FeedVenue
from tickwire.streamer.control.slot_tape import SlotTape
from tickwire.tape.writer import Confirm
from tickwire.task_group import TaskGroup
from tickwire.venues.units import Units

log = logs.get(__name__)

FINAL_RETRY_TTLS = 30
"""A feed that the exchange refuses for good is retried after so many times the leases' TTL."""
_FINAL = (UnknownExchange, UnknownSymbol, UnsupportedKind, UnsupportedTimeframe, ConfigError)

FeedBody = Callable[[FeedContext], Awaitable[None]]
"""Runs a feed until `context.stop` is set."""


class OpenedMarket(NamedTuple):
    """The venue of a market, and the units of the market's numbers."""

    venue: FeedVenue
    units: Units


@dataclass
class SupervisedFeed:
    """A wanted feed in a slot of this instance. It has a status while it runs; when `stop` is set it finishes."""

    feed: Feed
    """Without timeframe."""
    demand: Demand
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    status: FeedStatus | None = None


@dataclass(frozen=True)
class FeedRunner:
    """Runs feeds. `bodies` are those of each kind; `open_market` raises typed errors of `tickwire.errors`."""

    bus: Bus
    settings: Settings
    instance: str
    open_market: Callable[[Feed], Awaitable[OpenedMarket]]
    bodies: Mapping[str, FeedBody]
    turns: Turns
    """Bounds how many steps of feeds are taken in one turn of the loop."""

    async def run(self, supervised: SupervisedFeed, confirm: Confirm, slot_tape: SlotTape) -> None:
        """Run a feed until `supervised.stop` is set, or until another one wrote on its tape.

        `confirm` and `slot_tape` are those of the feed's slot. Raises Fenced when this instance has lost the slot.
        """
        await self.turns.paced(self._run(supervised, confirm, slot_tape))

    async def _run(self, supervised: SupervisedFeed, confirm: Confirm, slot_tape: SlotTape) -> None:
        feed = supervised.feed
        fenced = False
        log.info("feed starts", **feed.fields)
        supervised.status = status = await open_feed_status(self.bus, feed, self.instance, confirm)
        try:
            async with TaskGroup() as group:
                group.create_task(self.turns.paced(status.run()))
                await self._run_body(supervised, status, confirm, slot_tape)
                status.end()
        except* Fenced as group_error:
            fenced = True
            log.warning("another instance took the feed over", **feed.fields, error=str(leaf(group_error)))
        finally:
            supervised.status = None
        if fenced:
            await confirm()

    async def _run_body(
        self, supervised: SupervisedFeed, status: FeedStatus, confirm: Confirm, slot_tape: SlotTape
    ) -> None:
        feed = supervised.feed

        async def body() -> None:
            # The exchange may demand a pause of minutes before it lists its markets.
            opened = await unless_stopped(supervised.stop, self.open_market(feed))
            if opened is None:
                return
            context = FeedContext(
                feed=feed,
                bus=self.bus,
                venue=opened.venue,
                settings=self.settings.streamer,
                demand=supervised.demand,
                status=status,
                stop=supervised.stop,
                confirm=confirm,
                slot_tape=slot_tape,
                tape=self.settings.tape,
                units=opened.units,
            )
            await self.bodies[feed.kind](context)

        def failed(error: Exception, failures: int) -> float | None:
            status.failed(reason(error))
            log_failure(feed, error, failures)
            # The exchange or the configuration must change first, which takes long.
            return self.settings.leases.ttl_s * FINAL_RETRY_TTLS if isinstance(leaf(error), _FINAL) else None

        works_again = partial(log.info, "feed works again", **feed.fields)
        await bulkhead(lambda: self.turns.paced(body()), supervised.stop, failed=failed, recovered=works_again)


def log_failure(feed: Feed, error: Exception, failures: int) -> None:
    """Log the first failure of a series; an unforeseen one with its traceback."""
    if failures > 1:
        log.debug("feed failed again", **feed.fields, failures=failures, error=reason(error))
    elif isinstance(leaf(error), TickwireError):
        log.warning("feed failed", **feed.fields, error=reason(error))
    else:
        log.error("feed failed", **feed.fields, error=reason(error), exc_info=error)
