"""Loading the markets of an exchange beside the loop.

ccxt 4.5.90 parses a listing and makes its tables in one turn of the loop: 0.48 s of CPU for 3,500 markets of binance
(measured), which is more than a third of a short lease. Here a twin of the exchange does it in a thread of its own;
whatever goes to the exchange (requests, their throttling) still goes through the exchange itself, on the loop. What
the twin found is then taken over in one turn, so that nobody sees half of a table.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

_NETWORK = ("session", "tcp_connector", "aiohttp_socks_connector", "socks_proxy_sessions", "asyncio_loop")
_OWN = frozenset({*_NETWORK, "fetch", "throttle", "options", "clients", "markets_loading", "reloading_markets"})
"""What the twin has for itself."""


async def beside(exchange: Any, load: Callable[[Any], Awaitable[Any]]) -> Any:
    """What `load` returns for a twin of `exchange`, in a thread; then `exchange` has the tables that the twin loaded.

    What `load` raises comes out as it is, and leaves the exchange as it was.
    """
    twin = _twin(exchange, asyncio.get_running_loop())
    before = dict(twin.__dict__)
    options = dict(exchange.options)
    result = await _in_thread(lambda: load(twin))
    _take_over(exchange, twin, before, options)
    return result


def _twin(exchange: Any, loop: asyncio.AbstractEventLoop) -> Any:
    """A copy that sends what it has to send through `exchange`, and has no connection of its own."""
    twin = copy.copy(exchange)

    async def fetch(*request: Any, **named: Any) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(exchange.fetch(*request, **named), loop))

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
    # Of the options only what the twin changed: others may have been changed meanwhile.
    for name, value in twin.options.items():
        if name not in options or value is not options[name]:
            exchange.options[name] = value


async def _in_thread(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run `work` on a loop of its own in a thread of its own; to cancel the caller cancels it.

    Not in the loop's executor: aiohttp resolves names there, which would wait for threads that wait for it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    cancelled = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    def tell(result: Any, error: BaseException | None) -> None:
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
            result = asyncio.run(main())
        except BaseException as error:  # noqa: BLE001  it is raised where the work was asked for
            failed = error
        # Where the loop has ended, nobody waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, result, failed)

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
