"""`tickwire archive days` beside a running archive: the calendar, its JSON, and symbols that are not archived."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archive.written_tape import Tape, certificates, until_archived
from support.pipeline import CONFIG, pipeline
from support.processes import SimulatorProcess, environment, tickwire
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Gap

pytestmark = pytest.mark.system

HOUR = 3_600_000
ARCHIVE = """
[archive]
root = "{root}"
part_minutes = 0.002
certify_after_s = 1e9
"""


async def test_the_calendar_shows_rows_conditions_and_gaps_and_names_the_nearest_symbol(
    broker: str, bus: Bus, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    root, tape = tmp_path / "archive", Tape(bus, 8)
    config = CONFIG + ARCHIVE.format(root=root)
    async with pipeline(broker, simulator, tmp_path, ("archive",), config) as line:
        await tape.go_on(lambda: tape.at > tape.begun + 40 * HOUR, step=HOUR // 2, pause_s=0)
        since = tape.at
        tape.at += HOUR
        await tape.write("BTC/USDT", 3, gap=Gap(since=since, until=tape.at, reason="the exchange was away"))
        await tape.end_day()
        await until_archived(root, tape)
        days = list(certificates(root, "BTC/USDT").values())
        assert [each["condition"] for each in days] == ["partial", "complete", "gaps"]
        shown = await tickwire(line.env, "archive", "days", "binance", "BTC/USDT")
        assert (shown.code, shown.err) == (0, "")
        for each in days:
            row = next(line.split() for line in shown.out.splitlines() if line.startswith(each["date"]))
            assert row[1:3] == [each["condition"], f"{each['rows']:,}"]
        assert f"{len(days)} days: " in shown.out
        assert f"{sum(each['rows'] for each in days):,} trades" in shown.out
        assert ": the exchange was away" in shown.out
        listed = await tickwire(line.env, "archive", "days", "binance", "BTC/USDT", "--json")
        assert json.loads(listed.out) == {"days": days}
        early = ("--until", f"{days[0]['date']}T23:00")
        one = await tickwire(line.env, "archive", "days", "binance", "BTC/USDT", "--json", *early)
        assert json.loads(one.out) == {"days": days[:1]}
        none = await tickwire(line.env, "archive", "days", "binance", "BTC/USDT", "--until", "2020-01-01")
        assert (none.code, none.out) == (0, "")
        assert "no day of that range is archived" in none.err
        wrong = await tickwire(line.env, "archive", "days", "binance", "BTC/UDST")
        assert (wrong.code, wrong.out) == (1, "")
        assert wrong.err.startswith("tickwire: trade binance BTC/UDST is not archived; archived are")
        assert "archived are binance BTC/USDT, " in wrong.err


async def test_an_archive_without_a_root_names_the_setting(broker: str, tmp_path: Path) -> None:
    ended = await tickwire(environment(tmp_path, TICKWIRE_NATS_URL=broker), "service", "archive")
    assert ended.code == 2
    assert "archive.root is not set" in ended.err
