"""Reports of feeds whose owner does not answer, and lists of very many feeds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.bus.connection import Bus
from tickwire.bus.leases import Leases
from tickwire.bus.service import Call
from tickwire.errors import Busy, InternalError, NoSuchService, TickwireError
from tickwire.model import messages
from tickwire.model.feeds import Feed, FeedList, FeedReport, FeedsRequest
from tickwire.streamer.control import feed_reports
from tickwire.streamer.control.feed_reports import FeedReports
from tickwire.streamer.control.feed_supervisor import FeedSupervisor
from tickwire.streamer.control.interests import Interests

pytestmark = pytest.mark.pure


def wanting(feeds: Callable[[], Iterable[Feed]], names: list[str]) -> SimpleNamespace:
    """Interests of one subscriber in feeds."""
    return SimpleNamespace(feeds=feeds, subscribers=lambda feed: 1, subscriber_names=lambda feed: names)


@given(st.lists(st.lists(st.text(max_size=64), max_size=50), max_size=40))
def test_a_chunk_of_reports_fits_into_a_message_whatever_the_subscribers_are_called(names: list[list[str]]) -> None:
    reports = [
        FeedReport(kind="trade", exchange="binance", symbol=f"C{number}/USDT", subscriber_names=each)
        for number, each in enumerate(names)
    ]
    chunks = feed_reports.chunked(reports)
    assert [report for chunk in chunks for report in chunk] == reports
    assert all(len(messages.encode(FeedList(feeds=chunk))) < 512 * 1024 for chunk in chunks)
    assert len(chunks) == 1 or all(chunks)


@pytest.mark.parametrize("kind", [NoSuchService, Busy, InternalError])
async def test_a_feed_is_reported_though_its_owner_refuses_to_report_it(kind: type[TickwireError]) -> None:
    async def refuses(*arguments: object, **options: object) -> AsyncIterator[FeedList]:
        for refusal in [kind("no report")]:
            raise refusal
        yield FeedList(feeds=[])

    reports = FeedReports(
        cast(Bus, SimpleNamespace(request_chunks=refuses)),
        "this",
        cast(Interests, wanting(list, ["me"])),
        cast(Leases, SimpleNamespace(holder=lambda path: "other")),
        cast(FeedSupervisor, None),
        8,
    )
    report = await reports.of(Feed("trade", "binance", "BTC/USDT"))
    assert (report.owner, report.subscribers, report.subscriber_names) == ("other", 1, ["me"])


@pytest.mark.parametrize("owns", [True, False])
async def test_a_list_of_thousands_of_feeds_gives_the_loop_its_turns(
    owns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is as long as may be: after each one others have a turn."""
    monkeypatch.setattr(feed_reports, "LONGEST_S", 0.0)
    feeds = [Feed("trade", "binance", f"C{number:04}/USDT") for number in range(1200)]
    owned = [FeedReport(kind="trade", exchange="binance", symbol=each.symbol, state="live") for each in feeds]
    chunks: list[FeedList] = []
    turns = 0

    async def reply(chunk: FeedList) -> None:
        chunks.append(chunk)

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    reports = FeedReports(
        cast(Bus, None),
        "this",
        cast(Interests, wanting(lambda: reversed(feeds), [])),
        cast(Leases, SimpleNamespace(members={"this"})),
        cast(FeedSupervisor, SimpleNamespace(reports=lambda exchange, symbol: iter(owned))),
        8,
    )
    answer: Callable[[FeedsRequest, Call], Awaitable[None]] = reports.list_own if owns else reports.list_all
    others = asyncio.create_task(take_turns())
    await answer(FeedsRequest(), cast(Call, SimpleNamespace(reply=reply)))
    others.cancel()
    assert turns >= (1200 if owns else 3600)
    assert [report.symbol for chunk in chunks for report in chunk.feeds] == [each.symbol for each in feeds]
    assert [(chunk.chunk, chunk.more, len(chunk.feeds)) for chunk in chunks] == [
        (0, True, 500),
        (1, True, 500),
        (2, False, 200),
    ]
