"""Answers `fetcher.markets` from tables of the markets that exchanges list.

A table is loaded when somebody asks for it first, on a loop of its own in a thread: ccxt takes long to parse the
answer of a large exchange. Of it only what a reply has is kept. An old table is answered from while it is loaded again.
Each instance has its own tables, whichever instance fetches candles of the exchange: one load takes a few requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ccxt.base import errors

from tickwire.bus.service import Call
from tickwire.errors import Busy, ExchangeFailed, NotLoaded, TickwireError
from tickwire.exchange import opening
from tickwire.exchange.guarded_call import guarded_call
from tickwire.exchange.listing import OLD_S
from tickwire.exchange.reachability import markets_failed
from tickwire.fetcher.market_search import find
from tickwire.model.messages import ListedMarket, MarketList, MarketsRequest
from tickwire.model.subjects import SYMBOL_CHARACTERS
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.process.own_loop import on_own_loop
from tickwire.settings import ExchangeSettings, Settings
from tickwire.task_group import TaskGroup
from tickwire.venues.units import kind_of

log = logs.get(__name__)

AT_ONCE = 2
"""Tables that are loaded at the same time."""
AGAIN_S = 30.0
"""An exchange whose markets could not be loaded is asked again by a request after this time."""


class Table(NamedTuple):
    """The markets of an exchange by symbol, and when it was asked for them, by the wall and the monotonic clock."""

    markets: Sequence[ListedMarket]
    loaded: int
    loaded_s: float


class MarketTables:
    """The tables of one instance. Loads them in tasks of `group`, until `stop` is set."""

    def __init__(self, settings: Settings, group: TaskGroup, stop: asyncio.Event) -> None:
        self._settings = settings
        self._group = group
        self._stop = stop
        self._tables: dict[str, Table] = {}
        self._failed: dict[str, tuple[float, TickwireError]] = {}
        """When a load failed (s, monotonic), and why."""
        self._loading: dict[str, asyncio.Event] = {}
        """Set when the load has ended."""
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def answer(self, request: MarketsRequest, _call: Call) -> MarketList:
        """One page of the markets that match. Raises UnknownExchange, ExchangeFailed, NotLoaded, ConfigError, Busy."""
        table = await self._table(opening.known(request.exchange), wait=request.wait)
        # Thousands of comparisons.
        found = await asyncio.to_thread(find, table.markets, request.search)
        return MarketList(
            exchange=request.exchange,
            markets=list(found.markets[request.offset : request.offset + request.limit]),
            total=len(found.markets),
            near=found.near,
            loaded=table.loaded,
        )

    async def _table(self, exchange: str, *, wait: bool) -> Table:
        table = self._tables.get(exchange)
        now = time.monotonic()
        failed_s, error = self._failed.get(exchange, (float("-inf"), None))
        resting = error is not None and now - failed_s < AGAIN_S
        if (table is None or now - table.loaded_s >= OLD_S) and not resting:
            self._load(exchange)
        if table is not None:
            return table
        if resting and error is not None:
            raise error
        if not wait:
            raise NotLoaded(f"the markets of {exchange} are being loaded", "ask again in a moment")
        ended = self._loading.get(exchange)
        if ended is not None:
            await lifecycle.unless_stopped(self._stop, ended.wait())
        if exchange in self._tables:
            return self._tables[exchange]
        if self._stop.is_set() or exchange not in self._failed:
            raise Busy("this fetcher stops", "ask again: another one answers")
        raise self._failed[exchange][1]

    def _load(self, exchange: str) -> None:
        if exchange in self._loading or self._stop.is_set():
            return
        self._loading[exchange] = asyncio.Event()
        lifecycle.start(self._group, lifecycle.until_stopped(self._stop, self._loaded(exchange)))

    async def _loaded(self, exchange: str) -> None:
        try:
            async with self._turns:
                began = time.monotonic()
                table = self._settings.of_exchange(exchange)
                markets = await on_own_loop(lambda: load(exchange, table, self._settings.fetcher.timeout_s))
            self._tables[exchange] = Table(markets, now_ms(), began)
            self._failed.pop(exchange, None)
            took_s = round(time.monotonic() - began, 2)
            log.info("markets loaded", exchange=exchange, markets=len(markets), took_s=took_s)
        except TickwireError as error:
            log.warning("markets cannot be loaded", exchange=exchange, error=str(error))
            self._failed[exchange] = time.monotonic(), error
        except Exception as error:
            # The boundary of an exchange: ccxt and its modules may raise anything.
            log.exception("markets cannot be loaded", exchange=exchange)
            self._failed[exchange] = time.monotonic(), ExchangeFailed(f"{exchange}: markets: {error!r}", "see the log")
        finally:
            self._loading.pop(exchange).set()


async def load(exchange: str, settings: ExchangeSettings, timeout_s: float) -> list[ListedMarket]:
    """Ask an exchange for its markets; those whose symbols can be used, by symbol. Raises ExchangeFailed, ConfigError.

    Without credentials: markets are public.
    """
    table = settings.model_copy(update={"ccxt": {"timeout": int(timeout_s * 1000), **settings.ccxt}})
    async with opening.open_exchange(exchange, table) as opened:
        try:
            await guarded_call(opened.load_markets)
        except errors.BaseError as error:
            raise markets_failed(error, exchange) from error
        found = (_listed(each) for each in (opened.markets or {}).values())
        return sorted((each for each in found if each is not None), key=lambda each: each.symbol)


def _listed(market: Mapping[str, Any]) -> ListedMarket | None:
    """A market of ccxt; None if no subject can have its symbol."""
    symbol, own = market["symbol"], market.get("id")
    if not isinstance(symbol, str) or not 0 < len(symbol) <= SYMBOL_CHARACTERS:
        return None
    active = market.get("active")
    return ListedMarket(
        symbol=symbol,
        kind=kind_of(market),
        base=str(market.get("base") or "")[:SYMBOL_CHARACTERS],
        quote=str(market.get("quote") or "")[:SYMBOL_CHARACTERS],
        active=active if isinstance(active, bool) else None,
        market_id=own if isinstance(own, str) and len(own) <= 2 * SYMBOL_CHARACTERS else None,
    )
