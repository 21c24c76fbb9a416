"""A week of trades within seconds: feeds that start, stop and are quiet, gaps, late repairs, restarts of all kinds.

The files and the certificates are compared with what the test has put on the tape, by sums of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import duckdb
import polars
import pytest

from archive.archive_process import run, settings
from archive.test_archive_outages import LATER, until_rows
from archive.written_tape import DAY, START, Tape, certificates, folder, rows_of, until_archived
from support.ports import free_port
from tickwire.archive_files.layout import date_of
from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.model.feeds import Gap
from tickwire.model.subjects import token
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

HOUR = 3_600_000
BEGIN = (START // DAY + 1) * DAY
FOLLOWED, LATE, STOPPED = "BTC/USDT", "ETH/USDT", "SOL/USDT"
DAYS = 7


CONDITIONS = {
    FOLLOWED: ["complete", "complete", "gaps", *["complete"] * 4],
    LATE: ["partial", *["complete"] * 5],
    STOPPED: [*["complete"] * 3, "gaps", "missing", "gaps", "complete"],
}
"""As docs/archive.md says, from the first day of each feed on."""


class Week:
    """Broker and archive, which are restarted."""

    def __init__(self, folder: Path) -> None:
        self.root, self.stop = folder / "archive", asyncio.Event()
        self.archive: asyncio.Task[None]
        self._folder, self._port, self._broker = folder / "nats", free_port(), AsyncExitStack()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Tape]:
        await self._broker.enter_async_context(embedded.embedded(self._folder, port=self._port))
        async with self._broker, connect(NatsSettings(url=f"nats://127.0.0.1:{self._port}"), name="test") as bus:
            tape = Tape(bus)
            tape.at = BEGIN
            await streams.declare_for(bus.jetstream, settings(bus.url, self.root))
            self.start_archive()
            yield tape
            self.stop.set()
            await self.archive

    async def restart_broker(self, bus: Bus) -> None:
        await self._broker.aclose()
        await self._broker.enter_async_context(embedded.embedded(self._folder, port=self._port))
        while not bus.client.is_connected:
            await asyncio.sleep(0.02)

    def start_archive(self) -> None:
        self.stop.clear()
        chosen = settings(f"nats://127.0.0.1:{self._port}", self.root, certify_after_s=LATER)
        self.archive = asyncio.create_task(run(chosen, "one", self.stop))


@pytest.mark.parametrize("messages", [1, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
async def test_a_week_of_several_feeds_is_in_files_as_it_was_on_the_tape(messages: int, tmp_path: Path) -> None:
    async def hours(count: int, *symbols: str) -> None:
        """Let hours pass, in which these feeds trade and are declared complete; others are not followed."""
        for end in range(tape.at // HOUR * HOUR + HOUR, tape.at // HOUR * HOUR + HOUR * (count + 1), HOUR):
            for number, symbol in itertools.product(range(messages), symbols):
                tape.at = max(tape.at, end - HOUR + number * HOUR // messages)
                await tape.write(symbol, 4)
            tape.at = end
            for symbol in symbols:
                await tape.write(symbol, 0, until=end)

    async def late(symbol: str, at: int, count: int) -> None:
        """Trades of an earlier time come only now."""
        now, tape.at = tape.at, at
        await tape.write(symbol, count, until=now)
        tape.at = now

    async def stop_archive() -> None:
        week.stop.set()
        await week.archive

    week = Week(tmp_path)
    async with week.running() as tape:
        for symbol in (FOLLOWED, STOPPED):
            await tape.write(symbol, 0, until=tape.at)
        await hours(36, FOLLOWED, STOPPED)
        await tape.write(LATE, 0, until=tape.at)
        await hours(12, FOLLOWED, LATE, STOPPED)
        # The third day: the archive is away in its first hours, and the broker begins anew.
        await stop_archive()
        await hours(5, FOLLOWED, LATE, STOPPED)
        week.start_archive()
        lost = Gap(since=tape.at, until=tape.at + HOUR // 2, reason="the venue said nothing")
        tape.at += HOUR // 2
        await tape.write(FOLLOWED, 3, lost)
        tape.at += HOUR // 2
        await week.restart_broker(tape.bus)
        await hours(18, FOLLOWED, LATE, STOPPED)
        # The fourth: one feed is quiet, another one stops; the archive ends at once, and saves nothing.
        await hours(12, FOLLOWED, STOPPED)
        begun = tape.at
        await hours(12, FOLLOWED)
        week.archive.cancel()
        await asyncio.wait({week.archive})
        week.start_archive()
        await tape.write(LATE, 0, until=tape.at)
        await hours(3, FOLLOWED, LATE)
        await late(FOLLOWED, BEGIN + DAY + 7 * HOUR, 9)
        await hours(33, FOLLOWED, LATE)
        # The sixth: the feed starts again.
        stopped = Gap(since=begun, until=tape.at, reason="the feed was stopped")
        await tape.write(STOPPED, 0, stopped, until=tape.at)
        await week.restart_broker(tape.bus)
        await hours(12, FOLLOWED, LATE, STOPPED)
        await late(LATE, BEGIN + 4 * DAY + HOUR, 2)
        await hours(24, FOLLOWED, LATE, STOPPED)
        await until_rows(week.root, tape)
        # Days of which trades came late are closed again some time after, or by the next owner.
        await stop_archive()
        week.start_archive()
        await until_archived(week.root, tape)
        async with asyncio.timeout(100):
            while any(len(certificates(week.root, symbol)) < len(each) for symbol, each in CONDITIONS.items()):
                await asyncio.sleep(0.1)
    counted = duckdb.execute(
        "SELECT symbol, date, count(*) AS trades, sum(price * amount) AS turnover "
        f"FROM read_parquet('{week.root}/trade/*/*/date=*/data.parquet') GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    for symbol, rows in tape.rows.items():
        # Day after day, each in the order of the tape.
        ordered = sorted(rows, key=lambda row: row[1] // DAY)
        assert rows_of(week.root, symbol, "data.parquet") == ordered
        frame = polars.read_parquet(f"{folder(week.root, symbol)}/date=*/data.parquet")
        for at, name in enumerate(("id", "price", "amount", "source", "sequence")):
            assert frame[name].cast(str if name == "source" else frame[name].dtype).to_list() == [
                row[(0, 4, 5, 6, 7)[at]] for row in ordered
            ]
        found, gap = certificates(week.root, symbol), {FOLLOWED: lost, STOPPED: stopped}.get(symbol)
        assert [each["condition"] for each in found.values()] == CONDITIONS[symbol]
        first = BEGIN + (DAYS - len(found)) * DAY
        for since, (name, made) in zip(range(first, first + DAYS * DAY, DAY), found.items(), strict=False):
            assert name == f"date={date_of(since).isoformat()}"
            own = [row for row in rows if since <= row[1] < since + DAY]
            sources = [row[6] for row in own]
            assert (made["rows"], made["live"], made["rest"]) == (
                len(own),
                sources.count("live"),
                sources.count("rest"),
            )
            ends = [{"timestamp": own[at][1], "id": own[at][0]} for at in (0, -1) if own]
            assert [each for each in (made["first"], made["last"]) if each] == ends
            for number, hour in enumerate(made["hours"]):
                part = [row for row in own if (row[1] - since) // HOUR == number]
                sums = (math.fsum(row[5] for row in part), math.fsum(row[4] * row[5] for row in part))
                assert (hour["rows"], hour["amount"], hour["quote_amount"]) == (len(part), *map(pytest.approx, sums))
            by_others = [
                each[2:] for each in counted if (each[0], str(each[1])) == (token(symbol), date_of(since).isoformat())
            ]
            assert by_others == ([(len(own), pytest.approx(math.fsum(row[4] * row[5] for row in own)))] if own else [])
            data = (folder(week.root, symbol) / name / "data.parquet").read_bytes()
            assert (made["sha256"], made["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
            begin = since + DAY // 2 if made["condition"] == "partial" else since
            assert made["watched"] == [[begin, since + DAY]]
            bounds = (gap.since or 0, gap.until or 0) if gap else (0, 0)
            # The bounds are exclusive, and within the day.
            expected = [(max(bounds[0], since - 1), min(bounds[1], since + DAY))]
            inside = bounds[0] < since + DAY and bounds[1] > since
            assert [(each["since"], each["until"]) for each in made["gaps"]] == (expected if inside else [])
    assert certificates(week.root, FOLLOWED)[f"date={date_of(BEGIN + DAY).isoformat()}"]["version"] > 1
