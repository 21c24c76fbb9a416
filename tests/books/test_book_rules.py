"""Books by the rules of several venues, over a scripted socket: checksums, whole books, numbers that begin anew."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from support.feeds import Running, ScriptedVenue, body, within
from support.hearing import Heard, hearing
from tickwire.bus.connection import Bus
from tickwire.model.feeds import BookDeltas, Feed
from tickwire.streamer.books import feed as books
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.control.feed_venue import FeedSink
from tickwire.venues.dialect import BookSnapshot, Dialect, Diff
from tickwire.venues.profile import BookFacts, Profile
from tickwire.venues.registry import profile_of

pytestmark = pytest.mark.actors

FEED = Feed("book", "okx", "BTC/USDT")
DELTAS = "md.book_delta.okx.BTC-USDT"


def checksum(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int:
    return zlib.crc32("".join(price + amount for price, amount in [*asks, *bids]).encode())


@asynccontextmanager
async def scripted(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, facts: BookFacts, **demand: Any
) -> AsyncIterator[tuple[ScriptedVenue, Running]]:
    """A book of a venue with these facts."""
    own = Profile(exchanges=("okx",), book=facts, trades=profile_of("okx").trades)
    monkeypatch.setattr(books, "profile_of", lambda exchange: own)
    monkeypatch.setattr(books, "dialect_of", lambda exchange: Dialect(checksum=checksum))
    venue = ScriptedVenue(exchange="okx", sequential_ids=False)
    wanted = Demand(depth=20, cadence_ms=0, **demand)
    async with body(bus, books.run, FEED, wanted, venue=venue) as running:
        yield venue, running


async def test_a_wrong_checksum_breaks_the_book(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = BookFacts(deltas=True, snapshot="socket", sequence=None, checksum_levels=10)
    texts = ([("100.0", "1.0")], [("101.0", "3.00")])
    known = zlib.crc32(b"101.03.00100.01.0")
    whole = BookSnapshot(timestamp=1, bids=[(100.0, 1.0)], asks=[(101.0, 3.0)], checksum=known, texts=texts)
    async with scripted(bus, monkeypatch, facts) as (venue, running):
        sink = await venue.sink()
        sink.connected()
        sink.take([whole], 1000)
        first = await running.public.first(lambda book: book.state == "live")
        change = Diff(timestamp=2, bids=[(100.0, 2.0)], asks=[], texts=([("100.0", "2.0")], []))
        sink.take([change], 1000)
        second = await running.public.first(lambda book: book.state == "live" and book.bids == [(100.0, 2.0)])
        assert (second.sequence or 0) == (first.sequence or 0) + 1
        seen = len(running.public.said)
        wrong = Diff(timestamp=3, bids=[(100.0, 4.0)], asks=[], checksum=known, texts=([("100.0", "4.0")], []))
        sink.take([wrong], 1000)
        await running.public.first(lambda book: book.state == "resyncing", seen)
        assert "checksum" in (await running.said("gap")).message
        await within(venue.resubscribed.wait())
        sink.disconnected("subscribed again")
        # A straggler of the subscription before.
        sink.take([whole], 1000)
        assert running.state == "disconnected"
        sink.connected()
        later = BookSnapshot(
            timestamp=4,
            bids=[(50.0, 1.0)],
            asks=[],
            checksum=zlib.crc32(b"50.01.0"),
            texts=([("50.0", "1.0")], []),
        )
        sink.take([later], 1000)
        book = await running.public.first(lambda book: book.state == "live", seen)
        assert (book.bids, book.asks) == ([(50.0, 1.0)], [])
        assert (book.sequence or 0) > (second.sequence or 0)


async def begun(venue: ScriptedVenue, deltas: Heard[BookDeltas]) -> FeedSink:
    """The sink of a book whose first snapshot, with sequence 500, was published."""
    sink = await venue.sink()
    sink.connected()
    sink.take([BookSnapshot(timestamp=1, bids=[(100.0, 1.0)], asks=[], sequence=500)], 1000)
    await deltas.first(lambda message: any(delta.snapshot for delta in message.deltas))
    return sink


async def test_where_every_message_is_the_whole_book_its_changes_are_the_differences(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = BookFacts(deltas=True, snapshot="every message")
    async with (
        hearing(bus, DELTAS, BookDeltas) as deltas,
        scripted(bus, monkeypatch, facts, deltas=True) as (venue, running),
    ):
        sink = await venue.sink()
        sink.connected()
        sink.take([BookSnapshot(timestamp=1, bids=[(100.0, 1.0), (99.0, 1.0)], asks=[(101.0, 1.0)])], 1000)
        await running.public.first(lambda book: book.state == "live")
        await deltas.first(lambda message: any(delta.snapshot for delta in message.deltas))
        sink.take([BookSnapshot(timestamp=2, bids=[(100.0, 3.0), (98.0, 1.0)], asks=[(101.0, 1.0)])], 1000)
        book = await running.public.first(lambda book: book.state == "live" and book.bids[0] == (100.0, 3.0))
        assert (book.bids, book.asks) == ([(100.0, 3.0), (98.0, 1.0)], [(101.0, 1.0)])
        message = await deltas.first(lambda message: any(not delta.snapshot for delta in message.deltas))
        (delta,) = message.deltas
        assert (sorted(delta.bids), delta.asks) == ([(98.0, 1.0), (99.0, 0.0), (100.0, 3.0)], [])
        assert (delta.first, delta.last) == (book.sequence, book.sequence)
        assert not venue.resubscribed.is_set()


async def test_a_snapshot_that_the_venue_sends_by_itself_replaces_the_book(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bybit sends one after a restart of its service, with u=1."""
    facts = BookFacts(deltas=True, snapshot="socket", sequence="steps")
    async with (
        hearing(bus, DELTAS, BookDeltas) as deltas,
        scripted(bus, monkeypatch, facts, deltas=True) as (venue, running),
    ):
        sink = await begun(venue, deltas)
        sink.take([BookSnapshot(timestamp=2, bids=[(90.0, 1.0)], asks=[], sequence=1)], 1000)
        book = await running.public.first(lambda book: book.state == "live" and book.sequence == 1)
        assert book.bids == [(90.0, 1.0)]
        sink.take([Diff(timestamp=3, bids=[(91.0, 1.0)], asks=[], last=2)], 1000)
        await running.public.first(lambda book: book.sequence == 2)
        await deltas.first(lambda message: any(delta.last == 2 and not delta.snapshot for delta in message.deltas))
        whole = [delta for message in deltas.said for delta in message.deltas if delta.snapshot]
        assert [(delta.last, delta.bids) for delta in whole] == [(500, [(100.0, 1.0)]), (1, [(90.0, 1.0)])]
        assert running.context.status.gaps == 0


async def test_numbers_that_begin_anew_are_a_snapshot_for_subscribers_to_deltas(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OKX, "Order book channel": after maintenance seqId may be smaller than prevSeqId, once."""
    facts = BookFacts(deltas=True, snapshot="socket", sequence="chain")
    async with (
        hearing(bus, DELTAS, BookDeltas) as deltas,
        scripted(bus, monkeypatch, facts, deltas=True) as (venue, running),
    ):
        sink = await begun(venue, deltas)
        sink.take([Diff(timestamp=2, bids=[(99.0, 2.0)], asks=[], last=3, previous=500)], 1000)
        message = await deltas.first(lambda message: any(delta.last == 3 for delta in message.deltas))
        (delta,) = message.deltas
        assert (delta.snapshot, delta.bids) == (True, [(100.0, 1.0), (99.0, 2.0)])
        sink.take([Diff(timestamp=3, bids=[(98.0, 2.0)], asks=[], last=9, previous=3)], 1000)
        message = await deltas.first(lambda message: any(delta.last == 9 for delta in message.deltas))
        assert [(delta.first, delta.last, delta.snapshot) for delta in message.deltas] == [(4, 9, False)]
        assert running.context.status.gaps == 0
