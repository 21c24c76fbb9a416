"""Spreads the subscriptions of one exchange over sockets, where the venue limits those of one socket.

ccxt opens one socket for each URL. A further socket has the same URL with a fragment (`#2`), which is not sent. Where
URLs contain a token, sockets of one address have different URLs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import count

from tickwire.exchange.ccxt_types import CcxtClient
from tickwire.streamer.subscriptions.subscription import Subscription


class SocketPlaces:
    """The places on the sockets of one exchange.

    `most`: subscriptions of one socket, None without a limit. `sockets` returns ccxt's sockets by URL, `on`
    the subscriptions that take a place on a socket. `address` returns what successive URLs of a socket have in common.
    """

    def __init__(
        self,
        most: int | None,
        sockets: Callable[[], Mapping[str, CcxtClient]],
        on: Callable[[CcxtClient], Iterable[Collection[Subscription]]],
        address: Callable[[str], str] = lambda url: url,
    ) -> None:
        self._most = most
        self._sockets = sockets
        self._on = on
        self._address = address

    def url(self, subscription: Subscription | None, url: str) -> str:
        """The URL of the socket for a subscription that ccxt makes, or ends, at `url`: its own, else one with room."""
        if subscription is None or "#" in url:
            return url
        sockets, own = self._sockets(), subscription.client
        if own is not None and sockets.get(own.url) is own and self._address_of(own.url) == self._address_of(url):
            return own.url
        if self._most is None:
            return url
        for number in count(1):
            place = url if number == 1 else f"{url}#{number}"
            socket = sockets.get(place)
            # Not those of the subscription itself: its own socket is none of these.
            if socket is None or sum(map(len, self._on(socket))) < self._most:
                return place
        raise AssertionError("the numbers have no end")

    def _address_of(self, url: str) -> str:
        return self._address(url.partition("#")[0])
