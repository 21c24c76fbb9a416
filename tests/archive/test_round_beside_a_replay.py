"""A replay beside which the archive writes a round: what that says is of the tape, which the replay reads next."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from archive.test_archive_outages import LATER, archiving, taped, until_rows
from archive.test_reads import BTC, HOUR, archived, ids
from tickwire.archive.reads import Reads
from tickwire.archive_files.root import FolderRoot
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.client import Gap, Trade, connect
from tickwire.model.messages.archived_trades import ArchivedTradesRequest
from tickwire.model.messages.archiving import DaysRequest

pytestmark = pytest.mark.faults


async def test_a_gap_that_is_archived_during_a_replay_is_told_once_in_its_place(broker: str, tmp_path: Path) -> None:
    """Between the first rows and the certificates, the archive writes a round with a gap."""
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
