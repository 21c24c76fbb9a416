"""Requests wait for an absent service up to the given time, and report the wait once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tickwire.bus.requests import no_such_service
from tickwire.bus.service_wait import ServiceWait
from tickwire.errors import Busy, NoSuchService, UnknownSymbol

pytestmark = pytest.mark.pure


def patience(seconds: float) -> tuple[ServiceWait, list[str]]:
    told: list[str] = []
    found = ServiceWait(seconds)
    found.report = told.append
    return found, told


async def test_a_call_is_made_again_until_somebody_serves_it_and_that_is_said_once() -> None:
    waits, told = patience(60)
    misses = 6

    async def call(name: str) -> str:
        nonlocal misses
        misses -= 1
        if misses >= 0:
            raise no_such_service("fetcher.fetch")
        return name

    found = await asyncio.gather(waits.call(lambda: call("one")), waits.call(lambda: call("two")))
    assert list(found) == ["one", "two"]
    assert told == ["no fetcher is running; waiting for it up to 60 s", "a fetcher answers again"]


async def test_one_that_is_busy_is_asked_again() -> None:
    waits, told = patience(60)
    answers = [Busy("4,352 requests of fetcher.fetch are being answered", "ask again"), None]

    async def call() -> str:
        if (error := answers.pop(0)) is not None:
            raise error
        return "done"

    assert await waits.call(call) == "done"
    what = "4,352 requests of fetcher.fetch are being answered"
    assert told == [f"{what}; waiting for it up to 60 s", f"over: {what}"]


async def test_without_patience_or_after_it_the_error_is_raised() -> None:
    waits, told = patience(0)

    async def call() -> None:
        raise no_such_service("cache.get")

    with pytest.raises(NoSuchService, match="no cache is running"):
        await waits.call(call)
    assert told == []
    waits, told = patience(0.3)
    with pytest.raises(NoSuchService, match="no cache is running"):
        await waits.call(call)
    assert told == ["no cache is running; waiting for it up to 0.3 s"]


async def test_a_stop_ends_the_waiting() -> None:
    waits, _ = patience(600)

    async def call() -> None:
        raise no_such_service("cache.get")

    waiting = asyncio.ensure_future(waits.call(call))
    await asyncio.sleep(0)
    waits.stop.set()
    async with asyncio.timeout(100):
        with pytest.raises(NoSuchService):
            await waiting


async def test_another_error_is_an_answer() -> None:
    waits, told = patience(60)

    async def call() -> None:
        raise UnknownSymbol("binance does not list X")

    with pytest.raises(UnknownSymbol):
        await waits.call(call)
    assert told == []


async def test_parts_are_begun_again_only_while_there_is_no_first_one() -> None:
    waits, _ = patience(60)
    begun = 0

    async def parts() -> AsyncGenerator[int, None]:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise no_such_service("cache.get")
        yield 1
        yield 2
        if begun == 3:
            raise no_such_service("cache.get")

    found: list[int] = []
    with pytest.raises(NoSuchService):
        async for each in waits.items(parts):
            found.append(each)
    assert (found, begun) == ([1, 2], 3)
