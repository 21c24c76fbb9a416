"""Work that fails is tried again by itself, with a bounded delay; what must end ends."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.errors import ExchangeFailed, Fenced
from tickwire.process.backoff import Backoff, delay_s
from tickwire.process.bulkhead import bulkhead, reason

pytestmark = pytest.mark.pure


@given(failures=st.integers(0, 10**6), first=st.floats(0.001, 100), longest=st.floats(0.001, 1000))
def test_a_delay_is_bounded_after_however_many_failures(failures: int, first: float, longest: float) -> None:
    backoff = Backoff(first, longest)
    backoff.failures = failures
    assert 0 <= backoff.next() <= longest


@given(failures=st.integers(1, 10**6), first=st.floats(0.001, 10), longest=st.floats(10, 100))
def test_delays_double_up_to_the_longest_with_jitter(failures: int, first: float, longest: float) -> None:
    full = float(min(longest, first * 2 ** min(failures - 1, 60)))
    assert full / 2 <= delay_s(failures, first, longest) <= full
    assert delay_s(0, first, longest) == 0


@pytest.mark.parametrize("at_once", [True, False])
def test_the_first_retry_is_immediate_only_where_that_is_chosen(at_once: bool) -> None:
    backoff = Backoff(8, 60, at_once=at_once)
    assert (backoff.next() == 0) is at_once
    assert 4 <= backoff.next() <= 16
    backoff.worked()
    assert (backoff.next() == 0) is at_once


async def test_work_that_fails_is_tried_again_and_each_failure_is_told() -> None:
    stop, told, tries = asyncio.Event(), list[tuple[str, int]](), 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        match tries:
            case 1:
                raise ZeroDivisionError("a bug")
            case 2:
                raise ConnectionError("unlisted")
            case 3:
                async with asyncio.TaskGroup() as group:
                    group.create_task(raising(ExchangeFailed("away", "wait")))
            case _:
                stop.set()

    await bulkhead(
        work, stop, failed=lambda error, failures: told.append((reason(error), failures)), backoff=Backoff(0.001, 0.001)
    )
    assert told == [("ZeroDivisionError('a bug')", 1), ("ConnectionError('unlisted')", 2), ("away; wait", 3)]


async def raising(error: Exception) -> None:
    raise error


async def test_whoever_was_overtaken_does_not_try_again_whatever_else_failed() -> None:
    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(raising(ValueError("also")))
            group.create_task(raising(Fenced("taken over")))

    with pytest.raises(Fenced):
        await bulkhead(work, asyncio.Event(), failed=lambda error, failures: None)


async def test_a_cancellation_ends_work_that_fails_over_it() -> None:
    """A task group that fails while it is cancelled raises its error alone (Python 3.11)."""
    begun = asyncio.Event()

    async def failing() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("no end") from None

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(failing())

    task = asyncio.create_task(bulkhead(work, asyncio.Event(), failed=lambda error, failures: None))
    await begun.wait()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=100)
    assert task in done
    assert task.cancelled()


async def test_work_that_lasts_after_failures_has_recovered_once() -> None:
    stop, recoveries, tries = asyncio.Event(), 0, 0

    def recovered() -> None:
        nonlocal recoveries
        recoveries += 1
        stop.set()

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise ValueError
        await stop.wait()

    backoff = Backoff(0.001, 0.001)
    await bulkhead(work, stop, failed=lambda error, failures: None, recovered=recovered, backoff=backoff, steady_s=1.0)
    assert (recoveries, backoff.failures) == (1, 0)


async def test_a_stop_ends_the_waiting_between_two_attempts() -> None:
    stop, failed = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        raise ValueError

    def told(error: Exception, failures: int) -> float:
        failed.set()
        return 3600.0

    task = asyncio.create_task(bulkhead(work, stop, failed=told))
    await failed.wait()
    stop.set()
    async with asyncio.timeout(100):
        await task
