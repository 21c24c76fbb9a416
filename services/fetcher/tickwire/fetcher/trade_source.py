"""The history of one market with the retries of its exchange's calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from tickwire.exchange.ccxt_types import OpenedExchange
from tickwire.exchange.trade_history import TradeHistory
from tickwire.fetcher.calls import Calls, OnRetry
from tickwire.model import plausibility
from tickwire.model.feeds import Trade
from tickwire.model.times import now_ms
from tickwire.venues.registry import profile_of

CLOCK_S = 10.0
"""The age up to which a comparison with the exchange's clock is used again."""


class MarketHistory:
    """A `trade_paging.TradeSource`. Methods raise ExchangeFailed, RequestRefused."""

    def __init__(self, exchange: OpenedExchange, calls: Calls, symbol: str, on_retry: OnRetry) -> None:
        self._exchange = exchange
        self._calls = calls
        self._symbol = symbol
        self._on_retry = on_retry
        latest = partial(_latest, exchange)
        self._history = TradeHistory(exchange, profile_of(exchange.id).trades, latest)

    @property
    def reach_ms(self) -> int | None:
        """See `TradeSource`."""
        return self._history.facts.reach_ms

    async def now(self) -> int:
        """The exchange's time, ms; the earlier one of its clock and ours."""
        clock = self._exchange.clock
        if clock.asks:
            await self._calls("its clock", partial(clock.compare, CLOCK_S), self._on_retry)
        found = clock.now()
        return now_ms() if found is None else min(found, now_ms())

    async def newest(self) -> list[Trade]:
        """See `TradeSource.newest`."""
        return await self._call("newest", partial(self._history.newest, self._symbol))

    async def from_id(self, first: int, limit: int | None = None) -> list[Trade]:
        """See `TradeSource.from_id`."""
        return await self._call(f"from {first}", partial(self._history.from_id, self._symbol, first, limit))

    async def from_time(self, since: int) -> list[Trade]:
        """See `TradeSource.from_time`."""
        return await self._call(f"from {since}", partial(self._history.from_time, self._symbol, since))

    async def before_time(self, until: int) -> list[Trade]:
        """See `TradeSource.before_time`."""
        return await self._call(f"before {until}", partial(self._history.before_time, self._symbol, until))

    async def before_id(self, id_: str) -> list[Trade]:
        """See `TradeSource.before_id`."""
        return await self._call(f"before {id_}", partial(self._history.before_id, self._symbol, id_))

    async def _call(self, which: str, request: Callable[[], Awaitable[list[Trade]]]) -> list[Trade]:
        return await self._calls(f"{self._symbol} trades {which}", request, self._on_retry)


def _latest(exchange: OpenedExchange) -> int:
    return plausibility.latest(exchange.clock.latest(), now_ms())
