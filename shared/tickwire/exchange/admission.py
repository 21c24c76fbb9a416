"""Rejects implausible times of a venue's items: every item passes here before it enters a feed.

A trade or a candle with an implausible time is left out, and the feed records it as missing. Books and tickers are
not ordered by time: only their timestamp is left out.
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
"""Called with the reason for each item or timestamp that is left out."""


class Admission:
    """Admits the items of one venue. `latest` returns the latest plausible time, ms.

    `doubt` is called for a time that is too late: the comparison of the clocks may be wrong.
    """

    def __init__(self, latest: Callable[[], int], doubt: Callable[[], None] = lambda: None) -> None:
        self.latest = latest
        self._doubt = doubt

    def of_kind(self, kind: str) -> Callable[[Sequence[Any], LeftOut], Sequence[Any]]:
        """What admits the items of a feed of this kind."""
        return self.timed if kind in ("trade", "candle") else self._untimed_items

    def _untimed_items(self, items: Sequence[Any], left_out: LeftOut) -> Sequence[Any]:
        return [self._untimed(item, left_out) for item in items]

    def timed(self, items: Sequence[T], left_out: LeftOut) -> Sequence[T]:
        """The trades or candles with plausible times."""
        latest = self.latest()
        for item in items:
            if not FIRST_MS <= item.timestamp <= latest:
                break
        else:
            return items
        return [item for item in items if self._is_plausible(item.timestamp, left_out)]

    def _untimed(self, item: Any, left_out: LeftOut) -> Any:
        """The item, without its timestamp if that is implausible."""
        is_table = isinstance(item, dict)
        timestamp = item.get("timestamp") if is_table else item.timestamp
        if timestamp is None or self._is_plausible(timestamp, left_out):
            return item
        return {**item, "timestamp": None} if is_table else msgspec.structs.replace(item, timestamp=None)

    def refusal(self, timestamp: object) -> str | None:
        """Why a time is implausible; None if it is plausible."""
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
