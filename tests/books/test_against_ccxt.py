"""Our books against those that plain ccxt keeps in full depth, both on one simulated exchange."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ccxt.base import errors

from support.feeds import body
from support.processes import SimulatorProcess, running_simulator
from support.simulated import client
from support.venues import venue_at
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed, Level
from tickwire.streamer.books import feed as books
from tickwire.streamer.control.demand import Demand

pytestmark = pytest.mark.actors

COMPARED = 25
DEPTH = 1000


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatorProcess]:
    """A simulated exchange where every symbol trades 200 times a second."""
    async with running_simulator("--live-rate", "200") as process:
        yield process


Sides = tuple[list[Level], list[Level]]


async def of_ccxt(market: Any, symbol: str, found: dict[int, Sides]) -> None:
    """Collects the book of each update that ccxt shows."""
    while True:
        try:
            book = await market.watch_order_book(symbol)
        except errors.NetworkError:
            continue
        found[book["nonce"]] = tuple([(level[0], level[1]) for level in side] for side in (book["bids"], book["asks"]))  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("name", "symbol", "types"),
    [("binance", "BTC/USDT", ["spot"]), ("binanceusdm", "BTC/USDT:USDT", ["linear"])],
)
async def test_our_book_is_that_of_ccxt_at_the_same_update(
    bus: Bus, exchange: SimulatorProcess, name: str, symbol: str, types: list[str]
) -> None:
    """Level for level, in full depth, and again after the connections were cut."""
    theirs: dict[int, Sides] = {}
    feed = Feed("book", name, symbol)
    async with (
        client(exchange.url, name, pro=True, options={"fetchMarkets": {"types": types}}) as market,
        venue_at(exchange.url, name, types=types) as venue,
        body(bus, books.run, feed, Demand(depth=DEPTH, cadence_ms=0), venue) as running,
    ):
        watcher = asyncio.ensure_future(of_ccxt(market, symbol, theirs))
        seen = 0

        def compared() -> bool:
            """Whether so many books since `seen` were of the same update, and the same."""
            common = [book for book in running.public.said[seen:] if book.sequence in theirs]
            for book in common:
                assert (book.bids, book.asks) == theirs[book.sequence]
            return len(common) >= COMPARED

        try:
            for cut in (False, True):
                if cut:
                    theirs.clear()
                    seen = len(running.public.said)
                    await exchange.fault("stream.", "ws_cut", seconds=0.3)
                    await running.public.first(lambda book: book.state == "resyncing", seen)
                # Looked at again from there, because either of the two may be ahead.
                async with asyncio.timeout(100):
                    while not compared():
                        await running.public.first(lambda book: True, len(running.public.said))
                        if watcher.done():
                            await watcher
        finally:
            watcher.cancel()
            await asyncio.wait({watcher})
        assert len(running.public.said[-1].bids) > 100
