"""Contends for each wanted feed, and runs those that this instance wins."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

from tickwire.bus.leases import Leases
from tickwire.model.feeds import Feed, FeedReport
from tickwire.process.bulkhead import bulkhead
from tickwire.streamer.control.feed_runner import FeedRunner, SupervisedFeed, log_failure
from tickwire.streamer.control.feed_status import FeedStatus
from tickwire.streamer.control.interests import Interests


class FeedSupervisor:
    """The feeds of this instance, each a task of `group`. Feeds here have no timeframe. `stop` is the service's."""

    def __init__(
        self,
        interests: Interests,
        leases: Leases,
        runner: FeedRunner,
        group: asyncio.TaskGroup,
        stop: asyncio.Event,
    ) -> None:
        self._interests = interests
        self._leases = leases
        self._runner = runner
        self._group = group
        self._stop = stop
        self._feeds: dict[Feed, SupervisedFeed] = {}

    def reconcile(self, feed: Feed) -> None:
        """Start, update or stop a feed according to the interests in it."""
        supervised = self._feeds.get(feed)
        if not self._interests.wanted(feed) or self._stop.is_set():
            if supervised is not None:
                supervised.stop.set()
            return
        demand = self._interests.demand(feed)
        if supervised is not None:
            supervised.demand.update(demand)
            return
        self._feeds[feed] = supervised = SupervisedFeed(feed, demand)
        self._group.create_task(self._contend(supervised))

    def end(self) -> None:
        """Stop every feed. The task group waits for them."""
        for supervised in self._feeds.values():
            supervised.stop.set()

    def statuses(self) -> Iterator[FeedStatus]:
        """The statuses of the feeds that this instance owns."""
        return (each.status for each in self._feeds.values() if each.status is not None)

    def reports(self, exchange: str | None) -> list[FeedReport]:
        """The feeds that this instance owns, of one exchange or of all; of candles, each timeframe."""
        return [
            report
            for feed, each in self._feeds.items()
            if each.status is not None and exchange in (None, feed.exchange)
            for report in each.status.feed_reports(each.demand.timeframes)
        ]

    async def _contend(self, supervised: SupervisedFeed) -> None:
        feed = supervised.feed
        run = partial(self._runner.run, supervised)
        hold = partial(self._leases.hold, feed.path, run, supervised.stop, **feed.fields)
        try:
            # A failure outside the feed's body must not end other feeds, either.
            await bulkhead(hold, supervised.stop, failed=partial(log_failure, feed))
        finally:
            del self._feeds[feed]
        # It may have been requested again while it ended.
        self.reconcile(feed)
