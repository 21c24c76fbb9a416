"""The markets that exchanges list, asked of a fetcher (`fetcher.markets`)."""

from __future__ import annotations

from functools import partial

from tickwire.bus.connection import Bus
from tickwire.model.messages import ListedMarket, MarketList, MarketsRequest
from tickwire.model.messages.markets import MARKETS_PAGE

LOADING_S = 90.0
"""How long a request waits for the markets to be loaded: a few requests to an exchange, each with its timeout."""


async def page(bus: Bus, request: MarketsRequest) -> MarketList:
    """One page of the markets that match. Raises the fetcher's refusals, NoSuchService, RequestTimeout."""
    return await bus.request("fetcher.markets", request, MarketList, timeout_s=LOADING_S if request.wait else 10.0)


async def listed(bus: Bus, exchange: str, search: str = "") -> list[ListedMarket]:
    """All markets that match, page by page. Raises as `page` does, once no fetcher has answered for a while."""
    found: dict[str, ListedMarket] = {}
    offset, total = 0, 1
    while offset < total:
        request = MarketsRequest(exchange=exchange, search=search, offset=offset, limit=MARKETS_PAGE)
        part = await bus.service_wait.call(partial(page, bus, request))
        # Between two pages the table may be loaded again, and markets move.
        found |= {each.symbol: each for each in part.markets}
        offset, total = offset + MARKETS_PAGE, part.total
    return list(found.values())
