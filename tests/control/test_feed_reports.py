"""Reports of feeds whose owner does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest

from tickwire.bus.connection import Bus
from tickwire.bus.leases import Leases
from tickwire.errors import Busy, InternalError, NoSuchService, TickwireError
from tickwire.model.feeds import Feed, FeedList
from tickwire.streamer.control.feed_reports import FeedReports
from tickwire.streamer.control.feed_supervisor import FeedSupervisor
from tickwire.streamer.control.interests import Interests

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("kind", [NoSuchService, Busy, InternalError])
async def test_a_feed_is_reported_though_its_owner_refuses_to_report_it(kind: type[TickwireError]) -> None:
    async def refuses(*arguments: object, **options: object) -> AsyncIterator[FeedList]:
        for refusal in [kind("no report")]:
            raise refusal
        yield FeedList(feeds=[])

    reports = FeedReports(
        cast(Bus, SimpleNamespace(request_chunks=refuses)),
        "this",
        cast(Interests, SimpleNamespace(subscribers=lambda feed: 1)),
        cast(Leases, SimpleNamespace(holder=lambda path: "other")),
        cast(FeedSupervisor, None),
        8,
    )
    report = await reports.of(Feed("trade", "binance", "BTC/USDT"))
    assert (report.owner, report.subscribers) == ("other", 1)
