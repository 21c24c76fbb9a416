"""Message rates of feeds, from their counters at two times. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tickwire.model.feeds import Feed, FeedReport


class RateMeter:
    """Remembers the last counters."""

    def __init__(self) -> None:
        self._at = 0
        self._messages: dict[Feed, int] = {}

    def update(self, feeds: Sequence[FeedReport], at: int) -> dict[Feed, float]:
        """Return the messages per second of each feed since the last call; `at` (ms) is when they were counted.

        Feeds that are new, or whose counter restarted, are left out.
        """
        elapsed_s = (at - self._at) / 1000
        rates = {
            each.feed: (each.messages - before) / elapsed_s
            for each in feeds
            if elapsed_s > 0 and (before := self._messages.get(each.feed)) is not None and each.messages >= before
        }
        self._at, self._messages = at, {each.feed: each.messages for each in feeds}
        return rates
