"""Many feeds that begin together take few steps in each turn of the loop, so that the lease is renewed meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from process.turn_counting import counting
from support.processes import running_simulator
from support.serving import serving
from support.venues import settings
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Feed, StartRequest
from tickwire.process.turns import STEP, UNITS
from tickwire.streamer import service
from tickwire.streamer.control import feed_runner, feed_status
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.service import serve_streamer

pytestmark = pytest.mark.actors

FEEDS = [Feed("ticker", "binance", f"T{number:03}/USDT") for number in range(1, 241)]
MOST = 2 * UNITS // STEP
"""Steps of a turn, where 30 feeds of each of 8 slots begin, which are won in the same turns. Of two turns: one that is
counted begins in the middle of one that has a budget."""


async def wanted(bus: Bus) -> None:
    """Put the interests into the bucket, as streamers that are gone did."""
    for feed in FEEDS:
        request = StartRequest(kind=feed.kind, exchange=feed.exchange, symbol=feed.symbol, subscriber="tests")
        await bus.jetstream.publish(f"$KV.INTEREST.{feed.path}.tests", messages.encode(request))


async def test_feeds_of_slots_that_are_won_together_begin_a_few_in_each_turn(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, ran, all_run = set[Feed](), set[Feed](), asyncio.Event()
    open_status = feed_status.open_feed_status
    async with running_simulator("--symbols", "300") as simulator, counting() as opening, counting() as running:

        async def opens(bus: Bus, feed: Feed, *rest: Any) -> Any:
            opening.note()
            opened.add(feed)
            return await open_status(bus, feed, *rest)

        async def body(context: FeedContext) -> None:
            running.note()
            ran.add(context.feed)
            if len(ran) == len(FEEDS):
                all_run.set()
            await context.stop.wait()

        monkeypatch.setattr(feed_runner, "open_feed_status", opens)
        monkeypatch.setitem(service.BODIES, "ticker", body)
        async with serving(bus, serve_streamer, settings(simulator.url), "first"):
            await wanted(bus)
            async with asyncio.timeout(100):
                await all_run.wait()
        opened.clear()
        ran.clear()
        all_run.clear()
        opening.noted.clear()
        running.noted.clear()
        # All slots are won, and all interests are there.
        async with serving(bus, serve_streamer, settings(simulator.url), "second"), asyncio.timeout(100):
            await all_run.wait()
    assert opened == ran == set(FEEDS)
    assert opening.most <= MOST
    assert running.most <= MOST
