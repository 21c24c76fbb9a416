"""Which feeds a replay has, as callers name them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tickwire.errors import BadRequest
from tickwire.model.feeds import Feed, feed

FeedName: TypeAlias = tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, str | None]
"""An exchange and a symbol (its trades), after the kind, or with a timeframe after these; see EXAMPLES."""
EXAMPLES = '("binance", "BTC/USDT"), ("book", "binance", "BTC/USDT") or ("candle", "binance", "BTC/USDT", "1m")'
DEPTH, CADENCE_MS = 20, 100
"""Those of live books whose subscribers chose none (`streamer.depth`, `streamer.cadence_ms`)."""


@dataclass(frozen=True)
class BookView:
    """What of books is replayed: so many levels a side, at most one book in `cadence_ms` (0: each change)."""

    depth: int = DEPTH
    cadence_ms: int = CADENCE_MS


DEFAULT_VIEW = BookView()


def book_view(depth: int | None, cadence_ms: int | None) -> BookView:
    """What callers want of books. Raises BadRequest."""
    view = BookView(DEPTH if depth is None else depth, CADENCE_MS if cadence_ms is None else cadence_ms)
    if view.depth < 1:
        raise BadRequest(f"depth {depth} is less than 1", "say how many levels of each side")
    if view.cadence_ms < 0:
        raise BadRequest(f"cadence_ms {cadence_ms} is less than 0", "0 is each change of a book")
    return view


def replay_feeds(names: Sequence[FeedName]) -> list[Feed]:
    """The feeds of a replay. Raises BadRequest when there is none, or one has no such form or is named twice."""
    found = [_feed(each) for each in names]
    if not found:
        raise BadRequest("no feed is given", f"name at least one, such as {EXAMPLES}")
    twice = next((each for at, each in enumerate(found) if each in found[:at]), None)
    if twice is not None:
        raise BadRequest(f"{twice} is given twice", "name each feed once")
    return found


def _feed(name: FeedName) -> Feed:
    if isinstance(name, str) or not 2 <= len(name) <= 4:
        raise BadRequest(f"{name!r} is not a feed", f"such as {EXAMPLES}")
    return feed("trade", *name) if len(name) == 2 else feed(*name)
