"""The feeds that the configuration pins: their interests are registered and renewed by the instance itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tickwire.errors import BrokerUnavailable, ConfigError, TickwireError
from tickwire.exchange import opening
from tickwire.model import feeds
from tickwire.model.feeds import StartRequest
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.settings import StreamerSettings
from tickwire.streamer.control.interests import Interests, check

log = logs.get(__name__)

PINNED_TTL_S = 30
"""The interests are renewed three times within their TTL."""
RENEWALS_PER_S = 20
"""Where there are more feeds than so many a second allow, the TTL is longer: a renewal is a write at the broker."""


def pinned(settings: StreamerSettings, instance: str) -> list[StartRequest]:
    """The interests that the configuration asks for. Raises ConfigError."""
    requests = []
    ttl_s = max(PINNED_TTL_S, len(settings.feeds) * 3 // RENEWALS_PER_S)
    for line in settings.feeds:
        words = line.split()
        if len(words) not in (3, 4):
            raise ConfigError(
                f"streamer.feeds: {line!r} is not a feed", "write it as `trade binance BTC/USDT` or `candle … 1m`"
            )
        try:
            named = feeds.feed(words[0], opening.known(words[1]), words[2], words[3] if len(words) == 4 else None)
            request = StartRequest(
                kind=named.kind,
                exchange=named.exchange,
                symbol=named.symbol,
                timeframe=named.timeframe,
                subscriber=f"configuration of {instance}",
                ttl_s=ttl_s,
            )
            check(request)
        except TickwireError as error:
            raise ConfigError(f"streamer.feeds: {line!r}: {error.message}", error.remedy) from error
        requests.append(request)
    return requests


async def keep_registered(interests: Interests, requests: Sequence[StartRequest], stop: asyncio.Event) -> None:
    """Register and renew the interests until `stop` is set. Retries while the broker is unavailable."""
    failing = Episode(log, "pinned feeds are not renewed")
    while requests and not stop.is_set():
        try:
            for request in requests:
                await interests.register(request)
        except BrokerUnavailable as error:
            # `register` has waited for the broker. An interest that expires meanwhile is registered again.
            failing.occurs(error=str(error))
            continue
        failing.ends()
        await asyncio.sleep((requests[0].ttl_s or PINNED_TTL_S) / 3)
