"""Reads the frames of one socket by the venue's dialect, and passes what they hold to the watched feeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ccxt.base import errors

from tickwire.exchange.ccxt_types import CcxtClient, CcxtExchange, Market
from tickwire.model.feeds import Candle
from tickwire.streamer.subscriptions.subscription import WatchedFeed
from tickwire.streamer.subscriptions.unified_mapper import wrong_open
from tickwire.venues.dialect import Dialect, VenueCandle
from tickwire.venues.units import kind_of

MarketFeeds = dict[tuple[bool | None, str, str, str | None], list[WatchedFeed]]
"""Feeds by whether the market is spot (None where names tell), kind, the venue's name of the market, and timeframe.

Two markets of one book may have one name."""


def frame_decoder(
    dialect: Dialect, exchange: CcxtExchange, feeds: MarketFeeds, client: CcxtClient
) -> Callable[[str | bytes, int], bool]:
    """The text hook of a socket (`Uses.text`). `feeds` changes while the socket is open."""
    decode, number_of = dialect.decode, dialect.frame_number
    assert decode is not None
    is_spot = None if dialect.is_spot_url is None else dialect.is_spot_url(client.url)
    find = feeds.get
    last: int | None = None

    def follows(text: str) -> bool:
        """Whether no frame is missing before this one; reopens the socket otherwise."""
        nonlocal last
        number = None if number_of is None else number_of(text)
        if number is None:
            return True
        before, last = last, number
        if before is None or number == before + 1:
            return True
        client.on_error(errors.NetworkError(f"frame {number} of the socket follows frame {before}"))
        return False

    def take(data: str | bytes, received: int) -> bool:
        try:
            text = data if isinstance(data, str) else data.decode()
        except UnicodeDecodeError:
            # Compressed, or of another format than text.
            return False
        if number_of is not None and not follows(text):
            return True
        found = decode(text)
        if found is None:
            return False
        for kind, market, items, timeframe in found:
            # Data of feeds that are not watched any more is dropped, too: ccxt must not cache it.
            for watched in find((is_spot, kind, market, timeframe), ()):
                watched.take(client, _candles(exchange, watched, items) if kind == "candle" else items, received)
        return True

    return take


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
