"""Reopens sockets and resubscribes feeds that have been silent for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ccxt.base import errors

from tickwire.exchange.ccxt_patches.monotonic_time import monotonic_ms
from tickwire.exchange.ccxt_types import CcxtExchange
from tickwire.model.feeds import KINDS
from tickwire.settings import StreamerSettings
from tickwire.streamer.subscriptions.frame_router import FrameRouter
from tickwire.streamer.subscriptions.subscription import WatchedFeed

_SHORTEST_MS = 50

Resubscribe = Callable[[WatchedFeed, str], Awaitable[None]]
"""(feed, reason)"""


class Watchdog:
    """Watches the sockets and the feeds of one exchange. All times are ms."""

    def __init__(
        self, exchange: CcxtExchange, router: FrameRouter, settings: StreamerSettings, resubscribe: Resubscribe
    ) -> None:
        self._exchange = exchange
        self._router = router
        self._resubscribe = resubscribe
        self._socket_silence = settings.silence_s * 1000
        self._feed_silence = dict.fromkeys(KINDS, settings.feed_silence_s * 1000)
        self._feed_silence["book"] = settings.book_silence_s * 1000

    async def run(self) -> None:
        """Act on silence, until cancelled."""
        due = float("inf")
        while True:
            # What does not exist yet cannot be due before the shortest silence has passed.
            wait = min(due - monotonic_ms(), self._socket_silence, *self._feed_silence.values())
            await asyncio.sleep(max(_SHORTEST_MS, wait) / 1000)
            now = monotonic_ms()
            due = min(self._check_sockets(now), await self._check_feeds(now))

    def _check_sockets(self, now: int) -> float:
        """Give silent sockets up; return when the next one is due."""
        due = float("inf")
        for client in list((self._exchange.clients or {}).values()):
            if not client.isConnected or client.error:
                continue
            last = max(client.last_message_at or 0, client.connectionEstablished or 0)
            if now - last >= self._socket_silence:
                client.on_error(errors.RequestTimeout(f"silent for {(now - last) / 1000:.0f} s"))
            else:
                due = min(due, last + self._socket_silence)
        return due

    async def _check_feeds(self, now: int) -> float:
        """Resubscribe silent feeds; return when the next one is due."""
        due = float("inf")
        for watched in self._router:
            if not all(each.is_up for each in watched.subscriptions):
                continue
            silence = self._feed_silence[watched.feed.kind]
            if now - watched.last >= silence:
                await self._resubscribe(watched, f"silent for {(now - watched.last) / 1000:.0f} s")
            else:
                due = min(due, watched.last + silence)
        return due
