"""The feeds that have subscribers."""

from __future__ import annotations

from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import FeedList, FeedReport, FeedsRequest


async def list_feeds(bus: Bus, exchange: str | None = None) -> tuple[list[FeedReport], list[str]]:
    """Return every feed by name, and the instances that did not answer. Raises NoSuchService."""
    found: list[FeedReport] = []
    silent: list[str] = []
    async for part in bus.request_chunks(
        "streamer.list", FeedsRequest(exchange=exchange), lambda data: messages.decode(data, FeedList)
    ):
        found += part.feeds
        silent += part.silent
    return sorted(found, key=lambda each: (each.exchange, each.symbol, each.kind, each.timeframe or "")), silent
