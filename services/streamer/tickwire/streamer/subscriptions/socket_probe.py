"""Finds out whether a socket still answers: a broken one and one on which nothing happens look alike until then."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from aiohttp import ClientError

from tickwire.exchange.ccxt_patches.monotonic_time import monotonic_ms
from tickwire.exchange.ccxt_types import CcxtClient

ANSWER_S = 1.0
_FIRST_LOOK_S = 0.01


class SocketProbe:
    """Pings sockets, each one once for all of its feeds: venues limit the messages that they accept."""

    def __init__(self) -> None:
        self._asked: WeakKeyDictionary[CcxtClient, int] = WeakKeyDictionary()

    async def answers(self, client: CcxtClient, since: int) -> bool:
        """Whether a socket answers a ping that was sent at or after `since` (monotonic, ms).

        Then all that the exchange sent before its answer has been taken. Takes two seconds at most.
        """
        if not client.isConnected or client.error or client.closed():
            return False
        asked = self._asked.get(client, 0)
        if asked < since:
            self._asked[client] = asked = monotonic_ms()
            try:
                async with asyncio.timeout(ANSWER_S):
                    # As ccxt's own `Client.ping_loop`: some exchanges expect a text.
                    await (client.send(client.ping(client)) if client.ping else client.connection.ping())
            except (OSError, ClientError, TimeoutError):
                return False
        waited, look = 0.0, _FIRST_LOOK_S
        # ccxt has no event for a pong, and counts a pong as received when it begins to ping.
        while min(client.lastPong or 0, client.last_message_at or 0) < asked:
            if waited >= ANSWER_S:
                return False
            await asyncio.sleep(look)
            waited, look = waited + look, look * 2
        return True
