"""Whether a socket of ccxt's still speaks: a silent one and one on which nothing happens look alike until asked."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import ClientError

from tickwire.exchange.ccxt_patches import monotonic_ms

ANSWER_S = 1.0
_FIRST_LOOK_S = 0.01


class SocketProbe:
    """Asks sockets for a sign of life, each once however many feeds it carries: venues count what they are sent."""

    def __init__(self) -> None:
        self._asked: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    async def answers(self, client: Any, since: int) -> bool:
        """Whether a Client of ccxt's answers a ping that was sent at or after `since` (`ccxt_patches.monotonic_ms`).

        Then all that the exchange sent before its answer was taken. Takes a second or two at most.
        """
        if not client.isConnected or client.error or client.closed():
            return False
        asked = self._asked.get(client, 0)
        if asked < since:
            self._asked[client] = asked = monotonic_ms()
            try:
                async with asyncio.timeout(ANSWER_S):
                    # As ccxt's own `Client.ping_loop` does: some exchanges want a text.
                    await (client.send(client.ping(client)) if client.ping else client.connection.ping())
            except (OSError, ClientError, TimeoutError):
                return False
        waited, look = 0.0, _FIRST_LOOK_S
        # ccxt says nothing when a pong comes, and notes one that never came as it begins to ping.
        while min(client.lastPong or 0, client.last_message_at or 0) < asked:
            if waited >= ANSWER_S:
                return False
            await asyncio.sleep(look)
            waited, look = waited + look, look * 2
        return True
