"""Resynchronises a book whose snapshot comes on the socket after each subscription: subscribes it again."""

from __future__ import annotations

import asyncio
import time

from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process.backoff import Backoff
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.venues.dialect import Diff

log = logs.get(__name__)

SNAPSHOT_S = 10.0
"""How long after a subscription its snapshot may take."""
BACKOFF_S = 0.5
MAX_BACKOFF_S = 60.0
"""A book that never gets right is subscribed once a minute: venues close sockets that subscribe too often."""
CALM_S = 10.0
"""A book that was right for this long ends the series of failures before it."""
WHOLE = 1_000_000
"""Levels of a side of a book that the venue keeps as deep as it ever will be."""


class SocketResync:
    """A `Resync` by new subscriptions. The first is made at once; those after it back off."""

    def __init__(self, context: FeedContext) -> None:
        self._context = context
        self._news = asyncio.Event()
        self._wanted = False
        self._reason = ""
        """What is wrong with the present subscription; empty while its snapshot may still come."""
        self._connection = 0
        self._backoff = Backoff(BACKOFF_S, MAX_BACKOFF_S)
        self._failing = Episode(log, "subscribing again", exchange=context.feed.exchange, symbol=context.feed.symbol)
        self._right_since: float | None = None

    @property
    def levels(self) -> int:
        """See `Resync`."""
        return WHOLE

    def connected(self) -> None:
        """See `Resync`."""
        self._connection += 1
        self._reason = ""

    def request(self, reason: str = "") -> None:
        """See `Resync`."""
        self._wanted = True
        self._reason = self._reason or reason
        self._news.set()

    def cancel(self) -> None:
        """See `Resync`."""
        self._wanted = False
        self._news.set()

    def arrived(self) -> None:
        """See `Resync`."""
        if self._wanted:
            self._right_since = time.monotonic()
            self._failing.ends()
        self._wanted, self._reason = False, ""
        self._news.set()

    def buffer(self, diff: Diff) -> None:
        """Drops it: what comes before the snapshot is in it."""

    def drop_buffer(self) -> None:
        """There is none."""

    async def run(self) -> None:
        """Subscribe the book again whenever it is wrong or did not come, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            if not self._wanted:
                continue
            connection, reason = self._connection, self._reason or await self._late()
            if not reason:
                continue
            if self._right_since is not None and time.monotonic() - self._right_since > CALM_S:
                self._backoff.worked()
            self._right_since = None
            self._failing.occurs(error=reason)
            await asyncio.sleep(self._backoff.next())
            if self._wanted and connection == self._connection:
                await self._context.venue.resubscribe(self._context.feed, reason)

    async def _late(self) -> str:
        """Wait for the snapshot of a new subscription; why it must be made again, empty if that is seen elsewhere."""
        try:
            async with asyncio.timeout(SNAPSHOT_S):
                await self._news.wait()
        except TimeoutError:
            return f"no snapshot of the book within {SNAPSHOT_S:g} s of the subscription"
        return ""
