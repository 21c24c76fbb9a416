"""How fast feeds are: from what they counted at two moments."""

from __future__ import annotations

from collections.abc import Sequence

from tickwire.model.feeds import Feed, FeedReport


class Paces:
    """Remembers what was counted last."""

    def __init__(self) -> None:
        self._at = 0
        self._messages: dict[Feed, int] = {}

    def counted(self, feeds: Sequence[FeedReport], at: int) -> dict[Feed, float]:
        """The messages per second of each feed since the last call, from what was counted at a moment (ms).

        Not of those that were not there then, or began to count anew.
        """
        elapsed_s = (at - self._at) / 1000
        paces = {
            each.feed: (each.messages - before) / elapsed_s
            for each in feeds
            if elapsed_s > 0 and (before := self._messages.get(each.feed)) is not None and each.messages >= before
        }
        self._at, self._messages = at, {each.feed: each.messages for each in feeds}
        return paces
