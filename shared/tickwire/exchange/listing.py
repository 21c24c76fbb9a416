"""The markets that an exchange lists: loaded at first use, and reloaded before a symbol counts as unknown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from tickwire.errors import UnknownSymbol
from tickwire.exchange.ccxt_types import Market, OpenedExchange
from tickwire.model.nearest import did_you_mean, nearest

AGAIN_S = 30.0
"""An exchange is asked for its markets at most once in this time for symbols that it does not list."""
OLD_S = 3600.0
"""Markets older than this are reloaded at the next request: some may have been delisted."""

Load = Callable[[bool], Awaitable[object]]
"""Loads the markets of a ccxt exchange; with True, again. Its exceptions are raised unchanged."""


class Listing:
    """The markets of one opened ccxt exchange. Concurrent callers share one request to the exchange."""

    def __init__(self, exchange: OpenedExchange) -> None:
        self._exchange = exchange
        self._turn = asyncio.Lock()
        self._loaded_at = float("-inf")
        self._tried_at = float("-inf")
        self._failed_at = float("-inf")
        """When the last attempt failed while no markets were known."""
        self._refusal: Exception | None = None
        """The exception of the last attempt, if it failed."""

    async def load(self, load: Load) -> None:
        """Load the markets unless they are loaded. Raises what `load` raises."""
        asked_at = time.monotonic()
        async with self._turn:
            await self._first(load, asked_at)

    async def find(self, symbol: str, load: Load) -> Market | None:
        """ccxt's description of a market; None if the exchange, asked within the last AGAIN_S, does not list it.

        Raises what `load` raises if the exchange does not answer and the symbol is not known from before.
        """
        if (found := self._known(symbol)) is not None and not self._is_old:
            return found
        asked_at = time.monotonic()
        async with self._turn:
            await self._first(load, asked_at)
            found = self._known(symbol)
            if found is not None and not self._is_old:
                return found
            if time.monotonic() - self._tried_at < AGAIN_S:
                if found is None and self._refusal is not None:
                    raise self._refusal
                return found
            try:
                await self._again(load)
            except Exception:
                # A market listed an hour ago may still be: the exchange refuses it on use otherwise.
                if found is None:
                    raise
            return self._known(symbol)

    def _known(self, symbol: str) -> Market | None:
        return (self._exchange.markets or {}).get(symbol)

    @property
    def _is_old(self) -> bool:
        return time.monotonic() - self._loaded_at >= OLD_S

    async def _first(self, load: Load, asked_at: float) -> None:
        """Load the markets for the first time. A failed attempt counts for all callers that waited for it."""
        if self._loaded_at > float("-inf"):
            return
        if self._refusal is not None and self._failed_at >= asked_at:
            raise self._refusal
        if self._exchange.markets:
            # They are in the user's table of ccxt.
            self._loaded_at = time.monotonic()
            return
        try:
            await load(False)
        except Exception as error:
            self._refusal, self._failed_at = error, time.monotonic()
            raise
        self._refusal = None
        self._loaded_at = self._tried_at = time.monotonic()

    async def _again(self, load: Load) -> None:
        self._tried_at, self._refusal = time.monotonic(), None
        try:
            await load(True)
        except Exception as error:
            self._refusal = error
            raise
        self._loaded_at = time.monotonic()


def unknown_symbol(exchange: str, symbol: str, symbols: Iterable[str]) -> UnknownSymbol:
    """The error for a symbol that the exchange does not list; its remedy names the nearest that are listed."""
    near = nearest(symbol, symbols, 3, cutoff=0.5)
    return UnknownSymbol(
        f"{exchange} does not list {symbol}",
        did_you_mean(near) if near else "write symbols as ccxt does, such as BTC/USDT",
    )
