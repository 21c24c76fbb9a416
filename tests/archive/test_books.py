"""Books of the archive by request: the book at a moment, from archive and tape, or an error that says why not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from archive.archive_process import settings
from archive.test_archive_outages import LATER, archiving
from archive.test_reads import answering
from archive.written_books import SYMBOLS, BookTape, rows_of, sides
from archive.written_tape import START
from tickwire.bus import streams
from tickwire.bus.connection import connect as connect_bus
from tickwire.client import BookUnknown, Client, connect, connect_sync
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

BTC = SYMBOLS[0]
HOUR = 3_600_000


async def until_archived(root: Path, sequence: int) -> None:
    """Wait until a part has a message of the tape; folders announce nothing."""
    async with asyncio.timeout(100):
        while not any(
            row["sequence"] >= sequence
            for path in root.glob("book_delta/*/symbol=BTC-USDT/*/part-*")
            for row in rows_of(path)
        ):
            await asyncio.sleep(0.1)


async def refused(client: Client, time: int) -> str:
    """Why the book at a time is not known."""
    with pytest.raises(BookUnknown) as error:
        await client.book_at("binance", BTC, time)
    return str(error.value)


async def test_the_book_at_a_moment_comes_from_the_archive_and_the_tape(broker: str, tmp_path: Path) -> None:
    root, known = tmp_path / "archive", dict[int, int]()
    async with connect_bus(NatsSettings(url=broker), name="test") as bus:
        await streams.declare_for(bus.jetstream, settings(broker, root))
        tape = BookTape(bus)

        async def write(**how: bool) -> int:
            tape.at += HOUR
            sequence = await tape.write(BTC, **how)
            known[tape.at] = max(tape.books[BTC])
            return sequence

        async def check(client: Client, *times: int) -> None:
            for time in times:
                book = await client.book_at("binance", BTC, time + 1)
                assert (book.bids, book.asks) == sides(tape.books[BTC][known[time]])
                assert (book.sequence, book.timestamp) == (known[time], time)

        async with archiving(broker, root, certify_after_s=LATER):
            for _ in range(5):
                await write()
            before_gap = tape.at
            await write(resync=True)
            for _ in range(20):
                newest = await write()
            await until_archived(root, newest)
        followed = [at for at in known if at not in (before_gap, tape.at)]
        async with answering(broker, root) as client:
            await check(client, *followed)
            book = await client.book_at("binance", BTC, followed[3] + 1, depth=2)
            assert (book.bids, book.asks, book.depth) == (
                *(side[:2] for side in sides(tape.books[BTC][known[followed[3]]])),
                2,
            )
            assert "the book was resynchronised" in await refused(client, before_gap + 1)
            assert "was not followed" in await refused(client, START)
            # The archive ends with it: what comes after is not known yet.
            assert "no later change" in await refused(client, tape.at + 1)
            with connect_sync(broker) as sync:
                same = await asyncio.to_thread(sync.book_at, "binance", BTC, followed[0] + 1)
                assert same == await client.book_at("binance", BTC, followed[0] + 1)
            # The rest is on the tape only: the round of this archive lasts an hour.
            at_end = tape.at
            await write()
            on_tape = tape.at
            await write(repeat=True)
            known[tape.at] = known[on_tape]
            await check(client, at_end, on_tape)
            lost_at = tape.at
            tape.at += HOUR
            await tape.publish(BTC, [])
            assert "no later change" in await refused(client, tape.at)
            await write(resync=True)
            assert "another streamer" in await refused(client, lost_at + 1)
            at_last = tape.at
            await write()
            await check(client, at_last)
    assert len(followed) > 20
    async with connect(broker) as client:
        # Without an archive, from the tape alone.
        await check(client, at_last)
        await check(client, followed[1])
