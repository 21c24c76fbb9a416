"""Replays of days that are being certified by an archive that is killed meanwhile: each trade once, in order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from archive.test_archive_killed import living
from archive.test_archive_outages import LATER, taped
from archive.test_reads import BTC, HOUR, ids
from archive.written_tape import START, certificates
from tickwire.client import Gap, Trade, connect

pytestmark = pytest.mark.faults


async def test_a_replay_outlives_kills_of_the_archive_while_it_certifies_days(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    async with taped(broker, root) as tape, living(broker, root, certify_after_s=LATER) as lives:
        await tape.go_on(lambda: tape.at > tape.begun + 60 * HOUR, step=HOUR // 2, pause_s=0)
        async with connect(broker) as client, asyncio.timeout(200):
            for kill_at in (1, 30, 200):
                # A day is over, and is closed by a life that is killed.
                await tape.end_day()
                await tape.go_on(lambda: tape.at % (24 * HOUR) > HOUR, step=HOUR // 4, pause_s=0)
                before, found = len(ids(tape)), list[Trade | Gap]()
                async for each in client.replay("binance", BTC, START):
                    found.append(each)
                    if len(found) == kill_at:
                        await lives.kill()
                assert [each.id for each in found if isinstance(each, Trade)] == ids(tape)
                # Before the first message nothing is known.
                assert [at for at, each in enumerate(found) if isinstance(each, Gap)] == [0]
                assert len(found) == before + 1
            while len(certificates(root, BTC)) < 5:
                await asyncio.sleep(0.1)
