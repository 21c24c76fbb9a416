"""The markets that an exchange lists: loaded at first use, and once more before a symbol is said to be unknown."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from tickwire.errors import UnknownSymbol

AGAIN_S = 30.0
"""An exchange is asked for its markets once in so long at most, whoever asks for a symbol that it does not list."""
OLD_S = 3600.0
"""Markets older than this are loaded anew when somebody asks for one: one may be gone."""

Load = Callable[[bool], Awaitable[Any]]
"""Loads the markets of a ccxt exchange: anew where it is told so. What it raises comes out as it is."""


class Listing:
    """The markets of one opened ccxt exchange, shared by all who ask; one asks the exchange at a time."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange
        self._turn = asyncio.Lock()
        self._loaded_at = float("-inf")
        self._tried_at = float("-inf")
        self._failed_at = float("-inf")
        """When the last attempt to have any markets at all failed."""
        self._refusal: Exception | None = None
        """What came of the last attempt, where it failed."""

    async def load(self, load: Load) -> None:
        """Have the markets, however old. Raises what `load` raises."""
        asked_at = time.monotonic()
        async with self._turn:
            await self._first(load, asked_at)

    async def find(self, symbol: str, load: Load) -> Any:
        """ccxt's description of a market; None where the exchange, asked within the last half minute, lists no such.

        Raises what `load` raises when the exchange does not answer, so that nothing is known of the symbol.
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
                # What was listed an hour ago may be so still; the exchange says it when it is used.
                if found is None:
                    raise
            return self._known(symbol)

    def _known(self, symbol: str) -> Any:
        return (self._exchange.markets or {}).get(symbol)

    @property
    def _is_old(self) -> bool:
        return time.monotonic() - self._loaded_at >= OLD_S

    async def _first(self, load: Load, asked_at: float) -> None:
        """Have the markets for the first time. An attempt that fails is that of all who waited for it."""
        if self._loaded_at > float("-inf"):
            return
        if self._refusal is not None and self._failed_at >= asked_at:
            raise self._refusal
        if self._exchange.markets:
            # The user's table has them.
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
    near = difflib.get_close_matches(symbol.upper(), list(symbols), n=3, cutoff=0.5)
    return UnknownSymbol(
        f"{exchange} does not list {symbol}",
        f"did you mean {' or '.join(near)}?" if near else "write symbols as ccxt does, such as BTC/USDT",
    )
