"""URLs of sockets that contain a token which expires.

ccxt (4.5.90: kucoin, `negotiate`) keeps the first URL for ever in one of its options, as a future for each kind of
socket: after a day every new socket would be refused, unless the refusal has the one text that ccxt knows. Upstream: no
issue found.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tickwire.venues.registry import profile_of


def forget(exchange: Any, url: str) -> None:
    """Have ccxt ask for a new URL for the socket after that of `url`, if the venue's URLs contain a token."""
    option = profile_of(exchange.id).sockets.url_option
    kept: dict[str, Any] = (exchange.options.get(option) if option else None) or {}
    for kind, known in list(kept.items()):
        # One that is still being asked for is of another socket.
        is_known = isinstance(known, asyncio.Future) and known.done() and not known.cancelled()
        # A further socket of the URL has a fragment.
        if is_known and known.exception() is None and known.result() == url.partition("#")[0]:
            del kept[kind]


def address(exchange: Any, url: str) -> str:
    """What the URLs of successive sockets have in common: all of it, or what precedes the token."""
    return url if profile_of(exchange.id).sockets.url_option is None else url.partition("?")[0]
