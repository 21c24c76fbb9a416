"""One opened exchange as the fetcher uses it: its clock, its symbols, its pages of candles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from ccxt.base import errors

from tickwire import settings as config
from tickwire.errors import ExchangeFailed, UnsupportedTimeframe
from tickwire.exchange import opening
from tickwire.exchange.clock import ExchangeClock
from tickwire.exchange.listing import Listing, Load
from tickwire.fetcher.calls import Calls, OnRetry, RequestRefused, unknown_symbol
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.fetcher.page_rows import BadRows
from tickwire.fetcher.pager import Pager
from tickwire.fetcher.paging_types import PageRequest, PagingFacts, ProvenPage
from tickwire.model import plausibility, timeframes
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.settings import Settings
from tickwire.venues.registry import profile_of
from tickwire.venues.units import row_in_base, units_of

log = logs.get(__name__)

CLOCK_S = 1.0
"""How long the exchange's clock is trusted before it is asked again."""
DEFAULT_PAGE = 100
"""Candles per page where ccxt does not say: what every exchange grants."""


class CandleSource:
    """An exchange, opened. Everything here raises ExchangeFailed when the exchange cannot be asked."""

    def __init__(self, exchange: Any, calls: Calls, metrics: FetcherMetrics) -> None:
        self.exchange: str = exchange.id
        self._metrics = metrics
        # So that it is there, at 0, before there is a row to reject.
        metrics.rejected.labels(exchange.id)
        self._exchange = exchange
        self._calls = calls
        self._listing = Listing(exchange)

    async def now(self, on_retry: OnRetry) -> int | None:
        """The exchange's time, ms, compared within the last second; None where it does not tell the time at all.

        An exchange without a call for its time tells it by the headers of whatever it answers: of its markets here.
        """
        clock: ExchangeClock = self._exchange.clock
        if clock.asks:
            await self._calls("its clock", partial(clock.compare, CLOCK_S), on_retry)
        elif clock.now() is None:
            await self._listing.load(self._loading(on_retry))
        return clock.now()

    async def paging_facts(self, symbol: str, timeframe: str, on_retry: OnRetry) -> PagingFacts:
        """How requests for the candles of a symbol are answered. Raises UnknownSymbol, UnsupportedTimeframe."""
        market = await self._listing.find(symbol, self._loading(on_retry))
        if market is None:
            raise unknown_symbol(self._exchange.id, symbol, self._exchange.markets)
        offered = timeframes.understood(self._exchange.timeframes or ())
        if timeframe not in offered:
            raise UnsupportedTimeframe(f"{self._exchange.id} has no {timeframe} candles")
        known = profile_of(self.exchange).candles
        return PagingFacts(
            limit=opening.page_limit(self._exchange.features, market, "fetchOHLCV") or DEFAULT_PAGE,
            timeframes=frozenset(offered),
            honoured=known.since == "honoured",
            newest=known.newest_rows,
            flat=known.quiet == "rows",
        )

    def _loading(self, on_retry: OnRetry) -> Load:
        return lambda anew: self._calls("its markets", partial(self._exchange.load_markets, anew), on_retry)

    async def page(self, pager: Pager, symbol: str, on_retry: OnRetry) -> list[ProvenPage]:
        """Ask what `pager` asks, and have it take the answer or the refusal. Raises OtherGrid."""
        ask = pager.ask
        assert ask is not None
        what = f"{symbol} {ask.timeframe} candles from {ask.since}"
        try:
            made = await self._calls(what, partial(self._taken, pager, ask, symbol), on_retry)
        except RequestRefused as refused:
            made = pager.refuse(refused.message)
        except ExchangeFailed as failed:
            # Larger timeframes only help. Where the exchange does not answer at all, the key's own say so next.
            if not pager.helps:
                raise
            made = pager.refuse(failed.message, lasting=True)
        if pager.rejected:
            self._metrics.rejected.labels(self.exchange).inc(len(pager.rejected))
            log.warning(
                "candles rejected",
                exchange=self.exchange,
                symbol=symbol,
                timeframe=ask.timeframe,
                rejected=len(pager.rejected),
                first=pager.rejected[0],
            )
        return [self._measured(symbol, proven) for proven in made]

    def _measured(self, symbol: str, proven: ProvenPage) -> ProvenPage:
        """Rows with their volumes in base currency where that can be had exactly, else as the exchange has them."""
        market = self._exchange.markets.get(symbol)
        if market is None:
            # It was taken off the list meanwhile.
            raise unknown_symbol(self.exchange, symbol, self._exchange.markets)
        units = units_of(profile_of(self.exchange), market)
        rows = [row_in_base(row, units.candles) for row in proven.rows]
        return replace(proven, rows=rows, volume_unit=units.fetches)

    async def _taken(self, pager: Pager, ask: PageRequest, symbol: str) -> list[ProvenPage]:
        page = await self._exchange.fetch_whole_page(symbol, ask.timeframe, ask.since, ask.limit, ask.until)
        clock: ExchangeClock = self._exchange.clock
        try:
            return pager.take(page, plausibility.latest(clock.latest(), now_ms()))
        except BadRows as error:
            raise errors.BadResponse(f"{self.exchange} {symbol} {ask.timeframe}: {error}") from error


@asynccontextmanager
async def open_candle_source(exchange: str, settings: Settings, metrics: FetcherMetrics) -> AsyncIterator[CandleSource]:
    """The exchange by its settings, with credentials from the environment. Raises ConfigError."""
    own = settings.of_exchange(exchange)
    credentials = config.credentials(exchange)
    # ccxt's own timeout bounds the request alone, not the waiting for our turn.
    timeout_ms = int(settings.fetcher.timeout_s * 1000)
    table = own.model_copy(update={"ccxt": {"timeout": timeout_ms, **own.ccxt}})
    async with opening.open_exchange(exchange, table, credentials) as opened:
        calls = Calls(opened, settings.fetcher, own.concurrency, metrics, credentials.values())
        yield CandleSource(opened, calls, metrics)
