"""The results of fetch jobs in words."""

from __future__ import annotations

import msgspec
import pytest

from tickwire.cli.output import tables
from tickwire.model.messages import Job, Refused
from tickwire.model.ranges import Range

pytestmark = pytest.mark.pure

DAY = 86_400_000
JOB = Job(id="0a1b2c3d4e5f6071", exchange="kraken", symbol="BTC/USD", timeframe="1m", state="done", since=0, until=DAY)


def test_an_incomplete_job_says_why_candles_are_missing() -> None:
    refused = [Refused(since=0, until=DAY, message="the exchange has only its newest 720 candles")]
    job = msgspec.structs.replace(JOB, missing=[Range(0, DAY)], refused=refused)
    assert tables.job_result(job).startswith(
        "incomplete: the exchange has only its newest 720 candles; missing 1970-01-01"
    )


def test_without_a_refusal_it_says_only_what_is_missing() -> None:
    assert tables.job_result(msgspec.structs.replace(JOB, missing=[Range(0, DAY)])).startswith("incomplete; missing ")
    assert tables.job_result(msgspec.structs.replace(JOB, complete=True)) == "complete"
