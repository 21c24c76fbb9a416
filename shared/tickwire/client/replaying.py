"""The part of a client that replays the past."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from typing import Any, overload

from tickwire.bus.connection import Bus
from tickwire.client.arguments import Time, range_of
from tickwire.client.items import Gap, Trade
from tickwire.client.replay import Replayed, Wanted, due_together, one_by_one, replayed_together
from tickwire.client.replay_feeds import FeedName, book_view, replay_feeds
from tickwire.client.stream import Streams
from tickwire.model.feeds import feed
from tickwire.model.times import now_ms


class Replays:
    """Replays one feed of trades, or several feeds of any kind."""

    bus: Bus
    _streams: Streams

    @overload
    def replay(
        self, exchange: str, symbol: str, since: Time, until: Time | None = None, *, speed: float = math.inf
    ) -> AsyncGenerator[Trade | Gap, None]: ...

    @overload
    def replay(
        self,
        feeds: Sequence[FeedName],
        since: Time,
        until: Time | None = None,
        *,
        speed: float = math.inf,
        depth: int | None = None,
        cadence_ms: int | None = None,
    ) -> AsyncGenerator[Replayed, None]: ...

    def replay(self, *feeds: Any, **when: Any) -> AsyncGenerator[Any, None]:
        """The past in `[since, until)`, `speed` times as fast as it happened. Then it ends.

        Without `until` it ends where the present was when it began: feeds may go on meanwhile.

        `replay("binance", "BTC/USDT", since)` yields trades, and gaps in their place. No feed needs to run.

        `replay([("binance", "BTC/USDT"), ("book", "okx", "BTC/USDT"), ("candle", "okx", "BTC/USDT", "1m")], since)`
        yields those of several feeds on one clock, also of several venues and kinds (trade, book, ticker, candle), each
        with its exchange and symbol. They are ordered by the exchanges' timestamps, candles by when they close; items
        of one time are in the order of `feeds`, and those of one feed in the order of its tape, in which none is before
        the one ahead of it. So each replay of a range is the same. A page of each feed is in memory.

        Books have `depth` levels a side (20), at most one in `cadence_ms` (100; 0: each change) of the exchange's time;
        the first one is that at `since`, after all changes of that millisecond, and while the book is not known its
        state is `resyncing`. A ticker that comes after missing ones is `interrupted`. Candles are the closed ones of
        the cache; their `trades` are 0. Of each kind a Gap is in the place of what is missing (docs/archive.md).

        Raises BadRequest, StorageError, and NotArchived for a feed that is neither on the tape nor in the archive.
        """
        return one_by_one(self.replay_together(*feeds, **when))

    replay_of = replay
    """The name that replays of several feeds had at first."""

    def replay_together(self, *feeds: Any, **when: Any) -> AsyncGenerator[list[Any], None]:
        """As `replay`, in lists of items that are due together."""
        self._streams.check()
        is_one = isinstance(feeds[0], str) if feeds else "exchange" in when
        return (self._replay_one if is_one else self._replay_several)(*feeds, **when)

    def _replay_one(
        self, exchange: str, symbol: str, since: Time, until: Time | None = None, *, speed: float = math.inf
    ) -> AsyncGenerator[list[Any], None]:
        start, end = _ended(since, until)
        return due_together(self.bus, feed("trade", exchange, symbol), start, end, speed)

    def _replay_several(
        self,
        feeds: Sequence[FeedName],
        since: Time,
        until: Time | None = None,
        *,
        speed: float = math.inf,
        depth: int | None = None,
        cadence_ms: int | None = None,
    ) -> AsyncGenerator[list[Any], None]:
        start, end = _ended(since, until)
        wanted = Wanted(replay_feeds(feeds), start, end, speed, book_view(depth, cadence_ms))
        return replayed_together(self.bus, wanted)


def _ended(since: Time, until: Time | None) -> tuple[int, int]:
    """A range (ms) that ends now if it has no other end. Raises BadRequest."""
    start, end = range_of(since, until)
    return start, now_ms() if end is None else end
