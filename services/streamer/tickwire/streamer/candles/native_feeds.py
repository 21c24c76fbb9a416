"""Runs the timeframes whose candles are the exchange's own: each is subscribed to and published by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import NamedTuple

from tickwire.model.feeds import Feed
from tickwire.observe import logs
from tickwire.process.bulkhead import bulkhead, reason
from tickwire.streamer.candles.candle_tape import open_candle_tape
from tickwire.streamer.candles.native import NativeCandles
from tickwire.streamer.candles.outbox import CacheOutbox
from tickwire.streamer.candles.publisher import CandlePublisher
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.task_group import TaskGroup

log = logs.get(__name__)


class _Running(NamedTuple):
    candles: NativeCandles
    stop: asyncio.Event
    watching: asyncio.Task[None]
    publishing: asyncio.Task[None]

    async def end(self) -> None:
        """Unsubscribe, then publish what is left."""
        self.stop.set()
        try:
            await self.watching
        finally:
            self.candles.end()
            self.candles.publisher.finish()
            await self.publishing


class NativeFeeds:
    """The native timeframes of one market. Tasks run in `tasks`."""

    def __init__(self, context: FeedContext, outbox: CacheOutbox, tasks: TaskGroup) -> None:
        self._context = context
        self._outbox = outbox
        self._tasks = tasks
        self._running: dict[str, _Running] = {}

    @property
    def timeframes(self) -> Iterable[str]:
        """Those that run."""
        return self._running.keys()

    @property
    def publishers(self) -> list[CandlePublisher]:
        """One for each timeframe that runs."""
        return [each.candles.publisher for each in self._running.values()]

    async def add(self, timeframe: str) -> None:
        """Subscribe to a timeframe and publish it. Raises Fenced."""
        feed = self._context.feed._replace(timeframe=timeframe)
        tape = await open_candle_tape(self._context, feed)
        candles = NativeCandles(self._context, feed, tape, self._outbox)
        stop = asyncio.Event()
        self._running[timeframe] = _Running(
            candles,
            stop,
            self._tasks.create_task(self._watch(feed, candles, stop)),
            self._tasks.create_task(candles.publisher.run()),
        )

    async def remove(self, timeframe: str) -> None:
        """Unsubscribe from a timeframe, and end its publisher."""
        await self._running.pop(timeframe).end()
        self._context.status.troubles.pop(timeframe, None)

    async def close(self) -> None:
        """End all."""
        async with AsyncExitStack() as stack:
            for running in self._running.values():
                stack.push_async_callback(running.end)

    async def _watch(self, feed: Feed, candles: NativeCandles, stop: asyncio.Event) -> None:
        """Have the exchange push one timeframe until `stop`; its failure affects no other timeframe."""

        async def watched() -> None:
            async with self._context.venue.watching(feed, candles):
                await stop.wait()

        def failed(error: Exception, failures: int) -> None:
            candles.failed(described := reason(error))
            if failures == 1:
                log.warning("candles of the exchange failed", **feed.fields, error=described)

        await bulkhead(watched, stop, failed=failed)
