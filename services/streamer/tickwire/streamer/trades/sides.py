"""Sides of the trades of REST pages, where it is unknown whose side the venue gives there. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec.structs import replace

from tickwire.model.feeds import Trade

_OPPOSITE: Mapping[str, Literal["buy", "sell"]] = {"buy": "sell", "sell": "buy"}


def as_known(page: Sequence[Trade], known: Iterable[Trade]) -> list[Trade]:
    """The trades of a page with the taker's sides, as the known ones among them show whose side the page gives.

    Without any known trade, or if these contradict each other, the sides are unknown.
    """
    sides = {trade.id: trade.side for trade in known if trade.id is not None and trade.side is not None}
    same = {trade.side == sides[trade.id] for trade in page if trade.id in sides and trade.side is not None}
    if same == {True}:
        return list(page)
    turned = _OPPOSITE if same == {False} else {}
    return [replace(trade, side=turned.get(trade.side or "")) for trade in page]
