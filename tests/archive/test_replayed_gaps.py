"""A replay of a day with gaps: one that the exchange made, one of the tape. Each is told in its place, once.

What is expected are the exchange's own trades, and the books that were live.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from support import live
from support.hearing import Heard, hearing
from support.pipeline import CONFIG, Pipeline, pipeline
from support.processes import running_simulator, tickwire
from tickwire.archive_files import days
from tickwire.archive_files.certificate import gap_times
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.root import FolderRoot
from tickwire.client import Book, Client, Gap, Trade, Trades, connect
from tickwire.model import messages
from tickwire.model.feeds import Feed
from tickwire.model.feeds.layout import TapeLayout
from tickwire.model.feeds.tape import BookDeltas
from tickwire.model.messages.archive import Certificate

pytestmark = pytest.mark.system

BTC, BOOK = Feed("trade", "binance", "BTC/USDT"), Feed("book", "okx", "BTC/USDT")
DELTAS = "md.book_delta.okx.BTC-USDT"
RATE = 20
LEASE_S = 30.0
GAPS_CONFIG = """
[exchange.okx]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false }}
[archive]
root = "ROOT"
part_minutes = 0.02
certify_after_s = 1e9
[streamer]
cadence_ms = 0
"""
SOCKETS = ("stream.binance.com", "ws.okx.com")


class Day:
    """The exchange, what was live, and where the gaps are."""

    def __init__(self, line: Pipeline, seen: live.Seen, books: Heard[Book], deltas: Heard[BookDeltas]) -> None:
        self.line, self.seen, self.books, self.deltas = line, seen, books, deltas
        self.certificates: list[Certificate] = []
        self.forgotten = range(0)
        """The ids of the trades that the exchange has lost."""
        self.root = line.folder / "archive"

    async def goes_on(self) -> None:
        """Some more trades, deltas, and books that are live."""
        trades, deltas, books = len(self.seen.trades), len(self.deltas.said), len(self.books.said)
        await self.seen.until(lambda: len(self.seen.trades) > trades + RATE)
        await self.deltas.until(lambda: len(self.deltas.said) > deltas + 5)
        await self.books.until(lambda: any(each.state == "live" for each in self.books.said[books:]))

    async def start_deltas(self, subscriber: str) -> None:
        """Subscribe to the deltas of the book: each new subscriber is given a snapshot."""
        arguments = ("start", "book", "okx", "BTC/USDT", "--deltas", "--cadence", "0", "--subscriber", subscriber)
        ended = await tickwire(self.line.env, *arguments)
        assert ended.code == 0, ended.err

    async def cut(self) -> None:
        """The exchange is away, and loses trades of that time."""
        simulator = self.line.simulator
        async with live.statuses(self.line.bus, BTC) as heard:
            for socket in SOCKETS:
                await simulator.fault(socket, "ws_cut", seconds=4)
            newest = (await simulator.truth("aggregates", symbol="BTCUSDT", fromId=self.seen.ids[-1]))[-1]["id"]
            # Two trades at most make one aggregate trade: this is over within half of the time.
            self.forgotten = range(newest + RATE // 5, newest + RATE + 1)
            bounds = {"from_id": self.forgotten[0], "to_id": self.forgotten[-1]}
            await simulator.fault("aggTrades", "rest_forgets", symbol="BTCUSDT", **bounds)
            await live.status(heard, "gap")

    async def expire(self) -> None:
        """While no archive runs, messages of the tape expire."""
        await self.line.stop("archive")
        await self.goes_on()
        await self.forget()
        await self.line.start("archive")
        await self.line.ready("archive")
        await self.goes_on()
        await self.start_deltas("another")

    async def ends(self) -> int:
        """While no archive runs, its days are closed as they are when they have ended; a time (ms) before that."""
        until = self.seen.trades[-1].timestamp
        await self.goes_on()
        await self.line.stop("archive")
        root = FolderRoot(self.root)
        for feed in (ArchivedFeed("trade", *BTC[1:3]), ArchivedFeed("book_delta", *BOOK[1:3])):
            for date in days.dates_of(root, feed):
                made = await asyncio.to_thread(days.close_day, root, feed.on(date), None, lambda: None)
                self.certificates.append(made)
        await self.line.start("archive")
        await self.line.ready("archive")
        return until

    async def forget(self) -> None:
        """The tape forgets all but the last message of each feed."""
        bus = self.line.bus
        for place in (TapeLayout(8).place(BTC.public), TapeLayout(8).place(DELTAS)):
            last = await bus.jetstream.get_last_msg(place.stream, place.subject)
            await bus.jetstream.purge_stream(place.stream, seq=last.seq)


@asynccontextmanager
async def day(broker: str, folder: Path) -> AsyncIterator[Day]:
    config = CONFIG + GAPS_CONFIG.replace("ROOT", str(folder / "archive"))
    async with (
        running_simulator("--live-rate", str(RATE), "--symbol", "BTC/USDT") as simulator,
        pipeline(broker, simulator, folder, ("streamer", "archive"), config, LEASE_S) as line,
        live.seeing(line.bus, BTC) as seen,
        hearing(line.bus, BOOK.public, Book) as books,
        hearing(line.bus, DELTAS, BookDeltas) as deltas,
    ):
        made = Day(line, seen, books, deltas)
        await live.start(line.bus, BTC)
        await made.start_deltas("one")
        yield made


async def replayed(client: Client, since: int, until: int) -> list[Any]:
    feeds: Any = [("binance", "BTC/USDT"), ("book", "okx", "BTC/USDT")]
    async with asyncio.timeout(100):
        return [each.item async for each in client.replay(feeds, since, until, cadence_ms=0)]


async def assert_trades(day: Day, found: list[Any], since: int, until: int) -> None:
    """Each trade of the exchange is there once, or in a gap that is told where it is missing, and no wider."""
    ids = [int(each.id or 0) for each in found if isinstance(each, Trade)]
    truth = {
        int(each.id or 0): each for each in await live.truth(day.line.simulator, "BTCUSDT", ids[0] - 9, ids[-1] + 9)
    }
    assert [each for each in found if isinstance(each, Trade)] == [truth[number] for number in ids]
    inside = [number for number, each in truth.items() if since <= each.timestamp < until]
    assert (ids[0], ids[-1]) == (inside[0], inside[-1])
    jumps = list[range]()
    for before, each, after in zip(found, found[1:], found[2:], strict=False):
        if isinstance(each, Gap):
            jumps.append(range(int(before.id) + 1, int(after.id)))
            # Bounds are exclusive.
            assert (each.since, each.until) == (before.timestamp - 1, after.timestamp + 1)
        elif isinstance(before, Trade):
            assert int(each.id or 0) == int(before.id or 0) + 1
    assert jumps == [day.forgotten, jumps[-1]]
    assert len(jumps[-1]) > 0


async def assert_books(day: Day, found: list[Any], since: int, until: int) -> None:
    """Each live book is there, but for those in gaps; while a book is not known it is said to be resyncing."""
    runs = [(is_gap, list(each)) for is_gap, each in groupby(found, lambda each: isinstance(each, Gap))]
    assert [is_gap for is_gap, _ in runs] == [False, True, False, True, False]
    for (_, before), (_, gaps), (_, after) in zip(runs[:-2:2], runs[1::2], runs[2::2], strict=True):
        assert (before[-2].state, before[-1].state, after[0].state) == ("live", "resyncing", "live")
        # A gap of which two rounds tell is in two parts.
        assert all(later.since == earlier.until - 1 for earlier, later in pairwise(gaps))
        assert (gaps[0].since, gaps[-1].until) == (before[-2].timestamp - 1, after[0].timestamp)
    known = {each.sequence: each for each in found if isinstance(each, Book) and each.state == "live"}
    assert len(known) == sum(isinstance(each, Book) and each.state == "live" for each in found)
    lost = [(gaps[0].since, gaps[-1].until) for is_gap, gaps in runs if is_gap]
    heard = [each for each in day.books.said if each.state == "live" and since < (each.timestamp or 0) < until]
    outside = [each for each in heard if not any(begin + 1 < (each.timestamp or 0) < end for begin, end in lost)]
    assert 20 < len(outside) < len(heard)
    assert [(known[each.sequence].bids, known[each.sequence].asks) for each in outside] == [
        (each.bids, each.asks) for each in outside
    ]


async def published(day: Day, feed: Feed, since: int, until: int) -> list[Any]:
    """What the command publishes."""
    found = list[Any]()
    type_: Any = {"trade": Trades, "book": Book}[feed.kind]

    async def take(message: Any) -> None:
        found.append(messages.decode(message.data, type_))

    async with day.line.bus.subscribed(f"replay.gaps.{feed.public}", take):
        await day.line.bus.client.flush()
        span = ("--since", str(since), "--until", str(until), "--speed", "max", "--cadence", "0", "--json")
        ended = await tickwire(day.line.env, "replay", "gaps", feed.exchange, feed.symbol, "--kinds", feed.kind, *span)
        assert ended.code == 3, ended.err
        status = json.loads(ended.out)
        assert status["state"] == "ended"
        async with asyncio.timeout(100):
            while len(found) < status["messages"]:
                await asyncio.sleep(0.02)
    return found


@pytest.mark.timeout(300)
async def test_gaps_of_a_certified_day_are_replayed_in_their_place(broker: str, tmp_path: Path) -> None:
    async with day(broker, tmp_path) as made, connect(broker) as client:
        await made.goes_on()
        since = made.seen.trades[-1].timestamp
        await made.goes_on()
        await made.cut()
        await made.goes_on()
        await made.expire()
        await made.goes_on()
        end = await made.ends()
        later = made.seen.trades[-1].timestamp
        await made.goes_on()
        await made.forget()
        # The day's file alone, then what came later, too.
        for until in (end, later):
            found = await replayed(client, since, until)
            trades = [
                each for each in found if isinstance(each, Trade) or (isinstance(each, Gap) and each.kind == "trade")
            ]
            books = [
                each for each in found if isinstance(each, Book) or (isinstance(each, Gap) and each.kind == "book")
            ]
            assert len(trades) + len(books) == len(found)
            await assert_trades(made, trades, since, until)
            await assert_books(made, books, since, until)
            assert await replayed(client, since, until) == found
            said = await published(made, BTC, since, until)
            flat = [item for each in said for item in ([each.gap] if each.gap else []) + each.trades]
            assert [getattr(each, "id", None) for each in flat] == [getattr(each, "id", None) for each in trades]
            assert await published(made, BOOK, since, until) == [each for each in books if isinstance(each, Book)]
        # The certificates name the same; a bound is exclusive, but where it is followed by an id.
        gaps = [gap_times(gap) for day in made.certificates if day.kind == "trade" for gap in day.gaps]
        assert gaps == [((each.since or 0) + 1, each.until) for each in trades if isinstance(each, Gap)]
        assert {day.condition for day in made.certificates} == {"partial"}
