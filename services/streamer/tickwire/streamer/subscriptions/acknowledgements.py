"""Waits for the acknowledgement of each subscription, and has ccxt subscribe again when none comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from weakref import WeakKeyDictionary

from ccxt.base import errors

from tickwire.exchange.ccxt_types import CcxtClient
from tickwire.process.backoff import delay_s
from tickwire.streamer.subscriptions.acknowledgement import answer_of, request_of
from tickwire.streamer.subscriptions.subscription import Subscription

LONGEST_S = 60.0
"""The longest wait for an acknowledgement: it doubles after each time that none came."""
NEW_SOCKET_AFTER = 3
"""After so many unacknowledged attempts in a row the socket is replaced, unless other feeds need it."""


class Acknowledgements:
    """The subscriptions of one exchange that wait for an acknowledgement.

    `acknowledges`: whether the exchange sends any; None if that is unknown. `within_s`: how long it has.
    `on_socket` returns the subscriptions of a socket.
    """

    def __init__(
        self, acknowledges: bool | None, within_s: float, on_socket: Callable[[CcxtClient], list[Subscription]]
    ) -> None:
        self._acknowledges = acknowledges
        self._within_s = within_s
        self._on_socket = on_socket
        self._waiting: WeakKeyDictionary[CcxtClient, set[Subscription]] = WeakKeyDictionary()

    def sending(self, subscription: Subscription, client: CcxtClient, message: object) -> None:
        """A message that subscribes is about to be sent."""
        subscription.sent_at = asyncio.get_running_loop().time()
        if subscription.is_up:
            return
        if self._acknowledges is False:
            subscription.settle()
            return
        within_s = self._within_s
        if subscription.timeouts:
            within_s = delay_s(subscription.timeouts + 1, within_s, LONGEST_S)
        self._waiting.setdefault(client, set()).add(subscription)
        late = partial(self._late, subscription, client, within_s)
        subscription.sent(request_of(message), within_s, late)

    def parsed(self, client: CcxtClient, data: str | bytes) -> None:
        """ccxt has parsed a frame, which may acknowledge a subscription; for one that refuses, ccxt raised."""
        waiting = self._waiting.get(client)
        if not waiting or (answer := answer_of(data)) is None:
            return
        waiting = {each for each in waiting if each.unanswered and each.client is client and not each.is_up}
        self._waiting[client] = waiting
        for each in list(waiting):
            if any(map(answer.acknowledges, each.unanswered)):
                each.up()

    def _late(self, subscription: Subscription, client: CcxtClient, within_s: float) -> None:
        """Neither data nor an acknowledgement came in time: have ccxt subscribe again."""
        subscription.timeouts += 1
        reason = f"the exchange did not acknowledge the subscription within {within_s:.3g} s"
        subscription.down(reason)
        names = subscription.awaited & client.futures.keys()
        is_alone = not any(each.is_up for each in self._on_socket(client))
        if not names or (is_alone and subscription.timeouts % NEW_SOCKET_AFTER == 0):
            # The socket may be the reason.
            client.on_error(errors.RequestTimeout(reason))
            return
        for placed in subscription.placed:
            if placed.client is client:
                client.subscriptions.pop(placed.name, None)
        for name in names:
            client.reject(errors.RequestTimeout(reason), name)
