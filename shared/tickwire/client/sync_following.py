"""The part of the blocking client that follows and replays feeds: methods of `FollowsFeeds` and `Replays`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from tickwire.client.arguments import Time
from tickwire.client.connection import Client
from tickwire.client.items import Gap, Trade
from tickwire.client.replay import Replayed
from tickwire.client.replay_feeds import FeedName
from tickwire.model.feeds import Book, Ticker
from tickwire.model.nearest import Market

if TYPE_CHECKING:
    from tickwire.client.sync import SyncSubscription


class SyncFollowsFeeds(ABC):
    """Feeds as plain iterators."""

    _client: Client

    @abstractmethod
    def _subscription(self, make: Callable[[], Any]) -> SyncSubscription[Any]:
        """The stream that `make` returns on the loop of the client."""

    @overload
    def trades(
        self,
        exchange: str,
        symbol: str,
        *,
        since: Time | None = None,
        after: int | None = None,
        gaps: Literal[False] = False,
    ) -> SyncSubscription[Trade]: ...

    @overload
    def trades(
        self,
        exchange: str,
        symbol: str,
        *,
        since: Time | None = None,
        after: int | None = None,
        gaps: Literal[True],
    ) -> SyncSubscription[Trade | Gap]: ...

    @overload
    def trades(
        self, markets: Sequence[Market], /, *, since: Time | None = None, gaps: Literal[False] = False
    ) -> SyncSubscription[Trade]: ...

    @overload
    def trades(
        self, markets: Sequence[Market], /, *, since: Time | None = None, gaps: Literal[True]
    ) -> SyncSubscription[Trade | Gap]: ...

    def trades(self, *markets: Any, **options: Any) -> SyncSubscription[Any]:
        """See `Client.trades`."""
        return self._subscription(lambda: self._client.trades(*markets, **options))

    @overload
    def books(
        self, exchange: str, symbol: str, *, depth: int | None = None, cadence_ms: int | None = None
    ) -> SyncSubscription[Book]: ...

    @overload
    def books(
        self, markets: Sequence[Market], /, *, depth: int | None = None, cadence_ms: int | None = None
    ) -> SyncSubscription[Book]: ...

    def books(self, *markets: Any, **options: Any) -> SyncSubscription[Book]:
        """See `Client.books`."""
        return self._subscription(lambda: self._client.books(*markets, **options))

    @overload
    def tickers(self, exchange: str, symbol: str) -> SyncSubscription[Ticker]: ...

    @overload
    def tickers(self, markets: Sequence[Market], /) -> SyncSubscription[Ticker]: ...

    def tickers(self, *markets: Any, **options: Any) -> SyncSubscription[Ticker]:
        """See `Client.tickers`."""
        return self._subscription(lambda: self._client.tickers(*markets, **options))

    @overload
    def replay(
        self, exchange: str, symbol: str, since: Time, until: Time | None = None, *, speed: float = float("inf")
    ) -> SyncSubscription[Trade | Gap]: ...

    @overload
    def replay(
        self,
        feeds: Sequence[FeedName],
        since: Time,
        until: Time | None = None,
        *,
        speed: float = float("inf"),
        depth: int | None = None,
        cadence_ms: int | None = None,
    ) -> SyncSubscription[Replayed]: ...

    def replay(self, *feeds: Any, **when: Any) -> SyncSubscription[Any]:
        """See `Client.replay`."""
        return self._subscription(lambda: self._client.replay_together(*feeds, **when))

    replay_of = replay
    """See `Client.replay_of`."""
