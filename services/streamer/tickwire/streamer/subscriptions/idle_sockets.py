"""Closes sockets that no feed uses any more, so that ccxt drops them."""

from __future__ import annotations

import asyncio

from ccxt.base import errors

from tickwire.exchange.ccxt_types import CcxtExchange
from tickwire.streamer.subscriptions.frame_router import FrameRouter

LINGER_S = 2.0
"""How long a socket stays open after its last feed has left: the next feed may need it at once."""


class IdleSockets:
    """Closes the unused sockets of one exchange."""

    def __init__(self, exchange: CcxtExchange, router: FrameRouter) -> None:
        self._exchange = exchange
        self._router = router
        self._departed = asyncio.Event()

    def departed(self) -> None:
        """A feed has left its socket."""
        self._departed.set()

    async def run(self) -> None:
        """Close unused sockets after each departure, until cancelled."""
        while True:
            await self._departed.wait()
            await asyncio.sleep(LINGER_S)
            self._departed.clear()
            for client in list((self._exchange.clients or {}).values()):
                if not self._router.uses(client):
                    client.on_error(errors.NetworkError("no feed uses this socket any more"))
            self._router.prune()
