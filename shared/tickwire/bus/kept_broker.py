"""An embedded broker that is kept alive: started again, on the same port, whenever it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tickwire.bus import embedded
from tickwire.errors import TickwireError
from tickwire.process import lifecycle, ports
from tickwire.process.bulkhead import reason
from tickwire.process.supervisor import HEALTHY_AFTER_S, Report, restart_backoff

TAKEOVER_PATIENCE_S = 30.0
"""How long a killed supervisor's broker may take to follow it: it writes what it has, on a machine that may be busy."""


@asynccontextmanager
async def kept_broker(
    folder: Path,
    server: Path | None,
    report: Report,
    websocket: embedded.WebSocket | None = None,
    choice: Sequence[int] = (ports.ANY,),
    token: str | None = None,
) -> AsyncIterator[str]:
    """An embedded broker that is started again, on the same port, when it dies; yields its URL.

    It listens on the first port of `choice` that is free, and asks for `token` if there is one. Raises as
    `broker.embedded` does when it cannot be started the first time.
    """
    stop = asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await _predecessor_gone(folder)
    async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
        group.create_task(_keep_broker(folder, server, stop, ready, report, websocket, choice, token))
        try:
            yield await ready
        finally:
            stop.set()


async def _keep_broker(
    folder: Path,
    server: Path | None,
    stop: asyncio.Event,
    ready: asyncio.Future[str],
    report: Report,
    websocket: embedded.WebSocket | None,
    choice: Sequence[int],
    token: str | None,
) -> None:
    port, *others = choice
    backoff = restart_backoff()
    while not stop.is_set():
        began = time.monotonic()
        try:
            async with embedded.embedded(folder, server=server, port=port, websocket=websocket, token=token) as url:
                port = int(url.rpartition(":")[2])
                if not ready.done():
                    ready.set_result(url)
                await stop.wait()
        except (TickwireError, OSError) as error:
            # Once it was ready, whatever keeps it from starting again may pass: a full disk, a binary that is replaced.
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
    """Wait while the broker of a killed supervisor is on its way out."""
    deadline = time.monotonic() + TAKEOVER_PATIENCE_S
    # Polled: a lock of another process says nothing when it is released.
    while embedded.in_use(folder) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
