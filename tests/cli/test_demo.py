"""`tickwire demo`, run twice, as a newcomer does."""

from __future__ import annotations

import re
from pathlib import Path

import psutil
import pytest

from support.processes import environment, tickwire

pytestmark = pytest.mark.system


def running_below(folder: Path) -> list[str]:
    """Processes that still work on a folder."""
    return [
        " ".join(each.info["cmdline"])
        for each in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(each.info["cmdline"] or [])
    ]


def figureless(line: str) -> str:
    """A line without its figures, and the state of a feed without its reason."""
    return re.sub(r"(-- \w+).*", r"\1", re.sub(r"\d[\d,.:]*", "0", line)).replace("WebSockets", "WebSocket")


def streamed(out: str) -> None:
    """The live part: followed, really cut, repaired, and nothing is missing."""
    after = out.partition("no problem\n")[2]
    live = re.search(r"^live: (\d+) trades of binance BNB/USDT on the tape, ids (\d+) to (\d+): (.*)$", after, re.M)
    assert live is not None, after
    trades, first, last = (int(live[number]) for number in (1, 2, 3))
    assert last - first + 1 == trades
    assert live[4] == "none missing, none twice, all as in the exchange's own list"
    cut = re.search(r"^cut: (\d+) WebSockets? ended, trades arrived again after ([\d.]+) s; (\d+) trades", after, re.M)
    assert cut is not None, after
    assert int(cut[1]) >= 1
    # The exchange lets nobody in for three seconds, in which 40 aggregate trades happen on average.
    assert float(cut[2]) >= 2.9
    assert 15 <= int(cut[3]) < trades
    candles = re.search(
        r"^candles: (\d+) candles of 1s closed meanwhile, all equal to the exchange's own$", after, re.M
    )
    assert candles is not None, after
    assert int(candles[1]) >= 3
    day = r"^archive: binance BNB/USDT [-0-9]+: ([\d,]+) trades, watched .* UTC, no gap; the day is"
    archived = re.search(day, after, re.M)
    assert archived is not None, after
    assert int(archived[1].replace(",", "")) >= trades
    kept = re.search(rf"^archive: the {trades:,} trades of above .*: (.*)$", after, re.M)
    assert kept is not None, after
    assert kept[1] == "each of them once, in order"
    since = after.partition("cutting the exchange's WebSocket for 3 s\n")[2]
    order = [since.index(text) for text in ("-- disconnected", "-- connected", "-- repaired", "live: ")]
    assert order == sorted(order)
    assert re.search(r"\d+ trades, last [\d.]+ \| bid .* \| 1m O ", after)


# Two whole runs, on a machine that may be busy with the rest of the suite.
@pytest.mark.timeout(300)
async def test_the_demo_backfills_and_verifies_and_then_fetches_only_what_is_missing(tmp_path: Path) -> None:
    env = environment(tmp_path)
    cache = tmp_path / "demo" / "cache"
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
    assert len([each for each in cache.glob("*.csv") if "BNB" not in each.name]) == 18
    streamed(first.out)
    # What README.md shows of it first.
    (shown, *_) = re.findall(r"```text\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.S)
    printed = {figureless(each) for each in first.out.splitlines()}
    assert [each for each in shown.splitlines() if figureless(each) not in printed] == []
    log = (tmp_path / "demo" / "streamer.log").read_text()
    assert "Traceback" not in log
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
    streamed(second.out)
