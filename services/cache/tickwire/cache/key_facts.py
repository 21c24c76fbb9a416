"""Facts about a key that its rows cannot express, so the meta file has them before the rows are written; no I/O.

They are where candles open, if not on the usual grid: without it the rows would be refused as malformed. Which rows
the exchange may still revise: these are stored, but do not count as verified, so the next fetch requests them again.
And where the rows come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec import Struct

from tickwire.cache import provenance
from tickwire.errors import BadRequest
from tickwire.model import timeframes
from tickwire.model.messages import CandlePage, Provenance
from tickwire.model.ranges import Range, merge, remove, subtract
from tickwire.model.subjects import Key
from tickwire.model.timeframes import Grid


class KeyFacts(Struct, frozen=True):
    """`opens_at`: an open time of any candle (ms), None on the usual grid; `unsettled`: ranges that may be revised.

    `compared_as_of`: certificates that the archive made until then (ms) were taken into account, 0 if not known.
    """

    opens_at: int | None = None
    unsettled: tuple[Range, ...] = ()
    provenance: Provenance = Provenance()
    compared_as_of: int = 0

    def grid(self, key: Key) -> Grid:
        """Where the candles of the key open."""
        return timeframes.grid(key.timeframe, self.opens_at)

    def settled(self, verified: Iterable[Range]) -> list[Range]:
        """The parts of the verified ranges whose rows are final."""
        return [part for whole in verified for part in subtract(whole, self.unsettled)]

    def before(self, pages: Sequence[CandlePage]) -> KeyFacts:
        """The facts to be durable before the rows of these pages are."""
        opens_at = next((page.opens_at for page in pages if page.opens_at is not None), self.opens_at)
        unsettled = tuple(merge([*self.unsettled, *map(_unsettled, pages)]))
        return msgspec.structs.replace(
            self, opens_at=opens_at, unsettled=unsettled, provenance=provenance.before(self.provenance, pages)
        )

    def after(self, pages: Sequence[CandlePage], dates: Callable[[Range], Iterable[int]]) -> KeyFacts:
        """The facts once the rows of these pages, in this order, are durable. `dates` as in `provenance.after`."""
        unsettled = list(self.unsettled)
        for page in pages:
            unsettled = merge([*remove(unsettled, Range(page.since, page.until)), _unsettled(page)])
        known = provenance.after(self.provenance, pages, dates)
        return msgspec.structs.replace(self, unsettled=tuple(unsettled), provenance=known)


def grid_of(page: CandlePage) -> Grid:
    """Where the candles of a page open."""
    return timeframes.grid(page.timeframe, page.opens_at)


def grid_mismatch(page: CandlePage, grid: Grid) -> BadRequest:
    """The error for a page whose candles open at other times than those of its file."""
    return BadRequest(
        f"candles of a page of {page.key} open at other times than those of its file (one at {grid.ceil_open(0)} ms)",
        "if the exchange has changed where they open, remove the key's files and fetch it again",
    )


def _unsettled(page: CandlePage) -> Range:
    return Range(page.until if page.settled is None else max(page.since, page.settled), page.until)
