"""An embedded broker that is restarted on the same port whenever it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from tickwire.bus import embedded
from tickwire.errors import TickwireError
from tickwire.process import lifecycle, ports
from tickwire.process.bulkhead import reason
from tickwire.process.supervisor import HEALTHY_AFTER_S, Report, restart_backoff
from tickwire.task_group import TaskGroup

TAKEOVER_PATIENCE_S = 30.0
"""How long the broker of a killed supervisor may take to end: it writes what it holds, and the machine may be busy."""

Start = Callable[[int], AbstractAsyncContextManager[str]]
"""Runs a broker on a port; yields its URL."""


@asynccontextmanager
async def kept_broker(
    folder: Path,
    server: Path | None,
    report: Report,
    websocket: embedded.WebSocket | None = None,
    choice: Sequence[int] = (ports.ANY,),
    token: str | None = None,
) -> AsyncIterator[str]:
    """Run an embedded broker and restart it, on the same port, when it ends; yields its URL.

    It listens on the first free port of `choice`, and requires `token` if one is given. Raises as
    `embedded.embedded` does when the first start fails.
    """
    stop = asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await _predecessor_gone(folder)
    async with lifecycle.unwrapped(), TaskGroup() as group:
        start = partial(_start, folder, server, websocket, token)
        group.create_task(_keep_broker(start, choice, stop, ready, report))
        try:
            yield await ready
        finally:
            stop.set()


def _start(
    folder: Path, server: Path | None, websocket: embedded.WebSocket | None, token: str | None, port: int
) -> AbstractAsyncContextManager[str]:
    return embedded.embedded(folder, server=server, port=port, websocket=websocket, token=token)


async def _keep_broker(
    start: Start, choice: Sequence[int], stop: asyncio.Event, ready: asyncio.Future[str], report: Report
) -> None:
    port, *others = choice
    backoff = restart_backoff()
    while not stop.is_set():
        began = time.monotonic()
        try:
            async with start(port) as url:
                port = int(url.rpartition(":")[2])
                if not ready.done():
                    ready.set_result(url)
                await stop.wait()
        except (TickwireError, OSError) as error:
            # After the first start every cause may pass: a full disk, a binary that is being replaced.
            if not ready.done():
                if isinstance(error, embedded.PortTaken) and error.port == port and others:
                    port, *others = others
                    continue
                raise
            if time.monotonic() - began > HEALTHY_AFTER_S:
                backoff.worked()
            pause = backoff.next()
            report(f"the broker ended; starting it again in {pause:.1f} s: {reason(error)}")
            await lifecycle.pause(stop, pause)


async def _predecessor_gone(folder: Path) -> None:
    """Wait while the broker of a killed supervisor ends."""
    deadline = time.monotonic() + TAKEOVER_PATIENCE_S
    # Polled: the lock of another process has no event for its release.
    while embedded.in_use(folder) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
