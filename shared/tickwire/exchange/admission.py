"""What of a venue's items has a time that can be right: the one place through which they enter a feed.

Trades and candles are what their times say: one whose time cannot be right is left out, and its feed is told that it is
missing. Books and tickers are ordered by other things: their time is left out, and what they say stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from tickwire.model.plausibility import FIRST_MS, implausible

T = TypeVar("T", bound="Timed")


class Timed(Protocol):
    """A trade or a candle."""

    @property
    def timestamp(self) -> int:
        """ms."""


LeftOut = Callable[[str], None]
"""Told, for each item or time that is left out, of what is wrong with it."""


class Admission:
    """The gate of one venue. `latest` tells the latest plausible time there, ms.

    `doubt` is called when a time is too late for it: the comparison of the clocks may be what is wrong.
    """

    def __init__(self, latest: Callable[[], int], doubt: Callable[[], None] = lambda: None) -> None:
        self.latest = latest
        self._doubt = doubt

    def items(self, kind: str, items: Sequence[Any], left_out: LeftOut) -> Sequence[Any]:
        """The items of a feed of this kind that may go on."""
        if kind in ("trade", "candle"):
            return self.timed(items, left_out)
        return [self._untimed(item, left_out) for item in items]

    def timed(self, items: Sequence[T], left_out: LeftOut) -> Sequence[T]:
        """The trades or candles whose times can be right."""
        latest = self.latest()
        for item in items:
            if not FIRST_MS <= item.timestamp <= latest:
                break
        else:
            return items
        return [item for item in items if self._is_plausible(item.timestamp, left_out)]

    def _untimed(self, item: Any, left_out: LeftOut) -> Any:
        """The same without its time where that cannot be right."""
        is_table = isinstance(item, dict)
        timestamp = item.get("timestamp") if is_table else item.timestamp
        if timestamp is None or self._is_plausible(timestamp, left_out):
            return item
        return {**item, "timestamp": None} if is_table else msgspec.structs.replace(item, timestamp=None)

    def refusal(self, timestamp: object) -> str | None:
        """What is wrong with a time, None where nothing is."""
        found = implausible(timestamp, self.latest())
        if found is None:
            return None
        if found.kind == "ahead":
            self._doubt()
        return found.reason

    def _is_plausible(self, timestamp: object, left_out: LeftOut) -> bool:
        reason = self.refusal(timestamp)
        if reason is not None:
            left_out(reason)
        return reason is None
