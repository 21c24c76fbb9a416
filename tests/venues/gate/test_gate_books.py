"""Books of Gate over real sockets: whole on the socket for spot markets, from the REST snapshot for contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from simulator.asking import get, order
from support.feeds import Running, running
from support.loopback import loopback, market, settings
from support.simulated import simulated
from support.venues import venue_at
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Book, Feed
from tickwire.simulator.server import Simulator
from tickwire.streamer.books import feed as books
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.subscriptions.live_venue import open_live_venue
from tickwire.venues.registry import profile_of
from tickwire.venues.units import units_of

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
FINE = [{"symbol": "BTC/USDT", "price": 60_000, "tick": "0.1", "lot": "0.001", "amount": 0.05}]
LINEAR = {"type": "swap", "spot": False, "swap": True, "contract": True, "contractSize": 0.0001, "linear": True,
          "inverse": False, "settle": "USDT", "settleId": "usdt"}  # fmt: skip


@asynccontextmanager
async def watched(bus: Bus, symbol: str) -> AsyncIterator[tuple[Simulator, Running]]:
    """The book of a market of the simulated Gate."""
    types = ("swap",) if ":" in symbol else ("spot",)
    async with (
        simulated(now=NOW, speed=1, live_rate=50, symbols=FINE) as simulator,
        venue_at(simulator.url, "gate", types=types) as venue,
    ):
        feed, demand = Feed("book", "gate", symbol), Demand(depth=20, cadence_ms=0)
        units = await venue.markets.units(symbol)
        async with running(bus, books.run, feed, venue=venue, demand=demand, units=units) as body:
            yield simulator, body


async def is_true(simulator: Simulator, book: Book) -> bool:
    """Whether a book is the market's at its time."""
    query = {"exchange": "gate", "symbol": book.symbol, "at": book.timestamp, "levels": 20}
    true = await get(simulator, "_sim/truth/book", **query)
    return [[list(level) for level in side] for side in (book.bids, book.asks)] == [true["bids"], true["asks"]]


@pytest.mark.parametrize(
    ("symbol", "stream"),
    [
        ("BTC/USDT", "spot.obu ob.BTC_USDT.50"),
        ("BTC/USDT:USDT", "futures.order_book_update BTC_USDT"),
        ("BTC/USD:BTC", "futures.order_book_update BTC_USD"),
    ],
)
async def test_a_lost_change_is_noticed_and_the_book_is_the_market_s_again(bus: Bus, symbol: str, stream: str) -> None:
    async with watched(bus, symbol) as (simulator, body):

        def later(than: Book) -> Any:
            return lambda book: book.state == "live" and (book.sequence or 0) > (than.sequence or 0) + 80

        first = await body.public.first(lambda book: book.state == "live")
        assert await is_true(simulator, await body.public.first(later(first)))
        seen = len(body.public.said)
        await order(simulator, kind="ws_skip", match=stream, count=1)
        lost = await body.public.first(lambda book: book.state == "resyncing", seen)
        assert (lost.bids, lost.asks) == ([], [])
        again = await body.public.first(lambda book: book.state == "live", len(body.public.said) - 1)
        # ccxt 4.5.90 cuts the time of a REST snapshot of contracts to whole seconds: the one after it has its own.
        assert await is_true(simulator, await body.public.first(later(again), seen))


class Contracts:
    """`futures.order_book_update` as published in 2026: a whole book after the subscription, then changes."""

    def __init__(self) -> None:
        self.number = 100

    def reply(self, message: Any) -> list[Any]:
        """Acknowledge, then send the whole book."""
        answer = {"time": 1, "id": message["id"], "channel": message["channel"], "event": message["event"],
                  "result": {"status": "success"}}  # fmt: skip
        return [answer, self.message("1", full=True)] if message["event"] == "subscribe" else [answer]

    def message(self, size: str, **more: Any) -> Any:
        """An update of the present number with one bid of this size."""
        book = {"t": NOW, "s": "BTC_USDT", "U": self.number, "u": self.number, "b": [{"p": "100", "s": size}],
                "a": [{"p": "101", "s": "3"}], "l": "100"}  # fmt: skip
        return {"time": 1, "channel": "futures.order_book_update", "event": "update", "result": book | more}


async def test_a_book_of_contracts_that_comes_whole_needs_no_rest_snapshot(bus: Bus) -> None:
    symbol = "BTC/USDT:USDT"
    async with loopback() as exchange:
        gate = Contracts()
        exchange.reply, exchange.answer = gate.reply, lambda path, query: web.Response(status=503)
        listed = market(symbol, "BTC_USDT", **LINEAR)
        demand, units = Demand(depth=20, cadence_ms=0), units_of(profile_of("gate"), listed)
        async with (
            open_live_venue("gate", settings(exchange.url, "gate", [listed])) as venue,
            running(bus, books.run, Feed("book", "gate", symbol), venue=venue, demand=demand, units=units) as body,
        ):
            whole = await body.public.first(lambda book: book.state == "live")
            assert (whole.sequence, whole.bids, whole.asks) == (100, [(100.0, 1.0)], [(101.0, 3.0)])
            gate.number += 1
            exchange.push([gate.message("2")])
            changed = await body.public.first(lambda book: book.bids == [(100.0, 2.0)])
            assert (changed.state, changed.sequence) == ("live", 101)
