"""Loads the markets of an exchange in a thread.

ccxt 4.5.90 parses a listing and builds its tables in one turn of the loop: 0.48 s of CPU for 3,500 markets of binance
(measured), more than a third of a short lease. Here a copy of the exchange does it in a thread; requests and their
throttling still go through the exchange itself, on the loop, but for the parsing of large answers (`large_json`). The
tables are then copied back in one turn, so that a half-built table is never visible.

A thread that computes gives up the interpreter's lock every SWITCH_S only, and a collection of garbage over the new
tables (26 ms for 4,000 markets, measured) never: so none takes place meanwhile.

Upstream: no issue found.
"""

from __future__ import annotations

import asyncio
import copy
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tickwire.exchange.ccxt_patches import large_json
from tickwire.process.imports import uncollected

_NETWORK = ("session", "tcp_connector", "aiohttp_socks_connector", "socks_proxy_sessions", "asyncio_loop")
_OWN = frozenset({*_NETWORK, "fetch", "throttle", "options", "clients", "markets_loading", "reloading_markets"})
"""Attributes that the twin does not share with the exchange."""
SWITCH_S = 0.001
"""After this time the thread lets the loop have the interpreter's lock; Python's default is 5 ms."""


async def beside(exchange: Any, load: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run `load` with a twin of `exchange` in a thread, copy the tables it loaded back, and return its result.

    An exception of `load` is raised unchanged, and leaves the exchange unchanged.
    """
    twin = _twin(exchange, asyncio.get_running_loop())
    before = dict(twin.__dict__)
    options = dict(exchange.options)
    result = await _in_thread(lambda: load(twin))
    _take_over(exchange, twin, before, options)
    return result


def _twin(exchange: Any, loop: asyncio.AbstractEventLoop) -> Any:
    """A copy without connections, whose requests go through `exchange`."""
    twin = copy.copy(exchange)

    async def unparsed(*request: Any, **named: Any) -> Any:
        with large_json.postponed():
            return await exchange.fetch(*request, **named)

    async def fetch(*request: Any, **named: Any) -> Any:
        answer = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(unparsed(*request, **named), loop))
        return twin.parsed_later(answer) if isinstance(answer, large_json.Unparsed) else answer

    async def throttle(cost: Any = None) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(exchange.throttle(cost), loop))

    for name in (*_NETWORK, "markets_loading"):
        setattr(twin, name, None)
    twin.clients = {}
    twin.options = dict(exchange.options)
    twin.fetch, twin.throttle = fetch, throttle
    return twin


def _take_over(exchange: Any, twin: Any, before: dict[str, Any], options: dict[str, Any]) -> None:
    for name, value in twin.__dict__.items():
        if name not in _OWN and (name not in before or value is not before[name]):
            setattr(exchange, name, value)
    # Only the options that the twin changed: the exchange's others may have changed meanwhile.
    for name, value in twin.options.items():
        if name not in options or value is not options[name]:
            exchange.options[name] = value


class ShortTurns:
    """Makes threads of this process give up the interpreter's lock after SWITCH_S while any block of `within` runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._before = sys.getswitchinterval()

    @contextmanager
    def within(self) -> Iterator[None]:
        """The first of several blocks sets the interval, the last one restores it."""
        with self._lock:
            if not self._blocks:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, SWITCH_S))
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks:
                    sys.setswitchinterval(self._before)


_short_turns = ShortTurns()


async def _in_thread(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run `work` on a loop of its own in a thread of its own. Cancelling the caller cancels it.

    Not in the loop's executor: aiohttp resolves names there, and would wait for a thread that waits for aiohttp.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    cancelled = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    def finish(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        elif isinstance(error, asyncio.CancelledError):
            done.cancel()
        else:
            done.set_exception(error)

    async def main() -> Any:
        task = asyncio.current_task()
        assert task is not None
        running.append((asyncio.get_running_loop(), task))
        if cancelled.is_set():
            raise asyncio.CancelledError
        return await work()

    def run() -> None:
        result, failed = None, None
        try:
            with _short_turns.within(), uncollected():
                result = asyncio.run(main())
        except BaseException as error:  # noqa: BLE001  the caller raises it
            failed = error
        # If the loop has ended, no caller waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, result, failed)

    threading.Thread(target=run, name="markets", daemon=True).start()
    try:
        return await done
    except asyncio.CancelledError:
        cancelled.set()
        for own, task in running:
            # Its loop may have ended meanwhile.
            with suppress(RuntimeError):
                own.call_soon_threadsafe(task.cancel)
        raise
