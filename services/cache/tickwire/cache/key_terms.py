"""What the rows of a file cannot say about themselves, so that its meta file says it before they are there; no I/O.

Where candles open, if not on the usual grid: without it the rows would be refused as malformed. And which of them may
still be revised by the exchange: these are stored and do not count as verified, so that the next fetch asks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from tickwire.errors import BadRequest
from tickwire.model import timeframes
from tickwire.model.messages import CandlePage
from tickwire.model.ranges import Range, merge, remove, subtract
from tickwire.model.subjects import Key
from tickwire.model.timeframes import Grid


class Terms(Struct, frozen=True):
    """`opens_at`: where any one candle opens (ms), None on the usual grid; `unsettled` are ranges with such rows."""

    opens_at: int | None = None
    unsettled: tuple[Range, ...] = ()

    def grid(self, key: Key) -> Grid:
        """Where the candles of a key open."""
        return timeframes.grid(key.timeframe, self.opens_at)

    def settled(self, verified: Iterable[Range]) -> list[Range]:
        """Those of the verified ranges whose rows are final."""
        return [part for whole in verified for part in subtract(whole, self.unsettled)]

    def before(self, pages: Sequence[CandlePage]) -> Terms:
        """What has to be on disk before the rows of these pages are."""
        opens_at = next((page.opens_at for page in pages if page.opens_at is not None), self.opens_at)
        return Terms(opens_at, tuple(merge([*self.unsettled, *map(_unsettled, pages)])))

    def after(self, pages: Iterable[CandlePage]) -> Terms:
        """What holds once the rows of these pages, in this order, are on disk."""
        unsettled = list(self.unsettled)
        for page in pages:
            unsettled = merge([*remove(unsettled, Range(page.since, page.until)), _unsettled(page)])
        return Terms(self.opens_at, tuple(unsettled))


def grid_of(page: CandlePage) -> Grid:
    """Where the candles of a page open."""
    return timeframes.grid(page.timeframe, page.opens_at)


def refused(page: CandlePage, grid: Grid) -> BadRequest:
    """Why a page of candles that open elsewhere than those of its file is not stored."""
    return BadRequest(
        f"candles of a page of {page.key} open at other times than those of its file (one at {grid.ceil_open(0)} ms)",
        "if the exchange has changed where they open, remove the key's files and fetch it again",
    )


def _unsettled(page: CandlePage) -> Range:
    return Range(page.until if page.settled is None else max(page.since, page.settled), page.until)
