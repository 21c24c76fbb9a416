"""Unsubscribes what ccxt can only subscribe.

Of 73 venues ccxt 4.5.90 has `unWatchTrades` for 33. Of the others a subscription lasts as long as its socket: to make
it again, the socket would have to be given up, with all its other feeds. Where a dialect knows the venue's own message,
that is sent, and ccxt forgets the subscription as its own unwatch methods have it do (`clean_unsubscription`).

Upstream: no issue found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from ccxt.base import errors

from tickwire.exchange.ccxt_types import CcxtClient


async def unsubscribe(client: CcxtClient, message: Any, made: Iterable[Any], awaited: Collection[str]) -> None:
    """Send a message that unsubscribes; drop the subscriptions `made`, and fail the awaits of these names.

    An await raises UnsubscribeError. Raises what ccxt raises if the message cannot be sent.
    """
    await client.send(message)
    for name in made:
        client.subscriptions.pop(name, None)
    for name in set(awaited) & client.futures.keys():
        client.reject(errors.UnsubscribeError(f"unsubscribed: {name}"), name)
