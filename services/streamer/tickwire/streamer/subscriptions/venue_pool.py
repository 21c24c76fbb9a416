"""The opened exchanges of this process: each opened at first use, and shared by all its feeds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tickwire.errors import ExchangeFailed, TickwireError
from tickwire.observe import logs
from tickwire.process.bulkhead import reason
from tickwire.settings import Settings
from tickwire.streamer.subscriptions.live_venue import LiveVenue, open_live_venue

log = logs.get(__name__)


class VenuePool:
    """Made by `open_venue_pool`."""

    def __init__(self, settings: Settings, group: asyncio.TaskGroup, closing: asyncio.Event) -> None:
        self._settings = settings
        self._group = group
        self._closing = closing
        self._opened: dict[str, asyncio.Future[LiveVenue]] = {}

    async def get(self, exchange: str) -> LiveVenue:
        """The opened exchange. Raises UnknownExchange, and ConfigError when ccxt refuses its table."""
        if exchange not in self._opened:
            self._opened[exchange] = asyncio.get_running_loop().create_future()
            self._group.create_task(self._run(exchange, self._opened[exchange]))
        return await asyncio.shield(self._opened[exchange])

    async def _run(self, exchange: str, ready: asyncio.Future[LiveVenue]) -> None:
        # What is opened in a task must be closed in the same one.
        try:
            async with open_live_venue(exchange, self._settings) as venue:
                ready.set_result(venue)
                await self._closing.wait()
        except Exception as error:
            # One exchange's failure ends none of the others; it is opened anew for the next who asks.
            del self._opened[exchange]
            if ready.done():
                log.exception("an exchange was closed", exchange=exchange)
            else:
                log.warning("an exchange could not be opened", exchange=exchange, error=reason(error))
                # Told to whoever waits.
                ready.set_exception(error if isinstance(error, TickwireError) else _refusal(exchange, error))


def _refusal(exchange: str, error: Exception) -> ExchangeFailed:
    """What ccxt, or a package that it imports, has against the exchange."""
    refusal = ExchangeFailed(f"{exchange} cannot be opened: {reason(error)}", "see the streamer's log")
    refusal.__cause__ = error
    return refusal


@asynccontextmanager
async def open_venue_pool(settings: Settings) -> AsyncIterator[VenuePool]:
    """Exchanges that stay open as long as the block lasts."""
    closing = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        try:
            yield VenuePool(settings, group, closing)
        finally:
            closing.set()
