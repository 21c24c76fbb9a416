"""`tickwire demo`, run twice, as a newcomer does."""

from __future__ import annotations

import re
from pathlib import Path

import psutil
import pytest

from support.processes import environment, tickwire


def running_below(folder: Path) -> list[str]:
    """Processes that still work on a folder."""
    return [
        " ".join(each.info["cmdline"])
        for each in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(each.info["cmdline"] or [])
    ]


# Two whole runs, on a machine that may be busy with the rest of the suite.
@pytest.mark.timeout(300)
async def test_the_demo_backfills_shows_and_verifies_and_then_fetches_only_what_is_missing(tmp_path: Path) -> None:
    env = environment(tmp_path)
    first = await tickwire(env, "demo", timeout_s=140)
    assert first.code == 0, first.err
    rows = [line.split() for line in first.out.splitlines() if line.startswith("binance")]
    assert len(rows) == 18
    assert {(row[0], row[1], row[2]) for row in rows} == {
        (exchange, symbol, timeframe)
        for exchange in ("binance", "binanceus")
        for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT")
        for timeframe in ("1m", "5m", "1h")
    }
    minutes = next(row for row in rows if row[:3] == ["binance", "BTC/USDT", "1m"])
    assert int(minutes[3].replace(",", "")) >= 45_000
    cached = sum(int(row[3].replace(",", "")) for row in rows)
    assert f"verified: 18 files, {cached:,} candles, no problem" in first.out
    assert re.search(r"fetched [\d,]+ candles of 18 keys in [\d.]+ s: [\d,]+ rows/s", first.out)
    assert "binance BTC/USDT 1h (simulated)" in first.out
    assert "█" in first.out
    assert "\x1b" not in first.out + first.err
    assert len(list((tmp_path / "demo" / "cache").glob("*.csv"))) == 18
    assert running_below(tmp_path) == []

    second = await tickwire(env, "demo", timeout_s=140)
    assert second.code == 0, second.err
    told = re.search(r"(\d+) of 18 keys complete in the cache \(([\d,]+) candles known\); (.*)", second.out)
    assert told is not None, second.out
    assert int(told[2].replace(",", "")) == cached
    if fetched := re.match(r"fetched only ([\d,]+) candles? of (\d+) keys?", told[3]):
        assert int(fetched[2]) == 18 - int(told[1])
        assert int(fetched[1].replace(",", "")) < 18 * 10
    else:
        assert told[3].startswith("nothing to fetch")
