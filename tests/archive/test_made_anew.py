"""A stream of the tape that was made anew since the archive read it, and is longer now than it was then."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from archive.archive_process import settings
from archive.test_archive_outages import LATER, archiving, taped, until_rows
from archive.test_reads import streaming
from archive.written_books import BookTape, rows_of
from archive.written_books import days_of as book_days
from archive.written_tape import SYMBOLS, Tape
from support.hearing import hearing
from tickwire.archive import days_reply
from tickwire.archive.reads import Reads
from tickwire.archive_files.root import FolderRoot
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.client import BookUnknown, Gap, Trade, connect
from tickwire.client.replay_publisher import Replay, publish_replay
from tickwire.model.feeds import Feed, Trades
from tickwire.model.feeds.layout import TapeLayout
from tickwire.model.messages.archived_book import ArchivedBookRequest
from tickwire.model.messages.archived_trades import ArchivedTradesRequest
from tickwire.model.messages.archiving import DaysRequest

pytestmark = pytest.mark.faults

BTC = SYMBOLS[0]
HOUR = 3_600_000
REASON = "the stream of the tape was made anew after the archive read it"


@asynccontextmanager
async def answering_only(bus: Bus, root: Path) -> AsyncIterator[None]:
    """An archive that has not taken the streams over yet: it answers from the files and checkpoints that are there."""
    files = FolderRoot(root)
    reads = Reads(bus, files)

    async def answer_days(request: DaysRequest, call: Call) -> None:
        for chunk in days_reply.chunks(files, request):
            await call.reply(chunk)

    endpoints: list[Endpoint[Any]] = [
        Endpoint("archive.days", DaysRequest, answer_days),
        Endpoint("archive.trades", ArchivedTradesRequest, reads.answer_trades),
        Endpoint("archive.book", ArchivedBookRequest, reads.answer_book),
    ]
    async with serve(bus, "archive", endpoints, instance="test"):
        yield


def files(root: Path) -> list[Path]:
    """The files of the book."""
    return [path for day in book_days(root, BTC) for path in day.glob("*.parquet")]


async def made_anew(broker: str, root: Path, bus: Bus, public: str) -> None:
    """Delete the stream of a subject, and declare it again."""
    stream = TapeLayout(2).place(public).stream
    await bus.jetstream.delete_stream(stream)
    await streams.declare_for(bus.jetstream, settings(broker, root))


async def test_readers_go_on_with_a_stream_that_was_made_anew_by_time_and_say_so(broker: str, tmp_path: Path) -> None:
    root, feed = tmp_path / "archive", Feed("trade", "binance", BTC)
    async with taped(broker, root) as former:
        async with archiving(broker, root, certify_after_s=LATER):
            await former.go_on(lambda: former.at > former.begun + 10 * HOUR, step=HOUR // 4, pause_s=0)
            await until_rows(root, former)
        await made_anew(broker, root, former.bus, feed.public)
        tape = Tape(former.bus)
        last = former.rows[BTC][-1]
        # It repeats an hour of what the former one had, and has far more messages.
        tape.at = tape.begun = last[1] - HOUR
        for _ in range(200):
            tape.at += HOUR // 10
            await tape.write(BTC, 3)
        later = [row for row in tape.rows[BTC] if row[1] > last[1]]
        expected = [row[0] for row in former.rows[BTC]] + [row[0] for row in later]
        gap = Gap(since=last[1], until=later[0][1], after_id=last[0], before_id=later[0][0], reason=REASON)
        since = former.rows[BTC][0][1]
        async with answering_only(former.bus, root), connect(broker) as client, asyncio.timeout(100):
            found = [each async for each in client.replay("binance", BTC, since)]
            assert [each.id for each in found if isinstance(each, Trade)] == expected
            assert [each for each in found if isinstance(each, Gap)][-1] == gap
            async with streaming(former.bus):
                heard: list[Trade | Gap] = []
                async for each in client.trades("binance", BTC, since=since, gaps=True):
                    heard.append(each)
                    if isinstance(each, Trade) and each.id == expected[-1]:
                        break
            assert heard == found
            async with hearing(former.bus, "replay.day.md.trade.>", Trades) as published:
                replay = Replay("day", [feed], since, None, math.inf)
                status = await publish_replay(former.bus, replay, lambda _: None)
                last_id = expected[-1]
                await published.first(lambda said: said.trades[-1:] and said.trades[-1].id == last_id)
            assert (status.trades, status.gaps) == (len(expected), len(found) - len(expected))


async def test_a_book_is_not_known_between_the_archive_and_a_stream_that_was_made_anew(
    broker: str, tmp_path: Path
) -> None:
    root = tmp_path / "archive"
    async with taped(broker, root) as of:
        former = BookTape(of.bus)
        async with archiving(broker, root, certify_after_s=LATER), asyncio.timeout(100):
            for _ in range(30):
                former.at += 1000
                sequence = await former.write(BTC)
            while not any(rows_of(each)[-1]["sequence"] == sequence for each in files(root)):
                await asyncio.sleep(0.1)
        await made_anew(broker, root, of.bus, f"md.book_delta.binance.{BTC.replace('/', '-')}")
        tape = BookTape(of.bus)
        tape.at, begun = former.at + 60_000, former.at
        for _ in range(100):
            tape.at += 1000
            await tape.write(BTC)
        async with answering_only(of.bus, root), connect(broker) as client, asyncio.timeout(100):
            with pytest.raises(BookUnknown, match="the stream of the deltas was made anew"):
                await client.book_at("binance", BTC, begun + 30_000)
            book = await client.book_at("binance", BTC, tape.at - 1000)
        assert book.sequence is not None
        levels = {("bid", price): amount for price, amount in book.bids}
        levels |= {("ask", price): amount for price, amount in book.asks}
        assert levels == tape.books[BTC][book.sequence]
