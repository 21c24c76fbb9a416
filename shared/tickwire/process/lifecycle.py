"""Runs a process: signals, one event loop, exit codes; and waiting that a stop event ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from enum import IntEnum
from typing import TypeVar

from tickwire.errors import BadRequest, ConfigError, Forbidden, TickwireError, UnsupportedTimeframe
from tickwire.task_group import TaskGroup

T = TypeVar("T")

_USAGE = (BadRequest, ConfigError, Forbidden, UnsupportedTimeframe)
"""Errors in the input of a command."""


class Exit(IntEnum):
    """Exit codes of every tickwire command; that of Ctrl-C follows the shell (128 + signal)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    INTERRUPTED = 130


def run(main: Callable[[asyncio.Event], Awaitable[int | None]]) -> int:
    """Run `main(stop)` on a fresh loop (uvloop where it is installed) and return its exit code.

    SIGTERM and SIGINT set `stop`; `main` then finishes accepted work and returns. A second SIGINT cancels it. After
    SIGINT (Ctrl-C) the exit code of what has not failed is INTERRUPTED, whatever it was doing; after SIGTERM that of
    what runs until it is stopped is OK.
    A TickwireError is printed in one line on standard error; any other exception is a bug and shows its traceback.
    """
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_supervise(main)) or Exit.OK
    except (TickwireError, BaseExceptionGroup) as error:
        first = leaf(error)
        if isinstance(first, TickwireError):
            print(f"tickwire: {first}", file=sys.stderr)
            return Exit.USAGE if isinstance(first, _USAGE) else Exit.FAILED
        if isinstance(first, KeyboardInterrupt | asyncio.CancelledError):
            return Exit.INTERRUPTED
        raise
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED


async def _supervise(main: Callable[[asyncio.Event], Awaitable[int | None]]) -> int | None:
    stop = asyncio.Event()
    with stopping_on_signals(stop) as interrupted:
        code = await main(stop)
    return code or (Exit.INTERRUPTED if interrupted.is_set() else Exit.OK)


@contextmanager
def stopping_on_signals(stop: asyncio.Event) -> Iterator[asyncio.Event]:
    """While inside, SIGTERM and the first SIGINT set `stop`; a second SIGINT cancels the current task.

    Yields an event that is set by SIGINT.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    interrupted = asyncio.Event()

    def interrupt() -> None:
        if stop.is_set():
            task.cancel()
        interrupted.set()
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)


async def until_stopped(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Run `work` until it ends or `stop` is set; then cancel it and wait until it has ended."""
    await unless_stopped(stop, work)


async def unless_stopped(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """The result of `work`; None if `stop` is set first: `work` is then cancelled, and has ended."""
    task, worker, waiter = asyncio.current_task(), asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    before = task.cancelling() if task else 0
    try:
        await asyncio.wait({worker, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        worker.cancel()
        result: T | None = None
        try:
            result = await worker
        except asyncio.CancelledError:
            if task and task.cancelling() > before:
                raise
    return result


async def first_of(seconds: float | None, *awaitables: Awaitable[object]) -> None:
    """Wait for the first of some, `seconds` at most (None: without a limit); the others are cancelled."""
    waiters = [asyncio.ensure_future(each) for each in awaitables]
    try:
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()


async def pause(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until `event` is set, for `seconds` at most (None: without a limit); whether it was set."""
    if seconds is None:
        return await event.wait()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False


def start(group: TaskGroup, work: Coroutine[object, object, T]) -> asyncio.Task[T] | None:
    """Start `work` in a task group; None if the group is ending, because it was cancelled or one of its tasks failed.

    For callbacks, which may be called while the group waits for its last tasks: `create_task` raises RuntimeError then.
    """
    try:
        return group.create_task(work)
    except RuntimeError:
        # Python 3.11 and 3.12 leave it open, and warn that it was never awaited.
        work.close()
        return None


@asynccontextmanager
async def ending_within(stop: asyncio.Event, seconds: float) -> AsyncIterator[None]:
    """Cancel the block if it has not ended `seconds` after `stop` was set; it then raises TimeoutError."""
    loop = asyncio.get_running_loop()

    async def limit() -> None:
        await stop.wait()
        timeout.reschedule(loop.time() + seconds)

    async with asyncio.timeout(None) as timeout:
        limiting = asyncio.ensure_future(limit())
        try:
            yield
        finally:
            limiting.cancel()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def leaf(error: BaseException) -> BaseException:
    """The first plain exception within nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Every plain exception within nested exception groups."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


@asynccontextmanager
async def unwrapped() -> AsyncIterator[None]:
    """Raise the first error instead of its group, if it is the only one or all are TickwireErrors of one kind."""
    try:
        yield
    except BaseExceptionGroup as errors:
        kinds = {type(error) for error in errors.exceptions}
        if len(errors.exceptions) == 1 or (len(kinds) == 1 and issubclass(kinds.pop(), TickwireError)):
            error = errors.exceptions[0]
            context = error.__context__
            try:
                raise error
            finally:
                # Show what caused the error, not the group that it was in.
                error.__context__ = context
        raise
