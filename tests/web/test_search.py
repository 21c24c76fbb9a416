"""The search of markets: where it looks, and what it says where nothing answers."""

from __future__ import annotations

from typing import Literal

import pytest

from tickwire.bus.connection import Bus
from tickwire.client.connecting import connected
from tickwire.model.messages import Job
from tickwire.web.ended_jobs import ENDED, EndedJobs
from tickwire.web.search import Place, Search, SearchReader, places

pytestmark = pytest.mark.actors


@pytest.mark.parametrize(
    ("text", "venues", "expected"),
    [
        ("btc", ["okx", "binance"], [Place("binance", "btc"), Place("okx", "btc")]),
        ("OKX  btc usdt", ["okx", "binance"], [Place("okx", "btc usdt")]),
        ("okx", ["okx"], [Place("okx", "")]),
        # Any exchange may be named; that one is none is said only where nothing is found.
        ("kraken xbt", ["okx"], [Place("okx", "kraken xbt"), Place("kraken", "xbt", guessed=True)]),
        ("kraken xbt", [], [Place("kraken", "xbt")]),
        ("BTC/USDT", [], []),
    ],
)
def test_the_first_word_may_be_an_exchange(text: str, venues: list[str], expected: list[Place]) -> None:
    assert places(text, venues) == expected


async def read(bus: Bus, text: str, venues: list[str]) -> Search:
    async with connected(bus, "page") as client, SearchReader(client, text, venues).opened() as again:
        found = await again()
    assert isinstance(found, Search)
    return found


async def test_what_is_not_known_is_said_and_is_no_empty_result(bus: Bus) -> None:
    (venue,) = (await read(bus, "btc", ["okx"])).venues
    assert (venue.markets, "no fetcher is running" in venue.note) == ([], True)
    assert "no exchange is configured or in use" in (await read(bus, "BTC/USDT", [])).note


def job(number: int, state: Literal["running", "done"] = "done") -> Job:
    return Job(id=str(number), exchange="okx", symbol="A/B", timeframe="1h", state=state, since=0, until=1)


def test_jobs_that_ended_before_come_after_those_that_ended_since() -> None:
    ended = EndedJobs()
    ended.take(job(8))
    ended.before([job(1), job(2, "running"), job(3)])
    assert [each.id for each in ended.newest] == ["8", "3", "1"]
    ended.before([job(number) for number in range(100, 200)])
    assert len(ended.newest) == ENDED
    assert [each.id for each in ended.newest][:3] == ["8", "3", "1"]
