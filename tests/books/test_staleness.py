"""A stale book is never published as live: it expires when its owner ends, and is withdrawn when it cannot be right."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from books.book_feed import BIDS, FEED, answer, at, diff, is_live, made_live
from support.feeds import Running, ScriptedVenue, body, within
from support.hearing import last
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Book, Level
from tickwire.settings import SinkSettings
from tickwire.streamer.books import feed
from tickwire.streamer.control.feed_venue import BookView
from tickwire.tape.writer import last_message

pytestmark = pytest.mark.actors


async def keep_for(bus: Bus, seconds: float) -> None:
    """Have stream BOOKS forget what is older."""
    config = (await bus.jetstream.stream_info(streams.BOOKS)).config
    await bus.jetstream.update_stream(config.evolve(max_age=seconds, duplicate_window=seconds))


async def forgotten(bus: Bus) -> None:
    """The stream has no book."""
    async with asyncio.timeout(100):
        while await last_message(bus, streams.BOOKS, FEED.tape) is not None:
            await asyncio.sleep(0.05)


def view(*bids: float, ask: float | None = 101.0) -> BookView:
    """A book as ccxt keeps it, with one unit at each price."""
    asks = [] if ask is None else [[ask, 1.0]]
    return BookView(timestamp=5, nonce=None, bids=[[price, 1.0] for price in bids], asks=asks)


async def test_a_book_that_does_not_change_is_repeated_so_that_it_is_found(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.streamer.books.publisher.REPEAT_S", 0.2)
    await keep_for(bus, 1.0)
    async with body(bus, feed.run, FEED) as running:
        await made_live(running)
        (first,) = [book for book in running.public.said if book.state == "live"]
        for _ in range(8):
            again = await running.public.first(is_live, len(running.public.said))
            assert again == first
        # The first has been forgotten by now.
        assert await last(bus, streams.BOOKS, FEED.tape, Book) == first
        await running.counted(lambda status: status.items == 1)


async def test_nobody_finds_the_book_of_an_owner_that_died(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though no other takes over. What the sink has to write stays where that reads it."""
    monkeypatch.setattr("tickwire.streamer.books.publisher.REPEAT_S", 0.2)
    await streams.declare_sink(bus.jetstream, SinkSettings())
    await keep_for(bus, 1.0)
    async with body(bus, feed.run, FEED) as running:
        await made_live(running)
        assert await last_message(bus, streams.BOOKS, FEED.tape) is not None
        running.over = True
        running.task.cancel()
        await forgotten(bus)
    async with asyncio.timeout(100):
        while not (held := (await bus.jetstream.stream_info(streams.SINK)).state.messages):
            await asyncio.sleep(0.05)
    kept = await bus.jetstream.get_msg(streams.SINK, held)
    assert kept.subject == FEED.tape


async def test_a_book_goes_on_after_the_stream_forgot_what_was_said_last(bus: Bus) -> None:
    await keep_for(bus, 0.3)
    async with body(bus, feed.run, FEED) as running:
        await made_live(running)
        await forgotten(bus)
        (await running.venue.sink()).take([diff(11, [(100.0, 7.0)])], 1000)
        assert (await running.public.first(at(11))).bids[0] == (100.0, 7.0)


async def test_streams_made_by_an_earlier_version_forget_books_too(bus: Bus) -> None:
    config = (await bus.jetstream.stream_info(streams.BOOKS)).config
    await bus.jetstream.update_stream(config.evolve(max_age=0, duplicate_window=120))
    await streams.declare(bus.jetstream, 8, 2.0)
    assert (await bus.jetstream.stream_info(streams.BOOKS)).config.max_age == 30.0


async def test_a_book_without_any_level_is_not_live(bus: Bus) -> None:
    async with body(bus, feed.run, FEED, venue=ScriptedVenue(has_diffs=False)) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([view(100.0)], 1000)
        await running.public.first(is_live)
        seen = len(running.public.said)
        sink.take([view(ask=None)], 1000)
        await running.public.first(lambda book: book.state == "resyncing", seen)
        sink.take([view(ask=101.0)], 1000)
        # One side may be empty.
        assert (await running.public.first(is_live, seen)).bids == []


async def test_a_snapshot_without_any_level_is_asked_for_again(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        sink = await running.venue.sink()
        sink.connected()
        running.venue.rest.answers.put_nowait(answer(10, [], []))
        running.venue.rest.answers.put_nowait(answer(11))
        assert (await running.public.first(is_live)).sequence == 11


async def test_a_book_that_lost_its_last_level_is_fetched_anew(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        sink = await running.venue.sink()
        sink.connected()
        running.venue.rest.answers.put_nowait(answer(10, [(100.0, 1.0)], []))
        await running.public.first(at(10))
        seen = len(running.public.said)
        sink.take([diff(11, [(100.0, 0.0)])], 1000)
        await running.public.first(lambda book: book.state == "resyncing", seen)
        running.venue.rest.answers.put_nowait(answer(11))
        assert (await running.public.first(is_live, seen)).bids == BIDS


async def test_a_book_is_not_live_while_one_side_is_beyond_its_snapshot(bus: Bus) -> None:
    """500 asks, all that was asked for, go: that there are none is not known."""
    asks: list[Level] = [(101.0 + n, 1.0) for n in range(500)]
    async with body(bus, feed.run, FEED) as running:
        sink = await running.venue.sink()
        sink.connected()
        running.venue.rest.answers.put_nowait(answer(10, BIDS, asks))
        await running.public.first(at(10))
        seen = len(running.public.said)
        sink.take([diff(11, [(600.0, 1.0)], [(price, 0.0) for price, _ in asks])], 1000)
        await running.public.first(lambda book: book.state == "resyncing", seen)
        running.venue.rest.answers.put_nowait(answer(12, [(600.0, 1.0)], [(601.0, 1.0)]))
        assert (await running.public.first(is_live, seen)).asks == [(601.0, 1.0)]


async def test_a_book_of_a_quiet_market_is_there_before_its_first_change(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        (await running.venue.sink()).connected()
        running.venue.rest.answers.put_nowait(answer(10))
        assert (await running.public.first(is_live)).bids == BIDS


async def test_an_answer_that_ccxt_trips_over_is_asked_for_again(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        (await running.venue.sink()).connected()
        running.venue.rest.answers.put_nowait(TypeError("object of type 'int' has no len()"))
        running.venue.rest.answers.put_nowait(answer(10))
        await running.public.first(is_live)
        assert "has no len()" in (await running.said("rejected")).message


async def test_a_book_of_ccxt_that_stays_crossed_is_subscribed_anew(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickwire.streamer.books.feed.WRONG_S", 0.0)
    async with body(bus, feed.run, FEED, venue=ScriptedVenue(has_diffs=False)) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([view(100.0)], 1000)
        await running.public.first(is_live)
        assert not running.venue.resubscribed.is_set()
        sink.take([view(102.0)], 1000)
        await within(running.venue.resubscribed.wait())


async def test_snapshots_of_an_exchange_take_turns(bus: Bus) -> None:
    """What else is asked of it waits behind one of them at most."""
    async with body(bus, feed.run, FEED) as running:
        running.venue.rest.answers.put_nowait(answer(10))
        async with running.venue.snapshots:
            (await running.venue.sink()).connected()
            await running.said("connected")
            assert running.venue.rest.asked == []
        await running.public.first(is_live)


async def depth_grows(running: Running, depth: int, bids: int) -> Book:
    """More is wanted than the book has."""
    demand = running.context.demand
    demand.update(replace(demand, depth=depth))
    running.venue.rest.answers.put_nowait(answer(10, [(9000.0 - n, 1.0) for n in range(bids)], [(9001.0, 1.0)]))
    found: Book = await running.public.first(lambda book: len(book.bids) == min(depth, bids))
    return found


async def test_a_snapshot_is_as_deep_as_the_book_must_be(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        (await running.venue.sink()).connected()
        running.venue.rest.answers.put_nowait(
            answer(10, [(9000.0 - n, 1.0) for n in range(500)], [(9001.0 + n, 1.0) for n in range(500)])
        )
        await running.public.first(is_live)
        await depth_grows(running, 600, 1000)
        assert [limit for _, limit in running.venue.rest.asked] == [500, 1000]
