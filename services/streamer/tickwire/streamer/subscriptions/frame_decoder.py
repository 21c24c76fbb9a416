"""Reads the frames of one socket by the venue's dialect, and passes what they hold to the watched feeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ccxt.base import errors

from tickwire.exchange.ccxt_types import CcxtClient, CcxtExchange, Market
from tickwire.model.feeds import Candle
from tickwire.model.times import now_ms
from tickwire.process.turns import Turns
from tickwire.streamer.subscriptions.subscription import WatchedFeed
from tickwire.streamer.subscriptions.unified_mapper import wrong_open
from tickwire.venues.dialect import Dialect, VenueCandle
from tickwire.venues.units import kind_of

DECODED, PARSED = 3, 100
"""Units of a turn (`Turns`) for a frame that the dialect reads, and for one that ccxt parses."""
TAKEN = 25
"""Units for what a feed makes of the frames that arrived together: it orders, encodes and sends."""

MarketName = tuple[bool | None, str, str, str | None]
"""Whether the market is spot (None where names tell), kind, the venue's name of the market, and timeframe."""


class MarketFeeds:
    """The watched feeds by the venue's name of their market. Two markets of one book may have one name."""

    def __init__(self) -> None:
        self.by_name: dict[MarketName, list[WatchedFeed]] = {}
        """Changed in place: the decoders of open sockets refer to it."""
        self._names: dict[WatchedFeed, list[MarketName]] = {}

    def add(self, name: MarketName, watched: WatchedFeed) -> None:
        """Find a feed by a name, too."""
        feeds = self.by_name.setdefault(name, [])
        if watched not in feeds:
            feeds.append(watched)
            self._names.setdefault(watched, []).append(name)

    def remove(self, watched: WatchedFeed) -> None:
        """Find a feed no more."""
        for name in self._names.pop(watched, ()):
            # Not the list in place: a frame may be passed on right now.
            self.by_name[name] = [each for each in self.by_name[name] if each is not watched]
            if not self.by_name[name]:
                del self.by_name[name]


class FrameDecoder:
    """The text hook of a socket (`Uses.text`). `feeds` changes while the socket is open.

    Trades of frames that arrived together are passed on together: between `gather` and `deliver`.
    """

    def __init__(
        self, dialect: Dialect, exchange: CcxtExchange, feeds: MarketFeeds, client: CcxtClient, turns: Turns
    ) -> None:
        assert dialect.decode is not None
        self._turns = turns
        self._decode = dialect.decode
        self._number_of = dialect.frame_number
        self._is_spot = None if dialect.is_spot_url is None else dialect.is_spot_url(client.url)
        self._exchange = exchange
        self._find = feeds.by_name.get
        self._client = client
        self._last: int | None = None
        self._gathers = False
        self._gathered: dict[WatchedFeed, list[Any]] = {}
        self._received = 0
        """When the gathered trades were received, ms."""

    def take(self, data: str | bytes) -> bool:
        """Read a frame; whether it was one of the dialect's."""
        try:
            text = data if isinstance(data, str) else data.decode()
        except UnicodeDecodeError:
            # Compressed, or of another format than text.
            return False
        if self._number_of is not None and not self._follows(text):
            return True
        found = self._decode(text)
        if found is None:
            # What ccxt makes of it comes after what came before.
            self._pass_on()
            return False
        for kind, market, items, timeframe in found:
            # Data of feeds that are not watched any more is dropped, too: ccxt must not cache it.
            for watched in self._find((self._is_spot, kind, market, timeframe), ()):
                if self._gathers and kind == "trade":
                    if (before := self._gathered.get(watched)) is not None:
                        before += items
                        continue
                    self._gathered[watched] = list(items)
                else:
                    made = _candles(self._exchange, watched, items) if kind == "candle" else items
                    watched.take(self._client, made, now_ms())
                self._turns.spend(TAKEN)
        return True

    def gather(self) -> None:
        """Keep trades until `deliver`, which follows in the same turn of the event loop."""
        self._gathers = True
        self._received = now_ms()

    def deliver(self) -> None:
        """Pass on the trades that were gathered, those of each feed together."""
        self._gathers = False
        self._pass_on()

    def _pass_on(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, {}
            for watched, trades in gathered.items():
                watched.take(self._client, trades, self._received)

    def _follows(self, text: str) -> bool:
        """Whether no frame is missing before this one; reopens the socket otherwise."""
        assert self._number_of is not None
        number = self._number_of(text)
        if number is None:
            return True
        before, self._last = self._last, number
        if before is None or number == before + 1:
            return True
        self._pass_on()
        self._client.on_error(errors.NetworkError(f"frame {number} of the socket follows frame {before}"))
        return False


def _candles(exchange: CcxtExchange, watched: WatchedFeed, items: Sequence[VenueCandle]) -> list[Candle]:
    """Candles as messages; reports those that open at another time than the venue's grid has."""
    market: Market = (exchange.markets or {}).get(watched.feed.symbol) or {}
    found = []
    for item in items:
        made = item.candle(watched.feed, kind_of(market))
        if (reason := wrong_open(made)) is None:
            found.append(made)
        else:
            watched.left_out(reason)
    return found
