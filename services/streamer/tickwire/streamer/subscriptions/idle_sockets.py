"""Closes sockets that no feed uses any more, so that ccxt drops them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ccxt.base import errors

from tickwire.exchange.ccxt_types import CcxtClient, CcxtExchange
from tickwire.streamer.subscriptions.frame_router import FrameRouter

LINGER_S = 2.0
"""How long a socket stays open after its last feed has left: the next feed may need it at once."""


class IdleSockets:
    """Closes the unused sockets of one exchange."""

    def __init__(self, exchange: CcxtExchange, router: FrameRouter) -> None:
        self._exchange = exchange
        self._router = router
        self._departed = asyncio.Event()
        self._left: list[CcxtClient] = []

    @contextmanager
    def leaving(self, client: CcxtClient | None) -> Iterator[None]:
        """Keep a socket open within the block: a feed unsubscribes there. `departed` has to follow."""
        kept = [] if client is None else [client]
        self._left += kept
        try:
            yield
        finally:
            for each in kept:
                self._left.remove(each)

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
                if client not in self._left and not self._router.uses(client):
                    client.on_error(errors.NetworkError("no feed uses this socket any more"))
            self._router.prune()
