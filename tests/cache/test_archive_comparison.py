"""A cache whose archive is absent, slow or wrong: what it says, and that it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cache.served import KEY, ask, coverage, page, row_at, running, store
from tickwire.bus.connection import Bus
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.cache import archive_audit
from tickwire.errors import NotArchived, TickwireError
from tickwire.model import messages, subjects
from tickwire.model.messages import (
    ArchivedBars,
    ArchivedBarsRequest,
    ArchivedDays,
    Certificate,
    Comparison,
    DaysRequest,
)
from tickwire.model.ranges import Range

pytestmark = pytest.mark.actors

DAY = 86_400_000
DAYS = ArchivedDays(
    days=[
        Certificate(kind="trade", exchange=KEY.exchange, symbol=KEY.symbol, date="1970-01-01", condition="complete"),
        Certificate(kind="trade", exchange=KEY.exchange, symbol=KEY.symbol, date="1970-01-02", condition="gaps"),
    ]
)
Answer = Callable[[ArchivedBarsRequest, Call], Awaitable[ArchivedBars]]


@asynccontextmanager
async def archive(bus: Bus, answer: Answer, days: ArchivedDays | NotArchived = DAYS) -> AsyncIterator[None]:
    """An archive that has a complete day and one with gaps."""

    async def answer_days(_: DaysRequest, call: Call) -> ArchivedDays:
        if isinstance(days, NotArchived):
            raise days
        return days

    endpoints: list[Endpoint[Any]] = [
        Endpoint("archive.days", DaysRequest, answer_days),
        Endpoint("archive.bars", ArchivedBarsRequest, answer),
    ]
    async with serve(bus, "archive", endpoints, instance="test"):
        yield


async def compared(bus: Bus) -> list[Comparison]:
    decode = partial(messages.decode, kind=Comparison)
    return [each async for each in bus.request_chunks("cache.compare", ask(), decode, timeout_s=30)]


async def rebuilt(request: ArchivedBarsRequest, _: Call) -> ArchivedBars:
    """All minutes of the complete day that are requested."""
    span = Range(request.since, min(request.until, DAY))
    rows = [row_at(minute) for minute in range(span.since // 60_000, span.until // 60_000)]
    return ArchivedBars(
        exchange=request.exchange, symbol=request.symbol, timeframe=request.timeframe, rows=rows, complete=[span]
    )


async def test_a_cache_says_what_it_cannot_compare_and_compares_the_rest(bus: Bus, broker: str, tmp_path: Path) -> None:
    minutes = range(1200, 1700)
    async with running(broker, tmp_path):
        await store(bus, page(minutes))
        (said,) = await compared(bus)
        assert (said.compared, said.remarks) == ([], ["not compared with archived trades: no archive runs"])
        async with archive(bus, rebuilt, NotArchived("trade binance BTC/USDT is not archived")):
            (said,) = await compared(bus)
            assert said.remarks == ["not compared with archived trades: trade binance BTC/USDT is not archived"]
        async with archive(bus, rebuilt, ArchivedDays(days=DAYS.days[1:])):
            (said,) = await compared(bus)
            assert said.remarks == ["not compared with archived trades: no day of it is certified as complete"]
        assert (await coverage(bus)).provenance.archived == []
        async with archive(bus, rebuilt):
            found, last = await compared(bus)
        assert (found.rows, found.compared, found.difference_count) == (240, [Range(1200 * 60_000, DAY)], 0)
        assert (found.made_of_trades, last.remarks, last.more) == (True, [], False)
        assert (await coverage(bus)).provenance.archived == [Range(1200 * 60_000, DAY)]


async def test_a_day_that_is_certified_while_days_are_listed_is_compared(
    bus: Bus, broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_audit, "SCAN_S", 0.1)
    second = msgspec.structs.replace(DAYS.days[1], condition="complete")

    async def announce(_: DaysRequest, __: Call) -> ArchivedDays:
        await bus.publish(subjects.archived("trade", KEY.exchange, KEY.symbol), second)
        return ArchivedDays(days=DAYS.days[:1])

    async def every(request: ArchivedBarsRequest, _: Call) -> ArchivedBars:
        span = Range(request.since, request.until)
        rows = [row_at(minute) for minute in range(span.since // 60_000, span.until // 60_000)]
        return ArchivedBars(
            exchange=request.exchange, symbol=request.symbol, timeframe=request.timeframe, rows=rows, complete=[span]
        )

    endpoints: list[Endpoint[Any]] = [
        Endpoint("archive.days", DaysRequest, announce),
        Endpoint("archive.bars", ArchivedBarsRequest, every),
    ]
    async with serve(bus, "archive", endpoints, instance="test"), running(broker, tmp_path):
        await store(bus, page(range(1430, 1450)))
        async with asyncio.timeout(100):
            while (await coverage(bus)).provenance.archived != [Range(1430 * 60_000, 1450 * 60_000)]:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("standing", [True, False], ids=["standing", "on demand"])
async def test_a_cache_that_is_stopped_does_not_wait_for_the_archive(
    bus: Bus, broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standing: bool
) -> None:
    monkeypatch.setattr(archive_audit, "SCAN_S", 0.1 if standing else 1e6)
    asked, never = asyncio.Event(), asyncio.Event()

    async def silent(request: ArchivedBarsRequest, call: Call) -> ArchivedBars:
        asked.set()
        await never.wait()
        return await rebuilt(request, call)

    async with archive(bus, silent):
        async with running(broker, tmp_path):
            await store(bus, page(range(10)))
            comparing = None if standing else asyncio.create_task(compared(bus))
            async with asyncio.timeout(60):
                await asked.wait()
        never.set()
        if comparing is not None:
            with pytest.raises(TickwireError):
                await comparing


async def test_a_day_certified_again_while_the_cache_was_down_is_compared_again_once(
    bus: Bus, broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_audit, "SCAN_S", 0.1)
    asked: list[Range] = []

    async def noted(request: ArchivedBarsRequest, call: Call) -> ArchivedBars:
        asked.append(Range(request.since, request.until))
        return await rebuilt(request, call)

    first, more = Range(0, 10 * 60_000), Range(10 * 60_000, 20 * 60_000)
    lives = [(1, 100, page(range(10)), [first]), (2, 200, None, [first]), (2, 200, page(range(10, 20)), [more])]
    for version, made, stored, expected in lives:
        certified = msgspec.structs.replace(DAYS.days[0], version=version, made=made)
        async with archive(bus, noted, ArchivedDays(days=[certified])), running(broker, tmp_path):
            asked.clear()
            if stored is not None:
                await store(bus, stored)
            async with asyncio.timeout(100):
                while not asked or (await coverage(bus)).provenance.archived != [Range(0, expected[-1].until)]:
                    await asyncio.sleep(0.1)
        assert asked == expected
        (meta,) = tmp_path.rglob("*.meta.json")
        assert msgspec.json.decode(meta.read_bytes())["compared_as_of"] == made
