"""One opened exchange as the fetcher uses it: its clock, its symbols, its pages of candles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial

from ccxt.base import errors

from tickwire import settings as config
from tickwire.errors import ExchangeFailed, UnsupportedTimeframe
from tickwire.exchange import opening
from tickwire.exchange.ccxt_types import Market, OpenedExchange
from tickwire.exchange.listing import Listing, Load, unknown_symbol
from tickwire.fetcher import page_rows
from tickwire.fetcher.calls import Calls, OnRetry, RequestRefused
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.fetcher.page_rows import BadRows, OtherGrid, PageRows, Volumes
from tickwire.fetcher.paging_types import PageRequest, PagingFacts, ProvenPage, RefusedRequest, Reply
from tickwire.fetcher.trade_source import MarketHistory
from tickwire.model import plausibility, timeframes
from tickwire.model.timeframes import Grid
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.process.loop_yield import StepPerTurn
from tickwire.settings import Settings
from tickwire.venues.registry import profile_of
from tickwire.venues.units import kind_of, row_in_base, units_of

log = logs.get(__name__)

CLOCK_S = 1.0
"""The age up to which a comparison with the exchange's clock is used again."""
GIVE_WAY_S = 2.0
"""How long a request in the background waits for other jobs of the exchange to end; then it takes a turn."""
DEFAULT_PAGE = 100
"""Candles per page where ccxt does not say: what every exchange grants."""


class CandleSource:
    """An opened exchange. Every method that calls it raises ExchangeFailed when all attempts failed."""

    def __init__(self, exchange: OpenedExchange, calls: Calls, metrics: FetcherMetrics) -> None:
        self.exchange: str = exchange.id
        self._metrics = metrics
        # The series exists from the start, at 0.
        metrics.rejected.labels(exchange.id)
        self._exchange = exchange
        self._calls = calls
        self._listing = Listing(exchange)
        metrics.audited.labels(exchange.id)
        metrics.differences.labels(exchange.id)
        self._fetching = 0
        """Jobs that fetch pages, but those in the background."""
        self._idle = asyncio.Event()
        self._background = asyncio.Lock()

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """Count a job within the block as one that fetches pages."""
        self._fetching += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._fetching -= 1
            if not self._fetching:
                self._idle.set()

    @asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        """Send a request of a job in the background within the block: one at a time, and seldom while others fetch."""
        async with self._background:
            if self._fetching:
                await lifecycle.pause(self._idle, GIVE_WAY_S)
            yield

    def share(self) -> int:
        """How many requests a job may have on their way at the same time, so that all jobs get as many."""
        return -(-self._calls.concurrency // max(1, self._fetching))

    async def now(self, on_retry: OnRetry) -> int | None:
        """The exchange's time (ms), compared within the last second; None where the exchange has no clock at all.

        Without a call for the time it comes from the headers of any answer: here, that of its markets.
        """
        clock = self._exchange.clock
        if clock.asks:
            await self._calls("its clock", partial(clock.compare, CLOCK_S), on_retry)
        elif clock.now() is None:
            await self._listing.load(self._loader(on_retry))
        return clock.now()

    async def paging_facts(self, symbol: str, timeframe: str, on_retry: OnRetry) -> PagingFacts:
        """How requests for the candles of a symbol are answered. Raises UnknownSymbol, UnsupportedTimeframe."""
        market = await self.market(symbol, on_retry)
        declared = profile_of(self.exchange).candles
        offered = declared.offered(timeframes.offered(self._exchange.timeframes or {}), kind_of(market))
        if timeframe not in offered:
            raise UnsupportedTimeframe(f"{self.exchange} has no {timeframe} candles of {symbol}", opening.has(offered))
        return PagingFacts(
            limit=opening.page_limit(self._exchange.features, market, "fetchOHLCV") or DEFAULT_PAGE,
            timeframes=frozenset(offered),
            honours_since=declared.since == "honoured",
            windowed=declared.windowed is True,
            newest_rows=declared.newest_rows,
            quiet_rows=declared.quiet == "rows",
        )

    async def market(self, symbol: str, on_retry: OnRetry) -> Market:
        """A market as ccxt describes it. Raises UnknownSymbol."""
        market = await self._listing.find(symbol, self._loader(on_retry))
        if market is None:
            raise unknown_symbol(self.exchange, symbol, self._exchange.markets or ())
        return market

    def history(self, symbol: str, on_retry: OnRetry) -> MarketHistory:
        """The past trades of a market; `market` comes first."""
        return MarketHistory(self._exchange, self._calls, symbol, on_retry)

    def _loader(self, on_retry: OnRetry) -> Load:
        return lambda anew: self._calls("its markets", partial(self._exchange.load_markets, anew), on_retry)

    async def fetch(self, request: PageRequest, symbol: str, grid: Grid, on_retry: OnRetry) -> Reply:
        """Send a pager's request for candles of `grid`, or of a larger timeframe; the parsed reply or refusal.

        Raises OtherGrid when the candles open on another grid.
        """
        start = "the newest" if request.since is None else f"from {request.since}"
        what = f"{symbol} {request.timeframe} candles {start}"
        try:
            reply = await self._calls(what, partial(self._page, request, symbol, grid), on_retry)
        except RequestRefused as refused:
            return RefusedRequest(refused.message)
        except ExchangeFailed as failed:
            # A larger timeframe is optional. If the exchange is away, the next request for the key's own fails as well.
            if request.timeframe == grid.timeframe:
                raise
            return RefusedRequest(failed.message, for_good=True)
        if isinstance(reply, OtherGrid):
            raise reply
        if isinstance(reply, PageRows) and reply.rejected:
            self._report_rejected(symbol, grid.timeframe, reply.rejected)
        return reply

    async def _page(self, request: PageRequest, symbol: str, grid: Grid) -> PageRows | Volumes | OtherGrid:
        """Make one attempt. Rows that cannot be candles fail it, so that it is retried."""
        page = await self._exchange.fetch_whole_page(
            symbol, request.timeframe, request.since, request.limit, request.until
        )
        clock = self._exchange.clock
        try:
            async with self._exchange.steps:
                return page_rows.parse(page, request.timeframe, grid, plausibility.latest(clock.latest(), now_ms()))
        except BadRows as error:
            raise errors.BadResponse(f"{self.exchange} {symbol} {request.timeframe}: {error}") from error
        except OtherGrid as other:
            # No error of the exchange, so it must not be retried.
            return other

    def _report_rejected(self, symbol: str, timeframe: str, reasons: list[str]) -> None:
        self._metrics.rejected.labels(self.exchange).inc(len(reasons))
        log.warning(
            "candles rejected",
            exchange=self.exchange,
            symbol=symbol,
            timeframe=timeframe,
            rejected=len(reasons),
            first=reasons[0],
        )

    def in_base_currency(self, symbol: str, page: ProvenPage) -> ProvenPage:
        """The page with volumes in base currency where the conversion is exact, else as the exchange gives them.

        Raises UnknownSymbol when the symbol is no longer listed.
        """
        markets = self._exchange.markets or {}
        market = markets.get(symbol)
        if market is None:
            raise unknown_symbol(self.exchange, symbol, markets)
        units = units_of(profile_of(self.exchange), market)
        rows = [row_in_base(row, units.candles) for row in page.rows]
        return replace(page, rows=rows, volume_unit=units.fetches)


@asynccontextmanager
async def open_candle_source(
    exchange: str, settings: Settings, metrics: FetcherMetrics, steps: StepPerTurn | None = None
) -> AsyncIterator[CandleSource]:
    """Open an exchange by its settings, with credentials from the environment. Raises ConfigError.

    `steps`: those that it shares with other exchanges and jobs of the process.
    """
    own = settings.of_exchange(exchange)
    credentials = config.credentials(exchange)
    await opening.described(exchange)
    # ccxt's timeout bounds the request alone, not the wait for ccxt's throttle.
    timeout_ms = int(settings.fetcher.timeout_s * 1000)
    table = own.model_copy(update={"ccxt": {"timeout": timeout_ms, **own.ccxt}})
    async with opening.open_exchange(exchange, table, credentials) as opened:
        opened.steps = steps or opened.steps
        calls = Calls(opened, settings.fetcher, own.concurrency, metrics, credentials.values())
        yield CandleSource(opened, calls, metrics)
