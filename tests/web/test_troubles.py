"""What is wrong now, in words."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.client.survey import ServiceStatus, Space, Status, StreamStatus
from tickwire.model.feeds import FeedReport, State
from tickwire.model.messages import ErrorReply, Job
from tickwire.web.overview import overview
from tickwire.web.troubles import LISTED, SILENT_MS, troubles

pytestmark = pytest.mark.pure

NOW = 1_700_000_000_000
WELL = ("live", "starting", "stopped")
"""States in which nothing is wrong."""


def status(
    feeds: list[FeedReport] | None = None,
    running: tuple[str, ...] = ("cache", "fetcher", "streamer"),
    streams: list[StreamStatus] | None = None,
    jobs: list[Job] | None = None,
    damaged: list[str] | None = None,
) -> Status:
    services = [
        ServiceStatus(service=name, instance=f"{name}-1", version="1", started="", requests=0, errors=0)
        for name in running
    ]
    return Status(
        nats_url="",
        at=NOW,
        services=services,
        leases=[],
        streams=streams or [],
        jobs_waiting=0,
        jobs=jobs or [],
        feeds=feeds or [],
        damaged=damaged or [],
    )


def said(found: Status, ended: list[Job] | None = None, expected: frozenset[str] = frozenset()) -> list[str]:
    return [each.text for each in troubles(found, ended or [], expected)]


def job(state: str = "running", **fields: object) -> Job:
    return Job(id="j1", exchange="binance", symbol="BTC/USDT", timeframe="1h", state=state, since=0, until=10, **fields)  # type: ignore[arg-type]


reports = st.builds(
    FeedReport,
    kind=st.sampled_from(["trade", "book", "ticker", "candle"]),
    exchange=st.just("okx"),
    symbol=st.sampled_from(["BTC/USDT", "ETH/USDT"]),
    state=st.sampled_from(get_args(State)),
    reason=st.just(""),
    gaps=st.integers(0, 2),
    last_message=st.one_of(st.none(), st.integers(NOW - 2 * SILENT_MS, NOW)),
)


@given(st.lists(reports, max_size=12))
def test_there_is_something_wrong_exactly_if_a_feed_is_not_as_it_should_be(feeds: list[FeedReport]) -> None:
    wrong = [
        each
        for each in feeds
        if each.state not in WELL
        or (each.gaps and each.kind != "candle")
        or (each.state == "live" and NOW - (each.last_message or NOW) > SILENT_MS)
    ]
    found = said(status(feeds))
    assert bool(found) == bool(wrong)
    if len(feeds) <= LISTED:
        for each in wrong:
            assert any(str(each.feed) in line for line in found)


def test_nothing_is_wrong_when_all_is_well() -> None:
    assert (
        said(status([FeedReport(kind="trade", exchange="okx", symbol="BTC/USDT", state="live", last_message=NOW)]))
        == []
    )


def test_a_service_that_does_not_answer_is_named_with_what_it_is_for() -> None:
    assert said(status(running=("cache", "streamer"))) == ["no fetcher answers: nothing is fetched"]
    expected = frozenset({"archive"})
    assert said(status(), expected=expected) == ["no archive answers: nothing is archived"]


def test_an_instance_that_is_not_ready_says_why() -> None:
    found = status()
    ill = msgspec.structs.replace(found.services[0], trouble="the disk is full")
    found = msgspec.structs.replace(found, services=[ill, *found.services[1:]])
    assert said(found) == ["cache-1 is not ready: the disk is full"]


def test_pages_wait_only_where_nobody_takes_them_or_they_are_many() -> None:
    some = StreamStatus(stream="OHLCV", messages=3, bytes=10, limit=100)
    many = StreamStatus(stream="OHLCV", messages=3000, bytes=70, limit=100)
    assert said(status(streams=[some])) == []
    assert said(status(streams=[many])) == ["3,000 pages of candles wait for the cache; the stream is 70% full"]
    assert "3 pages of candles wait for the cache; the stream is 10% full" in said(status(streams=[some], running=()))


def test_a_job_that_failed_or_is_held_up_says_why() -> None:
    held = job(last_error="binance: HTTP 418")
    failed = job("failed", error=ErrorReply(code="unknown_symbol", message="okx does not list X/Y", remedy="check it"))
    cancelled = job("failed", error=ErrorReply(code="cancelled", message="cancelled"))
    assert said(status(jobs=[held]), [failed, cancelled]) == [
        "job j1 is held up: binance: HTTP 418",
        "job j1 failed: okx does not list X/Y",
    ]


def test_the_worst_is_on_top() -> None:
    feeds = [
        FeedReport(kind="trade", exchange="okx", symbol="A/B", state="repairing"),
        FeedReport(kind="trade", exchange="okx", symbol="C/D", state="failed", reason="HTTP 500"),
    ]
    found = troubles(status(feeds, damaged=["x.csv: line 3"]), [], frozenset())
    assert [each.level for each in found] == ["error", "error", "warning"]
    assert found[1].text == "1 feed (trade okx C/D) failed and is tried again: HTTP 500"


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.booleans())
def test_the_progress_of_a_job_is_a_part_of_one(cached: int, fetched: int, expected: int, complete: bool) -> None:
    made = job(rows_from_cache=cached, rows_fetched=fetched, rows_expected=expected, complete=complete)
    (row,) = overview(status(jobs=[made]), [], frozenset()).jobs
    assert 0 <= row.progress <= 1
    assert not complete or row.progress == 1
    assert row.cancellable


@pytest.mark.parametrize(
    ("free", "size", "text"),
    [
        (900_000_000, 10**11, "/data is nearly full: 0.9 GB (0.9%) are free"),
        (15 * 10**9, 10**12, "/data is nearly full: 15.0 GB (1.5%) are free"),
        (21 * 10**9, 10**12, None),
        (2 * 10**9, 5 * 10**9, None),
    ],
)
def test_a_folder_that_is_nearly_full_is_said_once(free: int, size: int, text: str | None) -> None:
    space = Space(folder="/data", free=free, size=size)
    services = [
        ServiceStatus(service=name, instance=f"{name}-{n}", version="1", started="", requests=0, errors=0, space=space)
        for name, n in (("cache", 1), ("cache", 2), ("fetcher", 1), ("streamer", 1))
    ]
    assert said(msgspec.structs.replace(status(), services=services)) == ([text] if text else [])
