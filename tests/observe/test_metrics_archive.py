"""The archive's metrics, scraped while it runs, against what was put on the tape and what the files have."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from archive.written_tape import SYMBOLS, Tape, certificates, folder, until_archived
from support.pipeline import CONFIG, pipeline
from support.processes import SimulatorProcess
from support.scraping import Scraped, described, monitored
from tickwire.archive_files.layout import date_of
from tickwire.bus.connection import Bus

pytestmark = pytest.mark.system

HOUR = 3_600_000
ARCHIVE = """
[archive]
root = "{root}"
part_minutes = 0.002
certify_after_s = 1e9
"""


async def test_the_archive_counts_the_rows_of_its_files_and_the_days_that_it_certified(
    broker: str, bus: Bus, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    root, away = tmp_path / "mounted" / "archive", tmp_path / "away"
    root.parent.mkdir()
    tape = Tape(bus, 8)
    config = CONFIG + ARCHIVE.format(root=root)
    async with pipeline(broker, simulator, tmp_path, (), config) as line, monitored(line, "archive") as (scraper,):
        await tape.go_on(lambda: tape.at > tape.begun + 30 * HOUR, step=HOUR // 2, pause_s=0.01)
        await tape.end_day()
        await until_archived(root, tape)
        rows = sum(map(len, tape.rows.values()))
        found = await scraper.until(lambda now: now.value("tickwire_archive_rows_total") == rows)
        certified = [each["condition"] for symbol in SYMBOLS for each in certificates(root, symbol).values()]
        for condition in ("partial", "complete"):
            assert found.value("tickwire_archive_days_total", condition=condition) == certified.count(condition) > 0
        assert found.value("tickwire_archive_parts_total") >= len(certified)
        assert found.value("tickwire_archive_write_seconds_count") == found.value("tickwire_archive_parts_total")
        assert found.value("tickwire_archive_failed_writes_total") == 0
        await scraper.until(lambda now: pending(now) == 0)
        # No part can be written, and what comes waits.
        root.parent.rename(away)
        root.parent.write_text("")
        await tape.write("BTC/USDT", 7)
        await scraper.until(lambda now: now.value("tickwire_archive_failed_writes_total") > 0)
        await scraper.until(lambda now: now.value("tickwire_archive_waiting_rows") == 7 and pending(now) == 1)
        assert (await scraper.health("ready"))[0] == 503
        root.parent.unlink()
        away.rename(root.parent)
        await scraper.until(lambda now: now.value("tickwire_archive_rows_total") == rows + 7)
        await scraper.until(lambda now: now.value("tickwire_archive_waiting_rows") == 0 and pending(now) == 0)
        # In place of a day's file a folder: that day cannot be closed.
        (folder(root, "ETH/USDT") / f"date={date_of(tape.at)}" / "data.parquet" / "x").mkdir(parents=True)
        await tape.write("ETH/USDT", 1)
        await tape.end_day()
        await scraper.until(lambda now: now.value("tickwire_archive_failed_days_total") > 0)
        # It was moved away for a while.
        disk = shutil.disk_usage(tmp_path)
        await scraper.until(lambda now: "tickwire_disk_size_bytes" in now.types)
        found = await scraper.scrape()
        assert found.value("tickwire_disk_size_bytes") == disk.total
        assert found.value("tickwire_disk_free_bytes") == pytest.approx(disk.free, rel=0.2)
        assert scraper.names == set(described("Every service", "Archive"))


def pending(now: Scraped) -> float:
    """Messages of all streams that are in no file."""
    return sum(now.value("tickwire_archive_pending_messages", stream=f"TRADES-{number}") for number in range(8))
