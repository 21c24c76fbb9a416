"""A job of trades whose fetcher and archive are killed in the middle: each trade is archived once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fetch.fetched import DAY, NOW
from support.hearing import hearing
from support.pipeline import CONFIG, SHORT_S, pipeline
from support.processes import running_simulator
from tickwire.archive_files import days
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.root import FolderRoot
from tickwire.model import subjects
from tickwire.model.messages import FetchAccepted, FetchRequest, Job

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("declared")]

UNTIL = NOW // DAY * DAY
SINCE = UNTIL - 3 * DAY // 2
KILLED = ("fetcher", "archive", "fetcher", "archive")


async def test_a_job_goes_on_where_its_fetcher_and_its_archive_are_killed(broker: str, tmp_path: Path) -> None:
    root, feed = FolderRoot(tmp_path / "archive"), ArchivedFeed("trade", "binance", "BTC/USDT")
    arguments = ("--now", str(NOW), "--symbol", "BTC/USDT", "--history-rate", "25", "--listed", str(SINCE - DAY))
    async with running_simulator(*arguments) as simulator:
        await simulator.fault("aggTrades", "delay", seconds=0.05)
        config = CONFIG + f'[archive]\nroot = "{tmp_path / "archive"}"\n'
        async with (
            pipeline(broker, simulator, tmp_path, ("archive", "fetcher"), config, SHORT_S) as line,
            hearing(line.bus, subjects.job("killed"), Job) as heard,
        ):
            request = FetchRequest(
                exchange="binance", symbol="BTC/USDT", kind="trade", since=SINCE, until=UNTIL, id="killed"
            )
            await line.bus.request("fetcher.fetch", request, FetchAccepted, timeout_s=15)
            rows = 0
            for service in KILLED:
                # Something was stored since the last kill.
                found = await heard.first(lambda job: job.rows_fetched > rows, timeout_s=100)  # noqa: B023
                rows = max(job.rows_fetched for job in heard.said)
                assert not found.ended
                await line.kill(service)
                await line.start(service)
            job = await heard.first(lambda job: job.ended, timeout_s=100)
        assert (job.state, job.complete, job.missing, job.error) == ("done", True, [], None)
        truth = Counter(
            each["agg"] for each in await simulator.truth("trades", symbol="BTC/USDT", since=SINCE, until=UNTIL)
        )
    found_rows = [row for batch in days.read_rows(root, feed, SINCE, UNTIL) for row in batch.to_pylist()]
    assert [int(row["id"]) for row in found_rows] == sorted(truth)
    assert [each.condition for each in days.days(root, feed, SINCE, UNTIL)] == ["partial", "complete"]
