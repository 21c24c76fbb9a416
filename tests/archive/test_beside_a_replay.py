"""A replay beside which the archive changes: it writes a round, or removes a day."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from archive.test_archive_outages import LATER, archiving, taped, until_rows
from archive.test_reads import BTC, HOUR, archived, ids
from archive.written_tape import DAY, until_archived
from support.hearing import hearing
from tickwire.archive.reads import Reads
from tickwire.archive_files.layout import ArchivedFeed, date_of
from tickwire.archive_files.removal import REASON, remove_day
from tickwire.archive_files.root import FolderRoot
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.client import Gap, Trade, connect
from tickwire.client.replay_publisher import Replay, publish_replay
from tickwire.model.feeds import Feed, Trades
from tickwire.model.messages.archived_trades import ArchivedTradesRequest
from tickwire.model.messages.archiving import DaysRequest

pytestmark = pytest.mark.faults


async def test_a_gap_that_is_archived_during_a_replay_is_told_once_in_its_place(broker: str, tmp_path: Path) -> None:
    """Between the first rows and the certificates: what the round says is of the tape, which is read next."""
    root = tmp_path / "archive"
    async with taped(broker, root) as tape:
        async with archiving(broker, root, certify_after_s=LATER):
            await archived(tape, root, tape.begun + 3 * HOUR)
        reads, requests = Reads(tape.bus, FolderRoot(root)), list[DaysRequest]()
        before, begun = ids(tape), tape.begun

        async def answer_days(request: DaysRequest, call: Call) -> None:
            requests.append(request)
            tape.at += HOUR
            await tape.write(BTC, 1)
            tape.at += HOUR
            await tape.write(BTC, 2, gap=Gap(since=tape.at - HOUR, until=tape.at - 1, reason="a test"))
            async with archiving(broker, root, certify_after_s=LATER):
                await until_rows(root, tape)
            await reads.answer_days(request, call)

        endpoints: list[Endpoint[Any]] = [
            Endpoint("archive.days", DaysRequest, answer_days),
            Endpoint("archive.trades", ArchivedTradesRequest, reads.answer_trades),
        ]
        async with serve(tape.bus, "archive", endpoints, instance="test"), connect(broker) as client:
            async with asyncio.timeout(100):
                found = [each async for each in client.replay("binance", BTC, begun)]
    assert len(requests) == 1
    assert [each.id for each in found if isinstance(each, Trade)] == ids(tape)
    told = [(at, each.reason) for at, each in enumerate(found) if isinstance(each, Gap) and each.reason == "a test"]
    begin = len(found) - len(ids(tape)) - 1
    assert told == [(begin + len(before) + 1, "a test")]


async def test_a_day_that_is_removed_during_a_published_replay_is_a_gap_in_its_place(
    broker: str, tmp_path: Path
) -> None:
    """It was not read yet; certificates that were read before called it complete."""
    root, feed = tmp_path / "archive", Feed("trade", "binance", BTC)
    async with taped(broker, root) as tape:
        async with archiving(broker, root, certify_after_s=LATER):
            await tape.go_on(lambda: tape.at > tape.begun + 3 * DAY, step=3 * HOUR, pause_s=0)
            await tape.end_day()
            await until_archived(root, tape)
        reads = Reads(tape.bus, FolderRoot(root))
        removed = ArchivedFeed("trade", "binance", BTC).on(date_of(tape.begun + 2 * DAY))

        async def answer_trades(request: ArchivedTradesRequest, call: Call) -> None:
            if request.cursor is not None:
                # A page was replayed, of the first day.
                assert request.cursor.startswith(str(date_of(tape.begun)))
                remove_day(FolderRoot(root), removed, lambda: None)
            limit = 1 if request.cursor is None else 10**6
            await reads.answer_trades(msgspec.structs.replace(request, limit=limit), call)

        endpoints: list[Endpoint[Any]] = [
            Endpoint("archive.days", DaysRequest, reads.answer_days),
            Endpoint("archive.trades", ArchivedTradesRequest, answer_trades),
        ]
        # From the end of the first message on: what was before is not known.
        since, until = tape.rows[BTC][0][2] - 5, tape.at
        replay = Replay("past", [feed], since, until, math.inf)
        async with (
            serve(tape.bus, "archive", endpoints, instance="test"),
            hearing(tape.bus, "replay.past.md.trade.>", Trades) as heard,
            connect(broker) as client,
            asyncio.timeout(100),
        ):
            status = await publish_replay(client.bus, replay, lambda _: None)
            await heard.until(lambda: sum(1 for each in heard.said if each.gap is not None) == status.gaps)
    assert (status.state, status.gaps) == ("ended", 1)
    expected: list[str] = [*ids(tape, since, removed.span.since), "gap", *ids(tape, removed.span.until)]
    told = list[str | None]()
    for message in heard.said:
        told += ["gap"] * (message.gap is not None) + [each.id for each in message.trades]
    assert told == expected
    (gap,) = (message.gap for message in heard.said if message.gap is not None)
    assert (gap.since, gap.until, gap.reason) == (removed.span.since - 1, removed.span.until, REASON)
