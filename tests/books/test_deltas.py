"""The changes of a book on the tape: every one, in order, or a snapshot in their place."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from books.book_feed import ASKS, BIDS, DELTAS, FEED, answer, at, diff, made_live
from support.feeds import ScriptedVenue, body, within
from support.hearing import Heard, listening
from tape.places import TRADES_STREAM
from tickwire.bus.connection import Bus
from tickwire.errors import Fenced
from tickwire.model.feeds import BookDelta, BookDeltas, Feed, Level
from tickwire.settings import TapeSettings
from tickwire.streamer.books import feed as books
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.control.feed_venue import FeedSink

pytestmark = pytest.mark.actors


class Follower:
    """A book made of deltas alone, and checked for holes."""

    def __init__(self) -> None:
        self.bids: dict[float, float] | None = None
        self.asks: dict[float, float] = {}
        self.sequence = 0
        self.snapshots = 0

    def apply(self, delta: BookDelta) -> None:
        if delta.snapshot:
            self.bids, self.asks = {}, {}
            self.snapshots += 1
        else:
            assert delta.first == self.sequence + 1
        assert self.bids is not None
        self.bids.update(delta.bids)
        self.asks.update(delta.asks)
        self.sequence = delta.last

    def top(self, depth: int) -> tuple[list[Level], list[Level]]:
        assert self.bids is not None
        bids = sorted(((price, amount) for price, amount in self.bids.items() if amount), reverse=True)
        return bids[:depth], sorted((price, amount) for price, amount in self.asks.items() if amount)[:depth]


async def rebuilt(deltas: Heard[BookDeltas], sequence: int) -> dict[int, tuple[list[Level], list[Level]]]:
    """The top of the book at each update, by the changes alone, once they have come to this one."""
    await deltas.first(lambda message: any(delta.last == sequence for delta in message.deltas))
    follower, tops = Follower(), {}
    for message in deltas.said:
        for delta in message.deltas:
            follower.apply(delta)
            tops[follower.sequence] = follower.top(20)
    return tops


async def test_the_changes_give_the_published_books(bus: Bus) -> None:
    deltas = await listening(bus, DELTAS, BookDeltas)
    async with body(bus, books.run, FEED, Demand(depth=20, cadence_ms=0, deltas=True)) as running:
        await made_live(running)
        sink = await running.venue.sink()
        for number in range(11, 60):
            price = 90.0 + number % 11
            sink.take([diff(number, [(price, float(number % 3))], [(price + 11, float(number % 4))])], number)
            if number % 5 == 0:
                await running.public.first(at(number))
        # A hole, and another book after it.
        sink.take([diff(70)], 70)
        running.venue.rest.answers.put_nowait(answer(71, BIDS[2:]))
        await running.public.first(at(71))
        sink.take([diff(number, [(99.5, float(number))]) for number in range(72, 90)], 90)
        await running.public.first(at(89))
        tops = await rebuilt(deltas, 89)
        compared = [book for book in running.public.said if book.state == "live"]
        assert {book.sequence for book in compared} >= {10, 15, 55, 71, 89}
        for book in compared:
            assert tops[book.sequence] == (book.bids, book.asks)
        assert set(range(11, 60)) | {71} | set(range(72, 90)) <= tops.keys()


async def test_whoever_asks_for_changes_later_gets_the_whole_book_first(bus: Bus) -> None:
    deltas = await listening(bus, DELTAS, BookDeltas)
    demand = Demand(depth=1, cadence_ms=0)
    async with body(bus, books.run, FEED, demand) as running:
        await made_live(running)
        assert deltas.said == []
        demand.update(replace(demand, deltas=True))
        first = await deltas.first(lambda message: True)
        assert [(d.snapshot, d.first, d.last, d.bids, d.asks) for d in first.deltas] == [(True, 10, 10, BIDS, ASKS)]
        (await running.venue.sink()).take([diff(11, [(100.0, 0.0)])], 1000)
        second = await deltas.first(lambda message: True, 1)
        assert [(d.snapshot, d.first, d.last, d.bids) for d in second.deltas] == [(False, 11, 11, [(100.0, 0.0)])]


def says(deltas: Heard[BookDeltas], number: int, snapshots: int, _message: BookDeltas) -> bool:
    """Whether the changes have come so far, with so many snapshots among them."""
    found = [delta for message in deltas.said for delta in message.deltas]
    return found[-1:] != [] and found[-1].last == number and sum(delta.snapshot for delta in found) == snapshots


async def test_a_new_subscriber_of_changes_gets_the_whole_book_and_no_other_misses_any(bus: Bus) -> None:
    """A renewal is no newcomer."""
    deltas = await listening(bus, DELTAS, BookDeltas)
    demand = Demand(depth=20, cadence_ms=0)
    async with body(bus, books.run, FEED, demand) as running:
        await made_live(running)
        sink = await running.venue.sink()
        number = 10
        for them, snapshots in (({"one"}, 1), ({"one"}, 1), ({"one", "two"}, 2), ({"two"}, 2), ({"one", "two"}, 3)):
            demand.update(Demand(depth=20, cadence_ms=0, deltas=True, delta_subscribers=frozenset(them)))
            for _ in range(3):
                number += 1
                sink.take([diff(number, [(90.0 + number % 7, float(number))])], number)
            await deltas.first(partial(says, deltas, number, snapshots))
        follower = Follower()
        for delta in [each for message in deltas.said for each in message.deltas]:
            if delta.snapshot and follower.snapshots:
                # A reader that missed nothing drops it.
                before = follower.top(20)
                assert delta.last == follower.sequence
                follower.apply(delta)
                assert follower.top(20) == before
            else:
                follower.apply(delta)
        assert (follower.sequence, follower.snapshots) == (25, 3)


class Hasty(ScriptedVenue):
    """Somebody asks for changes in the very moment in which the book is subscribed."""

    def __init__(self, demand: Demand) -> None:
        super().__init__()
        self._wishes = demand

    def watching(self, feed: Feed, sink: FeedSink) -> Any:
        self._wishes.update(Demand(depth=20, cadence_ms=0, deltas=True, delta_subscribers=frozenset({"one"})))
        return super().watching(feed, sink)


async def test_whoever_asks_while_the_book_is_being_opened_is_not_forgotten(bus: Bus) -> None:
    deltas = await listening(bus, DELTAS, BookDeltas)
    demand = Demand(depth=20, cadence_ms=0)
    async with body(bus, books.run, FEED, demand, venue=Hasty(demand)) as running:
        await made_live(running)
        await rebuilt(deltas, 10)


async def test_what_the_stream_keeps_of_changes_has_a_snapshot_in_it(bus: Bus) -> None:
    """At least every third of the time for which it keeps them."""
    deltas = await listening(bus, DELTAS, BookDeltas)
    demand = Demand(depth=20, cadence_ms=0, deltas=True)
    async with body(bus, books.run, FEED, demand, tape=TapeSettings.model_construct(deltas_age_s=0.9)) as running:
        began = asyncio.get_running_loop().time()
        await made_live(running)
        for _ in range(3):
            found = await deltas.first(lambda message: bool(message.deltas), len(deltas.said))
            assert [(each.snapshot, each.last, each.bids) for each in found.deltas] == [(True, 10, BIDS)]
        assert asyncio.get_running_loop().time() - began > 0.6


async def test_changes_asked_for_without_a_book_begin_with_an_empty_message(bus: Bus) -> None:
    deltas = await listening(bus, DELTAS, BookDeltas)
    demand = Demand(depth=1, cadence_ms=0)
    async with body(bus, books.run, FEED, demand) as running:
        await running.venue.sink()
        demand.update(replace(demand, deltas=True))
        assert (await deltas.first(lambda message: True)).deltas == []
        await made_live(running)
        await rebuilt(deltas, 10)
        assert len(deltas.said) == 2


async def test_more_changes_than_may_wait_give_way_to_a_snapshot(bus: Bus) -> None:
    deltas = await listening(bus, DELTAS, BookDeltas)
    demand = Demand(depth=20, cadence_ms=0, deltas=True)
    async with body(bus, books.run, FEED, demand, held=1000) as running:
        await made_live(running)
        await deltas.first(lambda message: message.deltas)
        sink = await running.venue.sink()
        # Without a moment in between for anything to be published.
        sink.take([diff(number, [(99.0, float(number))]) for number in range(11, 2011)], 1000)
        await running.said("gap")
        sink.take([diff(2011, [(98.0, 5.0)])], 1000)
        book = await running.public.first(at(2011))
        tops = await rebuilt(deltas, 2011)
        assert tops[2011] == (book.bids, book.asks)
        assert len(tops) < 1000
        assert running.context.status.gaps >= 1


async def test_changes_go_on_with_a_snapshot_when_the_stream_dropped_all_of_them(bus: Bus) -> None:
    """Retention may take a quiet book's last message: that is no other owner."""
    deltas = await listening(bus, DELTAS, BookDeltas)
    async with body(bus, books.run, FEED, Demand(depth=20, cadence_ms=0, deltas=True)) as running:
        await made_live(running)
        await rebuilt(deltas, 10)
        await bus.jetstream.purge_stream(TRADES_STREAM.replace("TRADES", "BOOK_DELTAS"))
        (await running.venue.sink()).take([diff(11, [(99.0, 11.0)])], 1000)
        tops = await rebuilt(deltas, 11)
        assert tops[11][0][1] == (99.0, 11.0)


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_new_owner_shuts_the_old_one_out_of_the_changes_too(bus: Bus, *, wanted: bool) -> None:
    deltas = await listening(bus, DELTAS, BookDeltas)
    async with body(bus, books.run, FEED, Demand(depth=20, cadence_ms=0, deltas=True)) as old:
        await made_live(old)
        await deltas.first(lambda message: message.deltas)
        seen = len(deltas.said)
        async with body(bus, books.run, FEED, Demand(depth=20, cadence_ms=0, deltas=wanted)) as new:
            await new.venue.sink()
            assert (await deltas.first(lambda message: True, seen)).deltas == []
            (await old.venue.sink()).take([diff(11, [(100.0, 666.0)])], 1000)
            assert isinstance(await within(old.ended()), Fenced)
            assert len(deltas.said) == seen + 1
