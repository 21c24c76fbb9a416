"""One opened exchange as the fetcher uses it: its clock, its symbols, its pages of candles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from ccxt.base import errors

from tickwire import config, exchanges
from tickwire.config import Settings
from tickwire.errors import UnsupportedTimeframe
from tickwire.exchange.clock import ExchangeClock
from tickwire.fetcher import paging
from tickwire.fetcher.calls import Calls, unknown_symbol
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.venues.registry import profile_of
from tickwire.venues.units import row_in_base, units_of

CLOCK_S = 1.0
"""How long the exchange's clock is trusted before it is asked again."""
DEFAULT_PAGE = 100
"""Candles per page where ccxt does not say: what every exchange grants."""

WINDOWED = frozenset({"coinbase", "coinbaseexchange", "gate", "gateio", "kucoin", "mexc", "okx", "okxus", "myokx"})
"""Where ccxt 4.5.90 asks for `limit` candles' time after `since` rather than for `limit` candles (read there)."""
RECENT_ONLY = frozenset({"kraken"})
"""Where nothing older than one page before now is to be had, whatever `since` says (measured)."""

Told = Callable[[], None]


class Venue:
    """An exchange, opened. Everything here raises ExchangeFailed when the exchange cannot be asked."""

    def __init__(self, exchange: Any, calls: Calls) -> None:
        self.exchange: str = exchange.id
        self._exchange = exchange
        self._calls = calls
        self._loading = asyncio.Lock()
        self._loaded = False

    async def now(self, on_retry: Told) -> int | None:
        """The exchange's time, ms, compared within the last second; None where it does not tell the time at all.

        An exchange without a call for its time tells it by the headers of whatever it answers: of its markets here.
        """
        clock: ExchangeClock = self._exchange.clock
        if clock.asks:
            await self._calls("its clock", partial(clock.compare, CLOCK_S), on_retry)
        elif clock.now() is None:
            await self._load(on_retry)
        return clock.now()

    async def paging_of(self, symbol: str, timeframe: str, on_retry: Told) -> paging.Venue:
        """How the candles of a symbol are paged. Raises UnknownSymbol, UnsupportedTimeframe."""
        await self._load(on_retry)
        market = self._exchange.markets.get(symbol)
        if market is None:
            raise unknown_symbol(self._exchange.id, symbol, self._exchange.markets)
        if timeframe not in self._exchange.timeframes:
            raise UnsupportedTimeframe(f"{self._exchange.id} has no {timeframe} candles")
        return paging.Venue(
            limit=exchanges.page_limit(self._exchange.features, market, "fetchOHLCV") or DEFAULT_PAGE,
            timeframes=frozenset(self._exchange.timeframes),
            windowed=self._exchange.id in WINDOWED,
            recent_only=self._exchange.id in RECENT_ONLY,
        )

    async def _load(self, on_retry: Told) -> None:
        async with self._loading:
            if not self._loaded:
                await self._calls("its markets", self._exchange.load_markets, on_retry)
                self._loaded = True

    async def page(self, pager: paging.Pager, symbol: str, on_retry: Told) -> paging.Proven | None:
        """Ask what `pager` asks, and have it take the answer."""
        ask = pager.ask
        assert ask is not None
        what = f"{symbol} {ask.timeframe} candles from {ask.since}"
        proven = await self._calls(what, partial(self._taken, pager, ask, symbol), on_retry)
        return None if proven is None else self._measured(symbol, proven)

    def _measured(self, symbol: str, proven: paging.Proven) -> paging.Proven:
        """Rows with their volumes in base currency where that can be had exactly, else as the exchange has them."""
        units = units_of(profile_of(self.exchange), self._exchange.markets[symbol])
        rows = [row_in_base(row, units.candles) for row in proven.rows]
        return replace(proven, rows=rows, volume_unit=units.fetches)

    async def _taken(self, pager: paging.Pager, ask: paging.Ask, symbol: str) -> paging.Proven | None:
        rows = await self._exchange.fetch_ohlcv(symbol, ask.timeframe, ask.since, ask.limit)
        try:
            return pager.take(rows)
        except paging.BadRows as error:
            raise errors.BadResponse(f"{self._exchange.id} {symbol} {ask.timeframe}: {error}") from error


@asynccontextmanager
async def open_venue(exchange: str, settings: Settings, metrics: FetcherMetrics) -> AsyncIterator[Venue]:
    """The exchange by its settings, with credentials from the environment. Raises ConfigError."""
    own = settings.of_exchange(exchange)
    credentials = config.credentials(exchange)
    # ccxt's own timeout bounds the request alone, not the waiting for our turn.
    timeout_ms = int(settings.fetcher.timeout_s * 1000)
    table = own.model_copy(update={"ccxt": {"timeout": timeout_ms, **own.ccxt}})
    async with exchanges.open_exchange(exchange, table, credentials) as opened:
        calls = Calls(opened, settings.fetcher, own.concurrency, metrics, credentials.values())
        yield Venue(opened, calls)
