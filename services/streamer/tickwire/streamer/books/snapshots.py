"""Snapshots of books by REST: only as deep as they need be, and one at a time for each exchange.

An exchange's weight of one depends on its depth (binance's spot market: 5 up to 100 levels, 25 up to 500, 50 up to
1,000; usd-m: 5, 10 and 20), and all of a process's feeds share one budget with the repair of trades.
"""

from __future__ import annotations

import asyncio

from ccxt.base import errors

from tickwire.exchange.guarded_call import guarded_call
from tickwire.model import numbers
from tickwire.streamer.books.orderbook import OrderBook
from tickwire.streamer.control.feed_venue import FeedVenue

LEVELS = (500, 1000)
"""Levels of a side that are asked for: the most is what binance's usd-m market gives (spot: 5,000). With fewer than
these, a market that moves would leave them behind every few seconds, and need another snapshot."""
CALL_S = 30.0
"""A call is given up after this: ccxt's own timeout leaves out the waiting for its turn."""


def levels_for(depth: int, *, whole: bool) -> int:
    """How many levels a snapshot takes for a book of this depth: twice as many, because levels go.

    With `whole`, somebody wants the book itself, not the top of it.
    """
    return LEVELS[-1] if whole else next((each for each in LEVELS if depth <= each // 2), LEVELS[-1])


async def fetch(venue: FeedVenue, symbol: str, levels: int) -> OrderBook:
    """A book as the exchange has it. Raises ccxt's errors, and OutOfStep when there cannot be such a book."""
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
        return OrderBook(int(answer["nonce"]), bids, asks, timestamp=answer["timestamp"], limit=levels)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise errors.BadResponse(f"a snapshot that cannot be read: {error!r}") from error
