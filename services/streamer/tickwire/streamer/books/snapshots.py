"""Fetches book snapshots by REST: only as deep as needed, and one at a time for each exchange.

The weight of a snapshot depends on its depth (binance spot: 5 up to 100 levels, 25 up to 500, 50 up to 1,000; usd-m: 5,
10 and 20), and all feeds of a process share one budget with the repair of trades.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ccxt.base import errors

from tickwire.exchange.guarded_call import guarded_call
from tickwire.model import numbers
from tickwire.streamer.books.orderbook import OrderBook
from tickwire.streamer.control.feed_venue import FeedVenue
from tickwire.venues.profile import BookFacts

CALL_S = 30.0
"""Limit of one call: ccxt's own timeout does not include the wait for the rate limit."""


def levels_for(depth: int, *, whole: bool, offered: Sequence[int] = BookFacts().request_levels) -> int:
    """Levels to request, of those `offered`, for a book of this depth: at least twice as many, as levels disappear.

    `whole`: a subscriber needs the whole book, not only its top.
    """
    return offered[-1] if whole else next((each for each in offered if depth <= each // 2), offered[-1])


async def fetch(venue: FeedVenue, symbol: str, levels: int, facts: BookFacts) -> OrderBook:
    """The present book of the exchange. Raises ccxt's errors, and OutOfStep if the book is crossed."""
    try:
        async with asyncio.timeout(CALL_S):
            answer = await guarded_call(lambda: venue.rest.fetch_order_book(symbol, levels))
    except TimeoutError as error:
        raise errors.RequestTimeout(f"no answer within {CALL_S:g} s") from error
    try:
        bids = [numbers.level(level, symbol) for level in answer["bids"]]
        asks = [numbers.level(level, symbol) for level in answer["asks"]]
        if not bids and not asks:
            raise errors.BadResponse("a snapshot without a level on either side")
        if (nonce := answer["nonce"]) is None:
            raise errors.BadResponse("a snapshot without a sequence number")
        return OrderBook(int(nonce), bids, asks, timestamp=answer["timestamp"], limit=levels, facts=facts)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise errors.BadResponse(f"a snapshot that cannot be read: {error!r}") from error
