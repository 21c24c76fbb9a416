"""Feeds: their names on the bus, and every message about them.

A feed is (kind, exchange, symbol) and, for candles, a timeframe. Its messages are published to its tape subject, in a
stream that accepts them from the feed's one writer only; the broker republishes accepted messages on the public `md.`
subject of the same name. Times are integer milliseconds UTC: `timestamp` by the exchange's clock,
`received` by ours. Unknown fields are ignored, so that fields can be added.
"""

from tickwire.model.feeds.control import (
    FeedList,
    FeedReport,
    FeedsRequest,
    MarketReport,
    MarketRequest,
    StartRequest,
    State,
    StopRequest,
)
from tickwire.model.feeds.names import KINDS, Feed, Kind, feed, feed_of
from tickwire.model.feeds.tape import (
    BOOK_VALID_S,
    Book,
    BookDelta,
    BookDeltas,
    Candle,
    Event,
    Gap,
    Handover,
    Level,
    Status,
    Ticker,
    Trade,
    Trades,
)

__all__ = [
    "BOOK_VALID_S",
    "KINDS",
    "Book",
    "BookDelta",
    "BookDeltas",
    "Candle",
    "Event",
    "Feed",
    "FeedList",
    "FeedReport",
    "FeedsRequest",
    "Gap",
    "Handover",
    "Kind",
    "Level",
    "MarketReport",
    "MarketRequest",
    "StartRequest",
    "State",
    "Status",
    "StopRequest",
    "Ticker",
    "Trade",
    "Trades",
    "feed",
    "feed_of",
]
