"""The body of a book feed against a real broker and a scripted exchange."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from ccxt.base import errors

from books.book_feed import ASKS, BIDS, DELTAS, FEED, answer, at, diff, is_live, made_live
from support.feeds import Running, body, within
from support.hearing import last, listening
from tickwire.bus import embedded as embedded_broker
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.errors import Fenced
from tickwire.model.feeds import Book, BookDeltas, Level
from tickwire.settings import NatsSettings
from tickwire.streamer.books import feed, resync
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.control.feed_venue import BookView, FeedSink

pytestmark = pytest.mark.actors


async def test_it_reports_at_once_that_there_is_no_book_and_then_snapshot_plus_changes(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        sink = await running.venue.sink()
        marker = await running.public.first(lambda book: book.state == "resyncing")
        assert (marker.bids, marker.asks) == ([], [])
        sink.connected()
        sink.take([diff(10), diff(11, [(100.0, 7.0)]), diff(12, [], [(101.0, 0.0)])], 1000)
        running.venue.rest.answers.put_nowait(answer(10))
        book = await running.public.first(is_live)
        assert running.venue.rest.asked == [("BTC/USDT", 500)]
        assert (book.bids[0], book.asks[0], book.sequence, book.timestamp, book.depth) == (
            (100.0, 7.0),
            (102.0, 1.0),
            12,
            12,
            20,
        )
        sink.take([diff(13, [(100.5, 2.0)])], 1234)
        book = await running.public.first(at(13))
        assert book.bids == [(100.5, 2.0), (100.0, 7.0), *BIDS[1:]]
        assert book.received == 1234
        joined = await last(bus, streams.BOOKS, FEED.tape, Book)
        assert joined == book
        assert running.context.status.state == "live"
        await running.said("connected")
        assert [status.event for status in running.statuses.said] == ["starting", "connected"]


async def test_a_hole_in_the_numbers_makes_it_resync_from_a_new_snapshot(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        await made_live(running)
        sink = await running.venue.sink()
        seen = len(running.public.said)
        sink.take([diff(12, [(100.0, 9.0)])], 2000)
        sink.take([diff(13, [(99.0, 0.0)])], 2000)
        empty = await running.public.first(lambda book: book.state == "resyncing", seen)
        assert (empty.bids, empty.asks, empty.sequence) == ([], [], None)
        assert (await running.said("gap")).message == "update 12 follows 11, not 10"
        running.venue.rest.answers.put_nowait(answer(12, [(100.0, 9.0), (99.0, 1.0)]))
        book = await running.public.first(is_live, seen)
        assert (book.sequence, book.bids) == (13, [(100.0, 9.0)])
        await running.said("repaired")
        assert (running.context.status.gaps, running.context.status.repaired) == (1, 1)


async def test_a_disconnected_book_is_not_live_until_it_was_made_anew(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        await made_live(running)
        sink = await running.venue.sink()
        seen = len(running.public.said)
        sink.disconnected("the line is cut")
        await running.public.first(lambda book: book.state == "resyncing", seen)
        assert (await running.said("disconnected")).message == "the line is cut"
        assert running.context.status.state == "disconnected"
        sink.connected()
        running.venue.rest.answers.put_nowait(answer(50))
        book = await running.public.first(is_live, seen)
        assert book.sequence == 50
        await running.said("repaired")
        assert running.context.status.reconnects == 1


async def test_an_answer_from_before_a_reconnect_is_not_used(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([diff(10)], 1000)
        await within(running.venue.rest.asking.wait())
        sink.disconnected("cut")
        sink.connected()
        running.venue.rest.answers.put_nowait(answer(10, [(1.0, 1.0)]))
        running.venue.rest.answers.put_nowait(answer(30))
        book = await running.public.first(is_live)
        assert (book.sequence, book.bids) == (30, BIDS)


async def test_a_snapshot_older_than_the_changes_is_asked_for_again(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([diff(20, [(100.0, 3.0)])], 1000)
        for nonce in (15, 18, 19):
            running.venue.rest.answers.put_nowait(answer(nonce))
        book = await running.public.first(is_live)
        assert (book.sequence, book.bids[0]) == (20, (100.0, 3.0))
        assert len(running.venue.rest.asked) == 3


async def test_failures_of_the_exchange_are_repeated_and_said(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([diff(10)], 1000)
        for failure in (errors.NetworkError("no route"), errors.RateLimitExceeded("slow down"), {"nonce": None}):
            running.venue.rest.answers.put_nowait(failure)
        running.venue.rest.answers.put_nowait(answer(10))
        await running.public.first(is_live)
        assert len(running.venue.rest.asked) == 4
        assert running.context.status.rejected == 3
        assert "no route" in (await running.said("rejected")).message


async def test_that_there_is_no_snapshot_is_logged_when_it_begins_and_when_it_is_over(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger=resync.__name__)
    async with body(bus, feed.run, FEED) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([diff(10)], 1000)
        for _ in range(5):
            running.venue.rest.answers.put_nowait(errors.ExchangeNotAvailable("maintenance"))
        running.venue.rest.answers.put_nowait(answer(10))
        await running.public.first(is_live)
    # However logs are formatted in this process.
    said = [line.getMessage() for line in caplog.records if "no snapshot yet" in line.getMessage()]
    assert ["over: no snapshot yet" in line for line in said] == [False, True]


async def test_a_refusal_of_the_exchange_is_said_and_not_repeated_at_once(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([diff(10)], 1000)
        running.venue.rest.answers.put_nowait(errors.BadSymbol("never heard of it"))
        running.venue.rest.answers.put_nowait(answer(10))
        assert "BadSymbol: never heard of it" in (await running.said("rejected")).message
        await running.stop()
        assert len(running.venue.rest.asked) == 1


async def test_stopping_leaves_no_live_book(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        await made_live(running)
        await running.stop()
        assert running.venue.left.is_set()
        left = await last(bus, streams.BOOKS, FEED.tape, Book)
        assert (left.state, left.bids, left.asks) == ("resyncing", [], [])
        await running.said("stopped")
        assert running.context.status.state == "stopped"


async def test_changes_that_had_no_message_of_their_own_are_counted(bus: Bus) -> None:
    """At most one message per cadence, and every change is in one of them."""
    demand = Demand(depth=20, cadence_ms=1000)
    async with body(bus, feed.run, FEED, demand) as running:
        await made_live(running)
        sink = await running.venue.sink()
        for number in range(11, 111):
            sink.take([diff(number, [(99.0, float(number))])], number)
        await running.public.first(at(110))
        sink.take([diff(111, [(99.0, 111.0)])], 111)
        await running.public.first(at(111))
        live = [(book, time) for book, time in zip(running.public.said, running.public.times, strict=True) if book.bids]
        # The snapshot is the first change.
        assert sum(1 + book.conflated for book, _ in live) == 102
        conflated = sum(book.conflated for book, _ in live)
        assert conflated >= 97
        await running.counted(lambda status: status.conflated == conflated)
        # Half of the cadence: on a busy machine one may arrive late.
        assert live[-1][1] - live[-2][1] > 0.5


async def test_a_new_wish_is_met_at_once(bus: Bus) -> None:
    demand = Demand(depth=2, cadence_ms=60_000)
    async with body(bus, feed.run, FEED, demand) as running:
        await made_live(running)
        assert len(running.public.said[-1].bids) == 2
        demand.update(replace(demand, depth=4))
        book = await running.public.first(lambda book: book.depth == 4)
        assert (book.bids, book.asks) == (BIDS[:4], ASKS[:4])


async def test_a_book_that_outgrew_its_snapshot_gets_another_and_stays_live(bus: Bus) -> None:
    """Of 500 levels 490 go: what lies behind them was never seen, and is not said to be empty."""
    bids: list[Level] = [(2000.0 - n, 1.0) for n in range(500)]
    async with body(bus, feed.run, FEED) as running:
        sink = await running.venue.sink()
        sink.connected()
        asks: list[Level] = [(3000.0, 1.0)]
        sink.take([diff(10)], 1000)
        running.venue.rest.answers.put_nowait(answer(10, bids, asks))
        await running.public.first(at(10))
        sink.take([diff(11, [(price, 0.0) for price, _ in bids[:490]] + [(500.0, 1.0)])], 1000)
        short = await running.public.first(at(11))
        assert short.bids == bids[490:]
        more: list[Level] = [(1510.0 - n, 1.0) for n in range(50)]
        running.venue.rest.answers.put_nowait(answer(12, more, asks))
        whole = await running.public.first(at(12))
        assert whole.bids == more[:20]
        assert [book.state for book in running.public.said] == ["resyncing", "live", "live", "live"]


async def test_books_that_ccxt_keeps_are_copied_when_they_change(bus: Bus) -> None:
    async with body(bus, feed.run, FEED, Demand(depth=2, cadence_ms=0)) as running:
        sink = await running.venue.sink()
        sink.connected()
        bids, asks = [[100.0, 1.0], [99.0, 1.0], [98.0, 1.0]], [[101.0, 1.0]]
        sink.take([BookView(timestamp=5, nonce=7, bids=bids, asks=asks)], 1000)
        bids.clear()
        book = await running.public.first(is_live)
        assert (book.bids, book.asks, book.sequence) == ([(100.0, 1.0), (99.0, 1.0)], [(101.0, 1.0)], 7)
        assert running.venue.rest.asked == []
        seen = len(running.public.said)
        sink.disconnected("cut")
        await running.public.first(lambda book: book.state == "resyncing", seen)
        sink.connected()
        sink.take([BookView(timestamp=6, nonce=None, bids=[[50.0, 1.0]], asks=asks)], 1000)
        assert (await running.public.first(is_live, seen)).bids == [(50.0, 1.0)]


async def whole_book(running: Running) -> FeedSink:
    """Connect, and have a first book published; the sink."""
    sink: FeedSink = await running.venue.sink()
    sink.connected()
    sink.take([BookView(timestamp=5, nonce=7, bids=[[100.0, 1.0]], asks=[[101.0, 1.0]])], 1000)
    await running.public.first(is_live)
    return sink


async def test_a_crossed_or_unreadable_book_is_not_published(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        sink = await whole_book(running)
        seen = len(running.public.said)
        sink.take([BookView(timestamp=5, nonce=8, bids=[[102.0, 1.0]], asks=[[101.0, 1.0]])], 1000)
        await running.public.first(lambda book: book.state == "resyncing", seen)
        sink.take([BookView(timestamp=5, nonce=9, bids=[[None, 1.0]], asks=[]), object()], 1000)
        sink.rejected("a broken frame")
        sink.take([BookView(timestamp=5, nonce=10, bids=[[100.0, 1.0]], asks=[[101.0, 1.0]])], 1000)
        assert (await running.public.first(is_live, seen)).sequence == 10
        assert running.context.status.rejected == 4
        await running.said("rejected")
        assert [status.event for status in running.statuses.said].count("rejected") == 1


@pytest.mark.parametrize("level", [[math.nan, 1.0], [100.0, math.inf], [-1.0, 1.0], [0.0, 1.0], [100.0, -1.0]])
async def test_a_book_with_a_level_that_is_no_number_is_not_published_and_not_live(
    bus: Bus, level: list[float]
) -> None:
    async with body(bus, feed.run, FEED) as running:
        sink = await whole_book(running)
        seen = len(running.public.said)
        sink.take([BookView(timestamp=5, nonce=8, bids=[[100.0, 1.0], level], asks=[[101.0, 1.0]])], 1000)
        await running.public.first(lambda book: book.state == "resyncing", seen)
        sink.take([BookView(timestamp=5, nonce=9, bids=[[100.0, 1.0]], asks=[[101.0, 1.0]])], 1000)
        assert (await running.public.first(is_live, seen)).sequence == 9
        assert running.context.status.rejected == 1


async def test_a_venue_may_change_between_changes_and_whole_books(bus: Bus) -> None:
    async with body(bus, feed.run, FEED) as running:
        await made_live(running)
        sink = await running.venue.sink()
        sink.take([BookView(timestamp=5, nonce=7, bids=[[50.0, 1.0]], asks=[[51.0, 1.0]])], 1000)
        assert (await running.public.first(at(7))).bids == [(50.0, 1.0)]
        sink.take([diff(90)], 1000)
        running.venue.rest.answers.put_nowait(answer(90))
        assert (await running.public.first(at(90))).bids == BIDS


async def test_an_overtaken_owner_adds_nothing(bus: Bus) -> None:
    demand = Demand(depth=20, cadence_ms=0, deltas=True)
    deltas = await listening(bus, DELTAS, BookDeltas)
    async with body(bus, feed.run, FEED, demand) as old:
        await made_live(old)
        await deltas.first(lambda message: message.deltas)
        async with body(bus, feed.run, FEED) as new:
            await new.venue.sink()
            seen, seen_deltas = len(new.public.said), len(deltas.said)
            (await old.venue.sink()).take([diff(11, [(100.0, 666.0)])], 1000)
            assert isinstance(await old.ended(), Fenced)
            await made_live(new, 20)
            assert [book.sequence for book in new.public.said[seen:]] == [20]
            # Nothing is waiting to be delivered: what comes last was sent last.
            await new.stop()
            assert all(not message.deltas for message in deltas.said[seen_deltas:])


async def test_a_broker_restart_is_waited_out(tmp_path: Path) -> None:
    async with embedded_broker.embedded(tmp_path / "nats") as url:
        port = int(url.rpartition(":")[2])
        connection = connect(NatsSettings(url=url), name="test")
        bus = await connection.__aenter__()
        await streams.declare(bus.jetstream, 8, 2.0)
        work = body(bus, feed.run, FEED, Demand(depth=20, cadence_ms=0, deltas=True))
        running = await work.__aenter__()
        await made_live(running)
    sink = await running.venue.sink()
    for number in range(11, 31):
        sink.take([diff(number, [(99.0, float(number))])], number)
    async with embedded_broker.embedded(tmp_path / "nats", port=port):
        book = await running.public.first(at(30))
        assert book.bids[1] == (99.0, 30.0)
        await work.__aexit__(None, None, None)
        await connection.__aexit__(None, None, None)
