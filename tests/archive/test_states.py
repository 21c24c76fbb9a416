"""Closed candles and tickers: the files are the tape, whatever becomes of the archive, and say what they lack."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from archive import archive_process
from archive.test_archive_killed import living
from archive.test_archive_outages import archiving
from archive.written_states import (
    SYMBOLS,
    States,
    are_closed,
    candles_of,
    certificates,
    days_of,
    tickers_of,
    until_archived,
)
from tickwire.bus import streams
from tickwire.bus.connection import connect
from tickwire.model.feeds.layout import HELD
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

HOUR = 3_600_000
KINDS = ["candle", "ticker"]
BTC = SYMBOLS[0]


async def test_an_archive_killed_again_and_again_has_each_candle_and_each_ticker(broker: str, tmp_path: Path) -> None:
    root, killed, draw = tmp_path / "archive", 0, random.Random(3)
    configured = archive_process.settings(broker, root, kinds=KINDS)
    async with connect(NatsSettings(url=broker), name="test") as bus:
        await streams.declare_for(bus.jetstream, configured)
        await streams.declare_archive(bus.jetstream, configured.archive)
        states = States(bus)
        async with living(broker, root, kinds=KINDS) as lives:
            writing = asyncio.create_task(states.go_on(lambda: killed >= 8, step=HOUR // 3))
            while killed < 8:
                await asyncio.sleep(draw.uniform(0.05, 0.5))
                await lives.kill()
                killed += 1
            await writing
            await states.end_day()
            await until_archived(root, states)
    for symbol in SYMBOLS:
        assert tickers_of(root, symbol) == states.tickers[symbol]
        assert candles_of(root, symbol) == states.candles_of(symbol)
        # Followed from the first message on; the last day has but one, at its begin.
        found = [each["condition"] for each in certificates(root, "ticker", symbol)]
        assert found[:1] == ["partial"]
        assert set(found[1:-1]) == {"complete"}
        assert len(found) > 2
        # Every candle of each day is proven, from its begin.
        assert {each["condition"] for each in certificates(root, "candle", symbol)} == {"complete"}
        assert len(days_of(root, "candle", symbol)) == len(found) - 1


async def test_what_was_lost_before_the_archive_read_it_is_listed(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    configured = archive_process.settings(broker, root, kinds=KINDS)
    async with connect(NatsSettings(url=broker), name="test") as bus:
        await streams.declare_for(bus.jetstream, configured)
        await streams.declare_archive(bus.jetstream, configured.archive)
        states = States(bus)
        lost = 0
        for number in range(6):
            states.at += 5 * HOUR
            sequence = await states.ticker(BTC)
            await states.page(BTC, "1h", again=0)
            await states.mirrored(sequence)
            lost = sequence if number == 2 else lost
        assert await bus.jetstream.delete_msg(HELD["ticker"], lost)
        # The third page: five hours.
        assert await bus.jetstream.delete_msg(HELD["candle"], 3)
        async with archiving(broker, root, kinds=KINDS), asyncio.timeout(60):
            while not all(len(found := days_of(root, kind, BTC)) == 2 and are_closed(found) for kind in KINDS):
                await asyncio.sleep(0.1)
    begin = states.at - 30 * HOUR
    ticker, candle = (certificates(root, kind, BTC)[0] for kind in KINDS[::-1])
    assert (ticker["rows"], [(each["since"], each["until"]) for each in ticker["gaps"]]) == (
        3,
        [(begin + 10 * HOUR - 1, begin + 20 * HOUR)],
    )
    assert "expired" in ticker["gaps"][0]["reason"]
    missing = [(each["since"] + 1, each["until"], each["reason"].partition(":")[0]) for each in candle["gaps"]]
    assert (candle["condition"], missing) == ("gaps", [(begin + 10 * HOUR, begin + 15 * HOUR, "1h")])
