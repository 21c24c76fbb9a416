"""Spreads the subscriptions of one exchange over sockets, where the venue limits those of one socket.

ccxt opens one socket for each URL. A further socket has the same URL with a fragment (`#2`), which is not sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import count

from tickwire.exchange.ccxt_types import CcxtClient
from tickwire.streamer.subscriptions.subscription import Subscription


class SocketPlaces:
    """The places on the sockets of one exchange.

    `most`: subscriptions of one socket, None without a limit. `sockets` returns ccxt's sockets by URL, `subscriptions`
    those that take a place.
    """

    def __init__(
        self,
        most: int | None,
        sockets: Callable[[], Mapping[str, CcxtClient]],
        subscriptions: Callable[[], Iterable[Subscription]],
    ) -> None:
        self._most = most
        self._sockets = sockets
        self._subscriptions = subscriptions

    def url(self, subscription: Subscription | None, url: str) -> str:
        """The URL of the socket for a subscription that ccxt makes, or ends, at `url`: its own, else one with room."""
        if self._most is None or subscription is None or "#" in url:
            return url
        sockets, own = self._sockets(), subscription.client
        if own is not None and own.url.partition("#")[0] == url and sockets.get(own.url) is own:
            return own.url
        taken = Counter(id(each.client) for each in self._subscriptions() if each is not subscription)
        for number in count(1):
            place = url if number == 1 else f"{url}#{number}"
            socket = sockets.get(place)
            if socket is None or taken[id(socket)] < self._most:
                return place
        raise AssertionError("the numbers have no end")
