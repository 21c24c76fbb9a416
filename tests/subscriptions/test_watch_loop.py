"""The watch loop, with watches of a test's own: what it does with what they return and raise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ccxt.base import errors
from hypothesis import given
from hypothesis import strategies as st

from tickwire.exchange.guarded_call import guarded_call
from tickwire.process.backoff import Backoff
from tickwire.streamer.subscriptions.watch_loop import TRIES, Ended, watch

pytestmark = pytest.mark.pure


class Script:
    """A watch that returns or raises what it is told, one after another, and then parks for ever."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.parked = asyncio.Event()
        self.abandoned = False

    async def __call__(self) -> Any:
        if not self.steps:
            self.parked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.abandoned = True
                raise
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step


async def run(
    script: Callable[[], Awaitable[Any]], stop: asyncio.Event | None = None, backoff: Backoff | None = None
) -> tuple[Ended, list[Any], list[tuple[errors.BaseError, float]]]:
    """Run a loop to its end: why it ended, what it handled, what failed."""
    handled: list[Any] = []
    failed: list[tuple[errors.BaseError, float]] = []
    ended = await watch(
        script,
        handled.append,
        stop or asyncio.Event(),
        failed=lambda error, wait: failed.append((error, wait)),
        backoff=backoff or Backoff(0.0001, 0.001),
    )
    return ended, handled, failed


async def test_results_are_handled_in_order_until_it_is_told_to_stop() -> None:
    script, stop = Script(1, 2, 3), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(run(script, stop))
        await script.parked.wait()
        stop.set()
    assert loop.result() == (Ended("stopped"), [1, 2, 3], [])
    assert script.abandoned


async def test_a_loop_that_is_told_to_stop_before_it_starts_watches_nothing() -> None:
    stop = asyncio.Event()
    stop.set()
    script = Script(1)
    assert await run(script, stop) == (Ended("stopped"), [], [])
    assert script.steps == [1]


@pytest.mark.parametrize(
    "error",
    [
        errors.NetworkError("gone"),
        errors.RequestTimeout("late"),
        errors.RateLimitExceeded("slow down"),
        errors.OnMaintenance("back soon"),
        errors.ChecksumError("wrong"),
        errors.BadResponse("nonsense"),
    ],
)
async def test_what_passes_is_tried_again_at_once_and_then_after_a_while(error: errors.BaseError) -> None:
    ended, handled, failed = await run(Script(error, error, error, "data", error, errors.BadSymbol("end")))
    assert handled == ["data"]
    assert [each for each, _ in failed] == [error] * 4
    assert [wait > 0 for _, wait in failed] == [False, True, True, False]
    assert ended == Ended("BadSymbol: end", ended.error)


@pytest.mark.parametrize(
    "error",
    [
        errors.BadSymbol("no such symbol"),
        errors.AuthenticationError("who are you"),
        errors.NotSupported("not here"),
        errors.BadRequest("what"),
        errors.RestrictedLocation("not there"),
        errors.ExchangeClosedByUser("bye"),
    ],
)
async def test_what_does_not_pass_ends_it_for_that_reason(error: errors.BaseError) -> None:
    ended, _, failed = await run(Script(error, "never"))
    assert ended.error is error
    assert str(error) in ended.reason
    assert failed == []


async def test_an_error_that_says_nothing_is_tried_a_few_times() -> None:
    error = errors.ExchangeError("?")
    ended, _, failed = await run(Script(*[error] * 10))
    assert len(failed) == TRIES - 1
    assert ended.error is error


async def test_what_was_unsubscribed_is_watched_again_at_once() -> None:
    error = errors.UnsubscribeError("trade::BTC/USDT")
    _, handled, failed = await run(Script(error, error, error, "data", errors.BadSymbol("end")))
    assert handled == ["data"]
    assert [wait for _, wait in failed] == [0.0] * 3


@pytest.mark.parametrize("error", [KeyError("e"), TypeError("none"), ValueError("?"), IndexError(), AttributeError()])
async def test_a_parser_that_trips_counts_as_a_bad_response(error: Exception) -> None:
    _, handled, failed = await run(Script(error, "data", errors.BadSymbol("end")))
    assert handled == ["data"]
    assert isinstance(failed[0][0], errors.BadResponse)


async def test_a_watch_that_somebody_else_cancels_is_armed_again() -> None:
    waiting = asyncio.get_running_loop().create_future()
    steps: list[Callable[[], Awaitable[Any]]] = [lambda: waiting, Script("data"), Script(errors.BadSymbol("end"))]

    async def arm() -> Any:
        return await steps.pop(0)()

    asyncio.get_running_loop().call_soon(waiting.cancel)
    _, handled, failed = await run(arm)
    assert handled == ["data"]
    assert isinstance(failed[0][0], errors.NetworkError)


async def test_cancelling_the_loop_cancels_its_watch() -> None:
    script = Script()
    loop = asyncio.ensure_future(run(script))
    await script.parked.wait()
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
    assert script.abandoned


async def test_stopping_does_not_wait_for_the_next_attempt() -> None:
    stop = asyncio.Event()
    script = Script(*[errors.NetworkError("gone")] * 5)
    backoff = Backoff(3600, 3600)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        loop = group.create_task(run(script, stop, backoff))
        while backoff.failures < 2:
            await asyncio.sleep(0)
        stop.set()
    assert loop.result()[0] == Ended("stopped")


async def test_a_handler_that_raises_ends_the_loop_loudly() -> None:
    def handle(result: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await watch(Script(1), handle, asyncio.Event())


@given(st.floats(0.001, 10), st.floats(10, 100), st.integers(1, 200))
def test_waits_grow_up_to_the_longest_and_start_anew_after_what_worked(
    first: float, longest: float, times: int
) -> None:
    backoff = Backoff(first, longest)
    waits = [backoff.next() for _ in range(times)]
    assert waits[0] == 0
    for number, wait in enumerate(waits[1:]):
        full = min(longest, first * 2.0**number)
        assert full / 2 <= wait <= full
    backoff.worked()
    assert backoff.next() == 0


@pytest.mark.parametrize("trip", [TypeError, KeyError, IndexError, AttributeError, ValueError])
async def test_what_ccxt_trips_over_is_an_answer_that_cannot_be_read(trip: type[Exception]) -> None:
    async def ask() -> None:
        raise trip("object of type 'int' has no len()")

    with pytest.raises(errors.BadResponse, match="has no len"):
        await guarded_call(ask)
