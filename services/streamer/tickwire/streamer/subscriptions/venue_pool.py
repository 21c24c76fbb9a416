"""The opened exchanges of this process: each is opened at first use and shared by all of its feeds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tickwire.errors import ExchangeFailed, TickwireError
from tickwire.observe import logs
from tickwire.process.bulkhead import reason
from tickwire.process.turns import Turns
from tickwire.settings import Settings
from tickwire.streamer.subscriptions.live_venue import LiveVenue, open_live_venue
from tickwire.task_group import TaskGroup

log = logs.get(__name__)


class VenuePool:
    """Created by `open_venue_pool`."""

    def __init__(self, settings: Settings, turns: Turns, group: TaskGroup, closing: asyncio.Event) -> None:
        self._settings = settings
        self._turns = turns
        self._group = group
        self._closing = closing
        self._opened: dict[str, asyncio.Future[LiveVenue]] = {}

    async def get(self, exchange: str) -> LiveVenue:
        """The opened exchange. Raises UnknownExchange, ExchangeFailed, and ConfigError if ccxt refuses its table."""
        if exchange not in self._opened:
            self._opened[exchange] = asyncio.get_running_loop().create_future()
            self._group.create_task(self._run(exchange, self._opened[exchange]))
        return await asyncio.shield(self._opened[exchange])

    async def _run(self, exchange: str, ready: asyncio.Future[LiveVenue]) -> None:
        # A task group must be closed by the task that opened it.
        try:
            async with open_live_venue(exchange, self._settings, turns=self._turns) as venue:
                ready.set_result(venue)
                await self._closing.wait()
        except Exception as error:
            # A failure of one exchange ends no other. It is opened again for the next caller.
            del self._opened[exchange]
            if ready.done():
                log.exception("an exchange was closed", exchange=exchange)
            else:
                log.warning("an exchange could not be opened", exchange=exchange, error=reason(error))
                # Raised to all who wait for it.
                ready.set_exception(error if isinstance(error, TickwireError) else _refusal(exchange, error))


def _refusal(exchange: str, error: Exception) -> ExchangeFailed:
    """The error for a failure of ccxt, or of a package that it imports."""
    refusal = ExchangeFailed(f"{exchange} cannot be opened: {reason(error)}", "see the streamer's log")
    refusal.__cause__ = error
    return refusal


@asynccontextmanager
async def open_venue_pool(settings: Settings, turns: Turns) -> AsyncIterator[VenuePool]:
    """Keep exchanges open until the end of the block. They share the turns of the loop."""
    closing = asyncio.Event()
    async with TaskGroup() as group:
        try:
            yield VenuePool(settings, turns, group, closing)
        finally:
            closing.set()
