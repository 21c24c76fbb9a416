"""A connection of a program to tickwire, and everything that can be asked of it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from tickwire import bus as buses
from tickwire import config as configuration
from tickwire import lifecycle, runfile, subjects, timeframes, times
from tickwire.bus import Bus
from tickwire.client import history, live
from tickwire.client.candles import Candles
from tickwire.client.history import CandlesFailed, Progress
from tickwire.client.live import BookSubscription, Start, Subscription, Subscriptions, TradeItems, TradeSubscription
from tickwire.client.replay import replayed
from tickwire.errors import BadRequest, TickwireError
from tickwire.feeds import Book, Gap, Ticker, Trade, feed
from tickwire.subjects import Key

if TYPE_CHECKING:
    from pandas import DataFrame

Time = int | str | datetime
"""Milliseconds since 1970, ISO 8601 or an age such as "30d" as on the command line, or a datetime (UTC if naive)."""
Names = str | Sequence[str]


@asynccontextmanager
async def connect(
    url: str | None = None, *, config: Path | str | None = None, name: str = "client"
) -> AsyncIterator[Client]:
    """Connect to the broker at `url`, else to that of the configuration, else to the one that `tickwire up` runs here.

    On leaving the block every feed is released. Raises BrokerUnavailable, ConfigError.
    """
    settings = configuration.load(Path(config) if config is not None else None)
    address = url or settings.nats.url or runfile.read(settings.data_dir).nats_url
    async with (
        buses.connect(settings.nats, name=f"tickwire-{name}", url=address) as bus,
        lifecycle.unwrapped(),
        asyncio.TaskGroup() as group,
    ):
        subscriptions = Subscriptions(bus, group, name)
        try:
            yield Client(bus, subscriptions)
        finally:
            subscriptions.close()


class Client:
    """What a program asks of tickwire. Made by `connect`."""

    def __init__(self, bus: Bus, subscriptions: Subscriptions) -> None:
        self.bus = bus
        self._subscriptions = subscriptions

    def candles(
        self,
        exchange: str,
        symbol: str,
        timeframe: str,
        since: Time | None = None,
        until: Time | None = None,
        *,
        fetch: bool = True,
        progress: Progress = None,
    ) -> Candles:
        """Closed candles that open in `[since, until)`: `await` it for a DataFrame, `async for` goes on live.

        What is missing is fetched first, with bars on a terminal and in notebooks (`progress=False`: none; a callable
        gets each `Job` message); with `fetch=False`, or without `since`, the cache is asked alone.

        The DataFrame has a DatetimeIndex `timestamp` (UTC) and the float columns open, high, low, close, volume. Its
        `attrs` are exchange, symbol, timeframe, since, until (ms), `complete`, and `missing`: ranges (since, until)
        of ms that are not known; an IncompleteCandles warning is issued when there are any.

        Raises UnknownExchange, UnknownSymbol, UnsupportedTimeframe, ExchangeFailed, NoSuchService, BadRequest.
        """
        key = _key(exchange, symbol, timeframe)
        return Candles(self.bus, self._subscriptions, key, *_span(since, until), fetch=fetch, progress=progress)

    async def candles_of(
        self,
        exchanges: Names,
        symbols: Names,
        timeframes: Names,
        since: Time | None = None,
        until: Time | None = None,
        *,
        fetch: bool = True,
        progress: Progress = None,
    ) -> dict[Key, DataFrame]:
        """A DataFrame, as of `candles`, for every combination; what is missing is fetched side by side.

        Raises CandlesFailed when some keys could not be had: it has the frames of the others.
        """
        names = [[each] if isinstance(each, str) else list(each) for each in (exchanges, symbols, timeframes)]
        keys = list(dict.fromkeys(_key(*parts) for parts in product(*names)))
        start, end = _span(since, until)
        found: dict[Key, history.Span | TickwireError] = {}
        if fetch and start is not None:
            found = await history.fetched(self.bus, keys, start, end, progress)
        else:
            found = {key: await history.known(self.bus, key, start, end) for key in keys}
        errors = {key: each for key, each in found.items() if isinstance(each, TickwireError)}
        frames = {
            key: await history.frame(self.bus, key, each)
            for key in keys
            if not isinstance(each := found[key], TickwireError)
        }
        if errors:
            raise CandlesFailed(errors, frames)
        return frames

    @overload
    def trades(
        self,
        exchange: str,
        symbol: str,
        *,
        since: Time | None = None,
        after: int | None = None,
        gaps: Literal[False] = False,
    ) -> TradeSubscription[Trade]: ...

    @overload
    def trades(
        self,
        exchange: str,
        symbol: str,
        *,
        since: Time | None = None,
        after: int | None = None,
        gaps: Literal[True],
    ) -> TradeSubscription[Trade | Gap]: ...

    def trades(
        self,
        exchange: str,
        symbol: str,
        *,
        since: Time | None = None,
        after: int | None = None,
        gaps: bool = False,
    ) -> TradeSubscription[Trade] | TradeSubscription[Trade | Gap]:
        """Trades, each once, in the exchange's order, from now on; the feed runs as long as it is iterated.

        With `since`, first those that are on the tape from that time on, or with `after` those after a sequence of
        the tape (`.sequence` of an earlier one), then live ones, without a seam. What could not be had is a warning in
        the log and an item of `.gaps`; with `gaps=True` it is also yielded, in its place.
        """
        if since is not None and after is not None:
            raise BadRequest("both since and after are given", "choose one")
        wanted = feed("trade", exchange, symbol)
        start = _ms(since, _now(), "since")
        items = TradeItems(wanted, start, yielded=gaps)
        begin = Start(back=0, after=after, since=start)
        return TradeSubscription(self._subscriptions, wanted, items, items, begin)

    def books(
        self, exchange: str, symbol: str, *, depth: int | None = None, cadence_ms: int | None = None
    ) -> Subscription[Book]:
        """The order book: its present state, then each new one. Whoever is slow gets the newest; `.missed` counts.

        While `state` is "resyncing" there is no book; so it is said here when nothing was heard of a live one for
        30 s. `depth` is levels a side, `cadence_ms` how often at most; of
        several wishes for one feed the largest depth and the shortest cadence are met.
        """
        wanted = feed("book", exchange, symbol)
        return BookSubscription(
            self._subscriptions,
            wanted,
            live.book,
            start=Start(),
            newest_only=True,
            depth=depth,
            cadence_ms=cadence_ms,
        )

    def tickers(self, exchange: str, symbol: str) -> Subscription[Ticker]:
        """The ticker: its present state, then each new one. Whoever is slow gets the newest; `.missed` counts."""
        return Subscription(
            self._subscriptions, feed("ticker", exchange, symbol), live.ticker, start=Start(), newest_only=True
        )

    def replay(
        self, exchange: str, symbol: str, since: Time, until: Time | None = None, *, speed: float = math.inf
    ) -> AsyncGenerator[Trade | Gap, None]:
        """Trades that are on the tape, in `[since, until)`, `speed` times as fast as they happened; then it ends.

        Gaps are yielded in their place. No feed needs to run. Raises BadRequest.
        """
        start, end = _span(since, until)
        assert start is not None
        return replayed(self.bus, feed("trade", exchange, symbol), start, end, speed)


def _key(exchange: str, symbol: str, timeframe: str) -> Key:
    key = Key(exchange, symbol, timeframe)
    timeframes.parse(timeframe)
    subjects.key_path(key)
    return key


def _span(since: Time | None, until: Time | None) -> tuple[int | None, int | None]:
    """Both as ms, the first one earlier. Raises BadRequest."""
    now = _now()
    start, end = _ms(since, now, "since"), _ms(until, now, "until")
    if start is not None and start >= (now if end is None else end):
        raise BadRequest(
            f"since {since} is not before {'now' if until is None else f'until {until}'}", "choose an earlier since"
        )
    return start, end


def _now() -> int:
    return time.time_ns() // 1_000_000


def _ms(moment: Time | None, now: int, what: str) -> int | None:
    if moment is None:
        return None
    if isinstance(moment, datetime):
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    return times.time_ms(str(moment), now, what)
