"""The body of a book feed against a real broker and a scripted exchange."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ccxt.base import errors

from support.scripted import Listener, Running, body, last, listening, within
from tickwire import broker as embedded_broker
from tickwire import streams
from tickwire.bus import Bus, connect
from tickwire.config import NatsSettings
from tickwire.errors import Fenced
from tickwire.feeds import Book, BookDelta, BookDeltas, Feed, Level
from tickwire.streamer import books
from tickwire.streamer.desk import BookView, Diff, Wishes

FEED = Feed("book", "binance", "BTC/USDT")
DELTAS = "md.book_delta.binance.BTC-USDT"
BIDS: list[Level] = [(100.0 - n, 1.0) for n in range(5)]
ASKS: list[Level] = [(101.0 + n, 1.0) for n in range(5)]


def answer(nonce: int, bids: Sequence[Level] = BIDS, asks: Sequence[Level] = ASKS) -> dict[str, Any]:
    """As ccxt's `fetch_order_book` gives it."""
    return {"nonce": nonce, "timestamp": None, "bids": [list(level) for level in bids], "asks": [[*a] for a in asks]}


def diff(last: int, bids: list[Level] | None = None, asks: list[Level] | None = None, first: int | None = None) -> Diff:
    return Diff(first=last if first is None else first, last=last, timestamp=last, bids=bids or [], asks=asks or [])


def is_live(book: Book) -> bool:
    return book.state == "live"


def at(sequence: int) -> Any:
    """Whether a message is the live book as of this update."""
    return lambda book: book.state == "live" and book.sequence == sequence


async def made_live(running: Running, nonce: int = 10) -> None:
    """Connected, with a snapshot."""
    sink = await running.venue.sink()
    sink.connected()
    running.venue.rest.answers.put_nowait(answer(nonce))
    sink.take([diff(nonce)], 1000)
    await running.public.until(at(nonce))


async def test_it_says_at_once_that_there_is_no_book_and_then_the_snapshot_with_the_changes_since(bus: Bus) -> None:
    async with body(bus, books.run, FEED, Book) as running:
        sink = await running.venue.sink()
        marker = await running.public.until(lambda book: book.state == "resyncing")
        assert (marker.bids, marker.asks) == ([], [])
        sink.connected()
        sink.take([diff(10), diff(11, [(100.0, 7.0)]), diff(12, [], [(101.0, 0.0)])], 1000)
        running.venue.rest.answers.put_nowait(answer(10))
        book = await running.public.until(is_live)
        assert running.venue.rest.asked == [("BTC/USDT", 1000)]
        assert (book.bids[0], book.asks[0], book.sequence, book.timestamp, book.depth) == (
            (100.0, 7.0),
            (102.0, 1.0),
            12,
            12,
            20,
        )
        sink.take([diff(13, [(100.5, 2.0)])], 1234)
        book = await running.public.until(at(13))
        assert book.bids == [(100.5, 2.0), (100.0, 7.0), *BIDS[1:]]
        assert book.received == 1234
        joined = await last(bus, streams.BOOKS, FEED.tape, Book)
        assert joined == book
        assert running.desk.board.state == "live"
        assert [status.event for status in running.statuses.messages] == ["starting", "connected"]


async def test_a_hole_in_the_numbers_makes_it_resync_from_a_new_snapshot(bus: Bus) -> None:
    async with body(bus, books.run, FEED, Book) as running:
        await made_live(running)
        sink = await running.venue.sink()
        seen = len(running.public.messages)
        sink.take([diff(12, [(100.0, 9.0)])], 2000)
        sink.take([diff(13, [(99.0, 0.0)])], 2000)
        empty = await running.public.until(lambda book: book.state == "resyncing", seen)
        assert (empty.bids, empty.asks, empty.sequence) == ([], [], None)
        assert (await running.said("gap")).message == "update 12 follows 11, not 10"
        running.venue.rest.answers.put_nowait(answer(12, [(100.0, 9.0), (99.0, 1.0)]))
        book = await running.public.until(is_live, seen)
        assert (book.sequence, book.bids) == (13, [(100.0, 9.0)])
        await running.said("repaired")
        assert (running.desk.board.gaps, running.desk.board.repaired) == (1, 1)


async def test_a_disconnected_book_is_not_live_until_it_was_made_anew(bus: Bus) -> None:
    async with body(bus, books.run, FEED, Book) as running:
        await made_live(running)
        sink = await running.venue.sink()
        seen = len(running.public.messages)
        sink.disconnected("the line is cut")
        await running.public.until(lambda book: book.state == "resyncing", seen)
        assert (await running.said("disconnected")).message == "the line is cut"
        assert running.desk.board.state == "disconnected"
        sink.connected()
        running.venue.rest.answers.put_nowait(answer(50))
        book = await running.public.until(is_live, seen)
        assert book.sequence == 50
        await running.said("repaired")
        assert running.desk.board.reconnects == 1


async def test_an_answer_from_before_a_reconnect_is_not_used(bus: Bus) -> None:
    async with body(bus, books.run, FEED, Book) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([diff(10)], 1000)
        await within(running.venue.rest.asking.wait())
        sink.disconnected("cut")
        sink.connected()
        running.venue.rest.answers.put_nowait(answer(10, [(1.0, 1.0)]))
        running.venue.rest.answers.put_nowait(answer(30))
        book = await running.public.until(is_live)
        assert (book.sequence, book.bids) == (30, BIDS)


async def test_a_snapshot_older_than_the_changes_is_asked_for_again(bus: Bus) -> None:
    async with body(bus, books.run, FEED, Book) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([diff(20, [(100.0, 3.0)])], 1000)
        for nonce in (15, 18, 19):
            running.venue.rest.answers.put_nowait(answer(nonce))
        book = await running.public.until(is_live)
        assert (book.sequence, book.bids[0]) == (20, (100.0, 3.0))
        assert len(running.venue.rest.asked) == 3


async def test_failures_of_the_exchange_are_repeated_and_said(bus: Bus) -> None:
    async with body(bus, books.run, FEED, Book) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([diff(10)], 1000)
        for failure in (errors.NetworkError("no route"), errors.RateLimitExceeded("slow down"), {"nonce": None}):
            running.venue.rest.answers.put_nowait(failure)
        running.venue.rest.answers.put_nowait(answer(10))
        await running.public.until(is_live)
        assert len(running.venue.rest.asked) == 4
        assert running.desk.board.rejected == 3
        assert "no route" in (await running.said("rejected")).message


async def test_a_refusal_of_the_exchange_is_said_and_not_repeated_at_once(bus: Bus) -> None:
    async with body(bus, books.run, FEED, Book) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([diff(10)], 1000)
        running.venue.rest.answers.put_nowait(errors.BadSymbol("never heard of it"))
        running.venue.rest.answers.put_nowait(answer(10))
        assert "BadSymbol: never heard of it" in (await running.said("rejected")).message
        await running.stop()
        assert len(running.venue.rest.asked) == 1


async def test_stopping_leaves_no_live_book(bus: Bus) -> None:
    async with body(bus, books.run, FEED, Book) as running:
        await made_live(running)
        await running.stop()
        assert running.venue.left.is_set()
        left = await last(bus, streams.BOOKS, FEED.tape, Book)
        assert (left.state, left.bids, left.asks) == ("resyncing", [], [])
        await running.said("stopped")
        assert running.desk.board.state == "stopped"


async def test_changes_that_had_no_message_of_their_own_are_counted(bus: Bus) -> None:
    """At most one message per cadence, and every change is in one of them."""
    wishes = Wishes(depth=20, cadence_ms=200)
    async with body(bus, books.run, FEED, Book, wishes) as running:
        await made_live(running)
        sink = await running.venue.sink()
        for number in range(11, 111):
            sink.take([diff(number, [(99.0, float(number))])], number)
        await running.public.until(at(110))
        sink.take([diff(111, [(99.0, 111.0)])], 111)
        await running.public.until(at(111))
        live = [
            (book, time) for book, time in zip(running.public.messages, running.public.times, strict=True) if book.bids
        ]
        # The snapshot is the first change.
        assert sum(1 + book.conflated for book, _ in live) == 102
        assert running.desk.board.conflated == sum(book.conflated for book, _ in live) >= 97
        assert live[-1][1] - live[-2][1] > 0.15


async def test_a_new_wish_is_met_at_once(bus: Bus) -> None:
    wishes = Wishes(depth=2, cadence_ms=60_000)
    async with body(bus, books.run, FEED, Book, wishes) as running:
        await made_live(running)
        assert len(running.public.messages[-1].bids) == 2
        wishes.depth = 4
        wishes.changed.set()
        book = await running.public.until(lambda book: book.depth == 4)
        assert (book.bids, book.asks) == (BIDS[:4], ASKS[:4])


async def test_a_book_that_outgrew_its_snapshot_gets_another_and_stays_live(bus: Bus) -> None:
    """Of 1,000 levels 990 go: what lies behind them was never seen, and is not said to be empty."""
    bids: list[Level] = [(2000.0 - n, 1.0) for n in range(1000)]
    async with body(bus, books.run, FEED, Book) as running:
        sink = await running.venue.sink()
        sink.connected()
        asks: list[Level] = [(3000.0, 1.0)]
        sink.take([diff(10)], 1000)
        running.venue.rest.answers.put_nowait(answer(10, bids, asks))
        await running.public.until(at(10))
        sink.take([diff(11, [(price, 0.0) for price, _ in bids[:990]] + [(500.0, 1.0)])], 1000)
        short = await running.public.until(at(11))
        assert short.bids == bids[990:]
        more: list[Level] = [(1010.0 - n, 1.0) for n in range(50)]
        running.venue.rest.answers.put_nowait(answer(12, more, asks))
        whole = await running.public.until(at(12))
        assert whole.bids == more[:20]
        assert [book.state for book in running.public.messages] == ["resyncing", "live", "live", "live"]


async def test_books_that_ccxt_keeps_are_copied_when_they_change(bus: Bus) -> None:
    async with body(bus, books.run, FEED, Book, Wishes(depth=2, cadence_ms=0)) as running:
        sink = await running.venue.sink()
        sink.connected()
        bids, asks = [[100.0, 1.0], [99.0, 1.0], [98.0, 1.0]], [[101.0, 1.0]]
        sink.take([BookView(timestamp=5, nonce=7, bids=bids, asks=asks)], 1000)
        bids.clear()
        book = await running.public.until(is_live)
        assert (book.bids, book.asks, book.sequence) == ([(100.0, 1.0), (99.0, 1.0)], [(101.0, 1.0)], 7)
        assert running.venue.rest.asked == []
        seen = len(running.public.messages)
        sink.disconnected("cut")
        await running.public.until(lambda book: book.state == "resyncing", seen)
        sink.connected()
        sink.take([BookView(timestamp=6, nonce=None, bids=[[50.0, 1.0]], asks=asks)], 1000)
        assert (await running.public.until(is_live, seen)).bids == [(50.0, 1.0)]


async def test_a_crossed_or_unreadable_book_is_not_published(bus: Bus) -> None:
    async with body(bus, books.run, FEED, Book) as running:
        sink = await running.venue.sink()
        sink.connected()
        sink.take([BookView(timestamp=5, nonce=7, bids=[[100.0, 1.0]], asks=[[101.0, 1.0]])], 1000)
        await running.public.until(is_live)
        seen = len(running.public.messages)
        sink.take([BookView(timestamp=5, nonce=8, bids=[[102.0, 1.0]], asks=[[101.0, 1.0]])], 1000)
        await running.public.until(lambda book: book.state == "resyncing", seen)
        sink.take([BookView(timestamp=5, nonce=9, bids=[[None, 1.0]], asks=[]), object()], 1000)
        sink.rejected("a broken frame")
        sink.take([BookView(timestamp=5, nonce=10, bids=[[100.0, 1.0]], asks=[[101.0, 1.0]])], 1000)
        assert (await running.public.until(is_live, seen)).sequence == 10
        assert running.desk.board.rejected == 4
        await running.said("rejected")
        assert [status.event for status in running.statuses.messages].count("rejected") == 1


async def test_a_venue_may_change_between_changes_and_whole_books(bus: Bus) -> None:
    async with body(bus, books.run, FEED, Book) as running:
        await made_live(running)
        sink = await running.venue.sink()
        sink.take([BookView(timestamp=5, nonce=7, bids=[[50.0, 1.0]], asks=[[51.0, 1.0]])], 1000)
        assert (await running.public.until(at(7))).bids == [(50.0, 1.0)]
        sink.take([diff(90)], 1000)
        running.venue.rest.answers.put_nowait(answer(90))
        assert (await running.public.until(at(90))).bids == BIDS


async def test_an_overtaken_owner_adds_nothing(bus: Bus) -> None:
    wishes = Wishes(depth=20, cadence_ms=0, deltas=True)
    deltas = await listening(bus, DELTAS, BookDeltas)
    async with body(bus, books.run, FEED, Book, wishes) as old:
        await made_live(old)
        await deltas.until(lambda message: message.deltas)
        async with body(bus, books.run, FEED, Book) as new:
            await new.venue.sink()
            seen, seen_deltas = len(new.public.messages), len(deltas.messages)
            (await old.venue.sink()).take([diff(11, [(100.0, 666.0)])], 1000)
            assert isinstance(await old.ended(), Fenced)
            await made_live(new, 20)
            assert [book.sequence for book in new.public.messages[seen:]] == [20]
            # Nothing is waiting to be delivered: what comes last was sent last.
            await new.stop()
            assert all(not message.deltas for message in deltas.messages[seen_deltas:])


async def test_a_broker_restart_is_waited_out(tmp_path: Path) -> None:
    async with embedded_broker.embedded(tmp_path / "nats") as url:
        port = int(url.rpartition(":")[2])
        connection = connect(NatsSettings(url=url), name="test")
        bus = await connection.__aenter__()
        await streams.declare(bus.jetstream, 8, 1.0)
        work = body(bus, books.run, FEED, Book, Wishes(depth=20, cadence_ms=0, deltas=True))
        running = await work.__aenter__()
        await made_live(running)
    sink = await running.venue.sink()
    for number in range(11, 31):
        sink.take([diff(number, [(99.0, float(number))])], number)
    async with embedded_broker.embedded(tmp_path / "nats", port=port):
        book = await running.public.until(at(30))
        assert book.bids[1] == (99.0, 30.0)
        await work.__aexit__(None, None, None)
        await connection.__aexit__(None, None, None)


# ---- changes of books


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


async def rebuilt(deltas: Listener, sequence: int) -> dict[int, tuple[list[Level], list[Level]]]:
    """The top of the book at each update, by the changes alone, once they have come to this one."""
    await deltas.until(lambda message: any(delta.last == sequence for delta in message.deltas))
    follower, tops = Follower(), {}
    for message in deltas.messages:
        for delta in message.deltas:
            follower.apply(delta)
            tops[follower.sequence] = follower.top(20)
    return tops


async def test_the_changes_give_the_published_books(bus: Bus) -> None:
    deltas = await listening(bus, DELTAS, BookDeltas)
    async with body(bus, books.run, FEED, Book, Wishes(depth=20, cadence_ms=0, deltas=True)) as running:
        await made_live(running)
        sink = await running.venue.sink()
        for number in range(11, 60):
            price = 90.0 + number % 11
            sink.take([diff(number, [(price, float(number % 3))], [(price + 11, float(number % 4))])], number)
            if number % 5 == 0:
                await running.public.until(at(number))
        # A hole, and another book after it.
        sink.take([diff(70)], 70)
        running.venue.rest.answers.put_nowait(answer(71, BIDS[2:]))
        await running.public.until(at(71))
        sink.take([diff(number, [(99.5, float(number))]) for number in range(72, 90)], 90)
        await running.public.until(at(89))
        tops = await rebuilt(deltas, 89)
        compared = [book for book in running.public.messages if book.state == "live"]
        assert {book.sequence for book in compared} >= {10, 15, 55, 71, 89}
        for book in compared:
            assert tops[book.sequence] == (book.bids, book.asks)
        assert set(range(11, 60)) | {71} | set(range(72, 90)) <= tops.keys()


async def test_whoever_asks_for_changes_later_gets_the_whole_book_first(bus: Bus) -> None:
    deltas = await listening(bus, DELTAS, BookDeltas)
    wishes = Wishes(depth=1, cadence_ms=0)
    async with body(bus, books.run, FEED, Book, wishes) as running:
        await made_live(running)
        assert deltas.messages == []
        wishes.deltas = True
        wishes.changed.set()
        first = await deltas.until(lambda message: True)
        assert [(d.snapshot, d.first, d.last, d.bids, d.asks) for d in first.deltas] == [(True, 10, 10, BIDS, ASKS)]
        (await running.venue.sink()).take([diff(11, [(100.0, 0.0)])], 1000)
        second = await deltas.until(lambda message: True, 1)
        assert [(d.snapshot, d.first, d.last, d.bids) for d in second.deltas] == [(False, 11, 11, [(100.0, 0.0)])]


async def test_changes_asked_for_without_a_book_begin_with_an_empty_message(bus: Bus) -> None:
    deltas = await listening(bus, DELTAS, BookDeltas)
    wishes = Wishes(depth=1, cadence_ms=0)
    async with body(bus, books.run, FEED, Book, wishes) as running:
        await running.venue.sink()
        wishes.deltas = True
        wishes.changed.set()
        assert (await deltas.until(lambda message: True)).deltas == []
        await made_live(running)
        await rebuilt(deltas, 10)
        assert len(deltas.messages) == 2


async def test_more_changes_than_may_wait_give_way_to_a_snapshot(bus: Bus) -> None:
    deltas = await listening(bus, DELTAS, BookDeltas)
    wishes = Wishes(depth=20, cadence_ms=0, deltas=True)
    async with body(bus, books.run, FEED, Book, wishes, held=1000) as running:
        await made_live(running)
        await deltas.until(lambda message: message.deltas)
        sink = await running.venue.sink()
        # Without a moment in between for anything to be published.
        sink.take([diff(number, [(99.0, float(number))]) for number in range(11, 2011)], 1000)
        await running.said("gap")
        sink.take([diff(2011, [(98.0, 5.0)])], 1000)
        book = await running.public.until(at(2011))
        tops = await rebuilt(deltas, 2011)
        assert tops[2011] == (book.bids, book.asks)
        assert len(tops) < 1000
        assert running.desk.board.gaps >= 1


async def test_changes_go_on_with_a_snapshot_when_the_stream_dropped_all_of_them(bus: Bus) -> None:
    """Retention may take a quiet book's last message: that is no other owner."""
    deltas = await listening(bus, DELTAS, BookDeltas)
    async with body(bus, books.run, FEED, Book, Wishes(depth=20, cadence_ms=0, deltas=True)) as running:
        await made_live(running)
        await rebuilt(deltas, 10)
        await bus.jetstream.purge_stream(streams.BOOK_DELTAS)
        (await running.venue.sink()).take([diff(11, [(99.0, 11.0)])], 1000)
        tops = await rebuilt(deltas, 11)
        assert tops[11][0][1] == (99.0, 11.0)


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_new_owner_shuts_the_old_one_out_of_the_changes_too(bus: Bus, *, wanted: bool) -> None:
    deltas = await listening(bus, DELTAS, BookDeltas)
    async with body(bus, books.run, FEED, Book, Wishes(depth=20, cadence_ms=0, deltas=True)) as old:
        await made_live(old)
        await deltas.until(lambda message: message.deltas)
        seen = len(deltas.messages)
        async with body(bus, books.run, FEED, Book, Wishes(depth=20, cadence_ms=0, deltas=wanted)) as new:
            await new.venue.sink()
            assert (await deltas.until(lambda message: True, seen)).deltas == []
            (await old.venue.sink()).take([diff(11, [(100.0, 666.0)])], 1000)
            assert isinstance(await within(old.ended()), Fenced)
            assert len(deltas.messages) == seen + 1
