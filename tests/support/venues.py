"""A venue on a simulated exchange, and a sink that remembers what it was given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from support.hearing import Changing
from support.processes import SimulatorProcess
from support.web import exchange_at
from tickwire.exchange.ccxt_patches.socket_hooks import Hooks
from tickwire.model.feeds import Feed, Trade
from tickwire.settings import Settings, StreamerSettings
from tickwire.streamer.subscriptions.live_venue import LiveVenue, open_live_venue

BTC = Feed("trade", "binance", "BTC/USDT")
PATHS = {
    "typed": Hooks(),
    "resolve": Hooks(text=False),
    "awaits": Hooks(text=False, result=False),
}
"""The ways that data takes, from the fastest: frames, ccxt's results, and what its awaits return."""


@asynccontextmanager
async def as_new(running: SimulatorProcess) -> AsyncIterator[SimulatorProcess]:
    """A simulator that other tests use too: without faults, its log empty, with a connection to its control."""
    async with aiohttp.ClientSession() as http:
        process = SimulatorProcess(running.url, running.process, http)
        await process.clear()
        await process.forget_log()
        yield process


def counted(trades: Sequence[Trade]) -> list[int]:
    """Their ids, checked to count up by one."""
    ids = [int(trade.id or -1) for trade in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    return ids


class Memory(Changing):
    """A sink."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Any] = []
        self.told: list[str] = []
        """connected, disconnected, rejected (also of what was left out): in order."""
        self.reasons: list[str] = []

    def take(self, items: Sequence[Any], received: int) -> None:
        self.items.extend(items)
        self.changed()

    def connected(self) -> None:
        self._tell("connected", "")

    def disconnected(self, reason: str) -> None:
        self._tell("disconnected", reason)

    def rejected(self, reason: str) -> None:
        self._tell("rejected", reason)

    def left_out(self, reason: str) -> None:
        self._tell("rejected", reason)

    def _tell(self, what: str, reason: str) -> None:
        self.told.append(what)
        self.reasons.append(reason)
        self.changed()

    def shown(self) -> str:
        return f"{len(self.items)} items, the last {self.items[-1:]}, told {self.told} {self.reasons}"

    async def get(self, count: int) -> list[Any]:
        """The items, at least so many."""
        await self.until(lambda: len(self.items) >= count)
        return self.items


def settings(url: str, exchange: str = "binance", types: Sequence[str] = ("spot",), **streamer: Any) -> Settings:
    """Settings with an exchange that is served at `url`."""
    # Without fees, for which ccxt's kucoin has every market's day computed.
    own = exchange_at(url, options={"fetchMarkets": {"types": list(types), "fetchTickersFees": False}})
    return Settings(streamer=StreamerSettings(**streamer), exchange={exchange: own})


@asynccontextmanager
async def venue_at(
    url: str,
    exchange: str = "binance",
    *,
    hooks: Hooks | None = None,
    types: Sequence[str] = ("spot",),
    **streamer: Any,
) -> AsyncIterator[LiveVenue]:
    """An exchange opened at a simulator."""
    async with open_live_venue(exchange, settings(url, exchange, types, **streamer), hooks=hooks) as venue:
        yield venue
