"""ccxt's account of the streams on each socket.

Upstream: https://github.com/ccxt/ccxt/issues/23628.
"""

from __future__ import annotations

from typing import Any


def release_stream(options: dict[str, Any], subscription: str, count: int) -> None:
    """Release the places that a subscription takes in ccxt's account of streams per socket.

    ccxt 4.5.90 (`stream` in `pro/binance.py`) never releases a place, and refuses new subscriptions once the limit of
    subscriptions ever made is reached.
    """
    stream = (options.get("streamBySubscriptionsHash") or {}).pop(subscription, None)
    counts = options.get("numSubscriptionsByStream") or {}
    if stream in counts:
        counts[stream] -= count
        if counts[stream] <= 0:
            del counts[stream]
