"""Where the tape of tests, which has 8 partitions, stores a feed."""

from tickwire.model.feeds import Feed
from tickwire.model.feeds.layout import TapeLayout

place_of = TapeLayout(8).place_of
TRADES_STREAM, BTC_SUBJECT = place_of(Feed("trade", "binance", "BTC/USDT"))
OTHER_SUBJECT = BTC_SUBJECT.replace("BTC", "ETH")
"""Of another feed, in the same stream."""


async def owned() -> None:
    """A `Confirm` of what is always this test's."""
