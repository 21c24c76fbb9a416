"""FrameRouter that nobody watches anything on any more: they are closed, and ccxt forgets them."""

from __future__ import annotations

import asyncio
from typing import Any

from ccxt.base import errors

from tickwire.observe import logs
from tickwire.process.bulkhead import bulkhead
from tickwire.streamer.subscriptions.frame_router import FrameRouter

log = logs.get(__name__)

LINGER_S = 2.0
"""How long a socket stays open after its last feed has left: the next one may need it at once."""


class IdleSockets:
    """Closes the unused sockets of one exchange."""

    def __init__(self, exchange: Any, router: FrameRouter) -> None:
        self._exchange = exchange
        self._router = router
        self._departed = asyncio.Event()

    def departed(self) -> None:
        """A feed has left its socket."""
        self._departed.set()

    async def close(self) -> None:
        """Close what is unused after each departure, until cancelled."""
        await bulkhead(self._close, asyncio.Event(), failed=self._failed)

    async def _close(self) -> None:
        while True:
            await self._departed.wait()
            await asyncio.sleep(LINGER_S)
            self._departed.clear()
            for client in list((self._exchange.clients or {}).values()):
                if not self._router.uses(client):
                    client.on_error(errors.NetworkError("nobody watches anything on this socket any more"))
            self._router.prune()

    def _failed(self, error: Exception, failures: int) -> None:
        log.error("unused sockets were not closed", exchange=self._exchange.id, failures=failures, exc_info=error)
