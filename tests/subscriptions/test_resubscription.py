"""A book is forgotten before it is subscribed again: what the exchange removed meanwhile is nowhere afterwards.

On two venues whose handlers in ccxt merge a new snapshot into the old book.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from subscriptions.standins import SYMBOL, StandIn, settings, standing_in
from support.feeds import Running, body
from tickwire.bus.connection import Bus
from tickwire.exchange.ccxt_patches.socket_hooks import Hooks
from tickwire.model.feeds import Book, Feed, Level
from tickwire.streamer.books import feed as books
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.subscriptions.live_venue import LiveVenue, open_live_venue

pytestmark = pytest.mark.actors

VENUES = ["deribit", "bitget"]
GONE: tuple[list[Level], list[Level]] = ([(100.0, 0.0), (98.0, 0.0)], [(101.0, 0.0)])
"""Bids and asks that are removed while nobody listens."""


@asynccontextmanager
async def published(bus: Bus, stand_in: StandIn, venue: LiveVenue) -> AsyncIterator[Running]:
    """The body of the book's feed at work."""
    feed = Feed("book", stand_in.exchange, SYMBOL)
    async with body(bus, books.run, feed, Demand(depth=50, cadence_ms=0), venue=venue) as running:
        yield running


async def agrees(running: Running, stand_in: StandIn, after: int = 0) -> None:
    """Until the public book is the exchange's."""

    def is_true(book: Book) -> bool:
        return book.state == "live" and (list(book.bids), list(book.asks)) == stand_in.truth()

    await running.public.first(is_true, after)


async def resubscribed(stand_in: StandIn, venue: LiveVenue) -> None:
    await venue.resubscribe(Feed("book", stand_in.exchange, SYMBOL), "a test says so")


async def cut(stand_in: StandIn, venue: LiveVenue) -> None:
    await stand_in.cut()


async def crossed(stand_in: StandIn, venue: LiveVenue) -> None:
    """A frame is lost, so that the book that ccxt keeps is impossible; the body has it subscribed anew."""
    stand_in.change(bids=[(200.0, 1.0)])
    stand_in.put(bids=[(200.0, 0.0)])


async def silent(stand_in: StandIn, venue: LiveVenue) -> None:
    """Nothing: the watchdog does it."""


async def wrong_checksum(stand_in: StandIn, venue: LiveVenue) -> None:
    stand_in.change(bids=[(99.5, 7.0)], wrong=True)


async def lost(stand_in: StandIn, venue: LiveVenue) -> None:
    """A frame is lost: the next change names one before it that did not arrive."""
    stand_in.put(bids=[(99.6, 1.0)])
    stand_in.change(bids=[(99.5, 7.0)])


HOOKED, AWAITED = Hooks(), Hooks(text=False, result=False)
WAYS: list[tuple[str, Callable[[StandIn, LiveVenue], Awaitable[None]], dict[str, Any], Hooks]] = [
    *(
        (venue, way, {}, hooks)
        for venue in VENUES
        for way in (cut, resubscribed, crossed)
        for hooks in (HOOKED, AWAITED)
    ),
    *((venue, silent, {"book_silence_s": 1.0}, HOOKED) for venue in VENUES),
    ("bitget", wrong_checksum, {}, HOOKED),
    ("deribit", lost, {}, HOOKED),
]


@pytest.mark.parametrize(("exchange", "interrupt", "chosen", "hooks"), WAYS)
async def test_levels_removed_during_an_interruption_are_nowhere_after_it(
    bus: Bus,
    exchange: str,
    interrupt: Callable[[StandIn, LiveVenue], Awaitable[None]],
    chosen: dict[str, Any],
    hooks: Hooks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(books, "WRONG_S", 0.0)
    async with (
        standing_in(exchange) as stand_in,
        open_live_venue(exchange, settings(stand_in, **chosen), hooks=hooks) as venue,
        published(bus, stand_in, venue) as running,
    ):
        await agrees(running, stand_in)
        stand_in.change(bids=[(99.7, 3.0)], asks=[(102.0, 5.0)])
        await agrees(running, stand_in)
        stand_in.meanwhile = lambda: stand_in.put(*GONE)
        seen = len(running.public.said)
        await interrupt(stand_in, venue)
        await running.public.first(lambda book: book.state == "resyncing", seen)
        resynced = len(running.public.said)
        if interrupt is crossed:
            # What is published again is a second try that finds the book impossible.
            stand_in.change(asks=[(150.0, 1.0)])
        await agrees(running, stand_in, resynced)
        stand_in.change(bids=[(99.0, 9.0)])
        await agrees(running, stand_in, resynced)
        published_then = [book for book in running.public.said[resynced:] if book.state == "live"]
        removed = {price for side in GONE for price, _ in side}
        assert not any(level[0] in removed for book in published_then for level in (*book.bids, *book.asks))


@pytest.mark.parametrize("exchange", VENUES)
async def test_a_book_that_was_left_is_the_exchanges_when_it_is_watched_again(bus: Bus, exchange: str) -> None:
    async with (
        standing_in(exchange) as stand_in,
        open_live_venue(exchange, settings(stand_in)) as venue,
    ):
        async with published(bus, stand_in, venue) as running:
            await agrees(running, stand_in)
        stand_in.change(*GONE)
        async with published(bus, stand_in, venue) as running:
            await agrees(running, stand_in)
            removed = {price for side in GONE for price, _ in side}
            live = [book for book in running.public.said if book.state == "live"]
            assert not any(level[0] in removed for book in live for level in (*book.bids, *book.asks))
