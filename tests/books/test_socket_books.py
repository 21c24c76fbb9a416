"""Books whose snapshot comes on the socket: OKX over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from books.test_deltas import Follower
from support.feeds import Running, body
from support.hearing import Heard, hearing
from support.loopback import Loopback, loopback, market, settings
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Book, BookDeltas, Feed, Level
from tickwire.streamer.books import feed as books
from tickwire.streamer.books import socket_resync
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.subscriptions.live_venue import LiveVenue, open_live_venue

pytestmark = pytest.mark.actors

SYMBOL, MARKET = "BTC/USDT", "BTC-USDT"
ARG = {"channel": "books", "instId": MARKET}
FEED = Feed("book", "okx", SYMBOL)
DELTAS = "md.book_delta.okx.BTC-USDT"
FIRST: tuple[list[Level], list[Level]] = ([(100.0, 1.0), (99.0, 2.0)], [(101.0, 3.0)])
CHANGE: list[Level] = [(100.0, 0.0), (98.5, 4.0)]
RAISED: list[Level] = [(100.5, 1.0)]


class Okx:
    """OKX's book channel of one market by its documentation: a snapshot for each subscription, then changes."""

    def __init__(self, exchange: Loopback) -> None:
        self.exchange = exchange
        self.sequence = 1000
        self.sides: tuple[dict[float, float], dict[float, float]] = (dict(FIRST[0]), dict(FIRST[1]))
        self.subscriptions = self.unsubscriptions = 0
        self.silent = 0
        """How many subscriptions are acknowledged, but get no snapshot."""
        self.meanwhile: Callable[[], None] | None = None
        """Called before the next snapshot."""
        exchange.reply = self.reply

    def reply(self, message: Any) -> list[Any]:
        if message == "ping":
            return ["pong"]
        answers: list[Any] = []
        for arg in message.get("args", ()):
            answers.append({"event": message["op"], "arg": arg, "connId": "a"})
            if message["op"] == "unsubscribe":
                self.unsubscriptions += 1
                continue
            self.subscriptions += 1
            if self.meanwhile is not None:
                self.meanwhile()
                self.meanwhile = None
            if self.silent:
                self.silent -= 1
            else:
                answers.append(self._message("snapshot", *self.truth(), -1))
        return answers

    def truth(self) -> tuple[list[Level], list[Level]]:
        return sorted(self.sides[0].items(), reverse=True), sorted(self.sides[1].items())

    def change(self, bids: Sequence[Level] = (), asks: Sequence[Level] = (), *, sent: bool = True) -> None:
        """Change levels; the message is lost unless `sent`."""
        before, self.sequence = self.sequence, self.sequence + 7
        for side, levels in zip(self.sides, (bids, asks), strict=True):
            for price, amount in levels:
                side.pop(price, None)
                if amount:
                    side[price] = amount
        if sent:
            self.exchange.push([self._message("update", bids, asks, before)])

    def _message(self, action: str, bids: Sequence[Level], asks: Sequence[Level], before: int) -> Any:
        rows = {
            name: [[f"{price}", f"{amount}", "0", "1"] for price, amount in side]
            for name, side in (("bids", bids), ("asks", asks))
        }
        data = {**rows, "ts": "1700000000000", "checksum": 0, "prevSeqId": before, "seqId": self.sequence}
        return {"arg": ARG, "action": action, "data": [data]}


@asynccontextmanager
async def watched(bus: Bus, **demand: Any) -> AsyncIterator[tuple[Okx, LiveVenue, Running]]:
    """OKX's book of one market at work, over a real socket."""
    async with loopback() as exchange:
        okx = Okx(exchange)
        chosen = settings(exchange.url, "okx", [market(SYMBOL, MARKET)])
        async with open_live_venue("okx", chosen) as venue:
            wanted = Demand(depth=20, cadence_ms=0, **demand)
            async with body(bus, books.run, FEED, wanted, venue=venue) as running:
                yield okx, venue, running


async def agrees(running: Running, okx: Okx, after: int = 0) -> Book:
    """The first public book that is the exchange's."""

    def is_true(book: Book) -> bool:
        return book.state == "live" and (book.bids, book.asks) == okx.truth() and book.sequence == okx.sequence

    book: Book = await running.public.first(is_true, after)
    return book


async def test_a_book_is_the_snapshot_of_the_socket_and_the_changes_after_it(bus: Bus) -> None:
    async with watched(bus) as (okx, venue, running):
        await agrees(running, okx)
        okx.change(CHANGE)
        await agrees(running, okx)
        # Nothing is requested by REST, and ccxt keeps no book of its own.
        assert okx.exchange.asked == []
        assert not venue.rest.orderbooks
        assert okx.subscriptions == 1


async def test_after_a_lost_change_only_a_new_subscription_makes_the_book_live(bus: Bus) -> None:
    async with watched(bus) as (okx, _, running):
        await agrees(running, okx)
        for lost in (1, 2):
            seen = len(running.public.said)
            okx.change([(100.0, 0.0)], sent=False)
            # What is removed while the book is subscribed again is nowhere afterwards.
            okx.meanwhile = lambda: okx.change([(99.0, 0.0)], sent=False)
            okx.change(RAISED)
            broken = await running.public.first(lambda book: book.state == "resyncing", seen)
            assert (broken.bids, broken.asks) == ([], [])
            await agrees(running, okx, seen)
            okx.change([(99.0, 5.0), (100.0, 1.0)])
            await agrees(running, okx, seen)
            states = [book.state for book in running.public.said[seen:]]
            assert states.index("resyncing") < states.index("live")
            assert all((100.0, 1.0) not in book.bids for book in running.public.said[seen:-1] if book.state == "live")
            assert (okx.subscriptions, okx.unsubscriptions) == (1 + lost, lost)
            await running.statuses.until_said(
                lambda said, lost=lost: [each.event for each in said].count("repaired") == lost  # type: ignore[misc]
            )
        assert running.context.status.gaps == 2


async def test_what_arrives_of_the_old_subscription_connects_nothing(bus: Bus) -> None:
    async with watched(bus) as (okx, _, running):
        await agrees(running, okx)
        heard, reply = len(okx.exchange.heard), okx.reply

        def slow(message: Any) -> list[Any]:
            """The exchange sends changes until it has unsubscribed."""
            if message.get("op") == "unsubscribe":
                for amount in (6.0, 7.0, 8.0):
                    okx.change([(99.0, amount)])
            return reply(message)

        okx.exchange.reply = slow
        okx.change(sent=False)
        okx.change(RAISED)
        await okx.exchange.until(lambda: okx.subscriptions == 2)
        await agrees(running, okx)
        assert len(okx.exchange.heard) > heard
        # Statuses come after the book.
        await running.said("repaired")
        assert [status.event for status in running.statuses.said].count("connected") == 2
        assert running.context.status.reconnects == 1


async def test_after_a_cut_the_book_is_the_exchanges(bus: Bus) -> None:
    async with watched(bus) as (okx, _, running):
        await agrees(running, okx)
        seen = len(running.public.said)
        okx.meanwhile = lambda: okx.change(CHANGE, sent=False)
        await okx.exchange.cut()
        await running.public.first(lambda book: book.state == "resyncing", seen)
        await okx.exchange.until(lambda: okx.subscriptions == 2)
        await agrees(running, okx, seen)


async def test_a_snapshot_that_does_not_come_is_asked_for_by_another_subscription(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_resync, "SNAPSHOT_S", 0.3)
    async with loopback() as exchange:
        okx = Okx(exchange)
        okx.silent = 2
        chosen = settings(exchange.url, "okx", [market(SYMBOL, MARKET)])
        async with open_live_venue("okx", chosen) as venue, body(bus, books.run, FEED, venue=venue) as running:
            await agrees(running, okx)
    assert okx.subscriptions == 3
    assert {book.state for book in running.public.said[:-1]} <= {"resyncing", "live"}


async def test_subscribers_to_deltas_get_every_change_and_a_snapshot_after_a_break(bus: Bus) -> None:
    async with (
        hearing(bus, DELTAS, BookDeltas) as deltas,
        watched(bus, deltas=True) as (okx, _, running),
    ):
        await agrees(running, okx)
        await followed(deltas, okx)
        for amount in (4.0, 5.0, 6.0):
            okx.change([(99.0, amount)], [(102.0, amount)])
        follower = await followed(deltas, okx)
        assert follower.snapshots == 1
        okx.change(CHANGE, sent=False)
        okx.change(RAISED)
        await okx.exchange.until(lambda: okx.subscriptions == 2)
        follower = await followed(deltas, okx)
        assert follower.snapshots == 2
        okx.change([(97.0, 1.0)])
        assert (await followed(deltas, okx)).top(20) == okx.truth()


async def followed(deltas: Heard[BookDeltas], okx: Okx) -> Follower:
    """The book by the deltas alone, once it is the exchange's; a hole is an AssertionError."""
    found = Follower()

    def is_true() -> bool:
        nonlocal found
        found = Follower()
        for message in deltas.said:
            for delta in message.deltas:
                found.apply(delta)
        return found.bids is not None and found.top(20) == okx.truth()

    await deltas.until(is_true)
    return found
