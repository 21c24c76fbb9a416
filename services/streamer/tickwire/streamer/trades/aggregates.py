"""Trades that a feed tells as one, and REST one by one. No I/O.

OKX's channel `trades` tells what one taker's order did at one price as one trade, with the id of its last part and all
of its amount; REST tells each part (OKX's API documentation v5, "Trades channel"). The parts are in one millisecond.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from tickwire.model.feeds import Trade

_ROUNDING = 1e-9
"""Of an amount, what is no part of it."""


def without_parts(
    keys: list[Hashable], trades: Sequence[Trade], known: Iterable[tuple[Hashable, Trade]]
) -> tuple[list[Hashable], Sequence[Trade]]:
    """A page of REST, in order, without those of its trades that are part of a known one with a later key.

    Where REST has less for a known trade than the feed did, what is missing of it are the trades just before.
    """
    told = set(keys)
    wholes = {key: trade for key, trade in known if key in told}
    parts: set[int] = set()
    for place, (key, last) in enumerate(zip(keys, trades, strict=True)):
        whole = wholes.get(key)
        if whole is None:
            continue
        missing, like = whole.amount - last.amount, (last.timestamp, last.side, last.price)
        before = place - 1
        while before >= 0 and missing > whole.amount * _ROUNDING and keys[before] not in wholes:
            part = trades[before]
            if (part.timestamp, part.side, part.price) != like:
                break
            parts.add(before)
            missing -= part.amount
            before -= 1
    if not parts:
        return keys, trades
    kept = [place for place in range(len(keys)) if place not in parts]
    return [keys[place] for place in kept], [trades[place] for place in kept]
