"""Where a job's candles begin and end, by the exchange's clock and where its candles open. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tickwire.errors import BadRequest
from tickwire.fetcher.paging_types import ProvenPage
from tickwire.model.messages import FetchRequest
from tickwire.model.timeframes import Grid


@dataclass(frozen=True)
class Bounds:
    """`[since, until)` is what the job answers for, `[since, reach)` what it has the exchange asked for.

    `closed` is where the open candle opens, None where no clock tells: a candle is then closed when a later one exists.
    Candles may be revised for `revised_ms` after their end.
    """

    grid: Grid
    since: int
    until: int
    reach: int
    closed: int | None
    settled: int | None
    """Where the first candle opens that may still be revised; None where no clock tells."""
    revised_ms: int

    def settled_by(self, newest: int) -> int:
        """Where the first candle opens that may still be revised, if it is as late as one opens at `newest` (ms)."""
        return self.grid.open_of(newest - self.revised_ms)

    def termed(self, page: ProvenPage, newest: int | None) -> ProvenPage:
        """A page with what the cache has to know of it besides: which candles are final, and where they open."""
        settled = self.settled
        if settled is None and newest is not None:
            settled = self.settled_by(newest)
        final = settled is None or page.until <= settled
        return replace(page, settled=None if final else settled, opens_at=self.grid.opens_at)


def bounds(request: FetchRequest, grid: Grid, now: int | None, ours: int, settle_ms: int, revised_ms: int) -> Bounds:
    """Those of a request when it is `now` at the exchange, None where that is unknown, and `ours` here (all ms).

    A candle counts as closed `settle_ms` after its end. A request without `until` ends at the newest candle that is
    final; the newest closed ones are asked for, too. Raises BadRequest for what has not happened.
    """
    since = grid.ceil_open(request.since)
    asked = None if request.until is None else grid.ceil_open(request.until)
    if now is None:
        # Our own clock says only how far to ask: in the end the range ends at the newest candle there is.
        reach = max(since, grid.open_of(ours) if asked is None else asked)
        return Bounds(grid, since, reach, reach, None, None, revised_ms)
    if request.since > now:
        raise BadRequest(
            f"since ({request.since}) is in the future of {request.exchange}, where it is {now}",
            "ask for what has happened",
        )
    closed = grid.open_of(now - settle_ms)
    settled = min(closed, grid.open_of(now - revised_ms))
    until = max(since, settled if asked is None else asked)
    reach = max(since, closed if asked is None else min(until, closed))
    return Bounds(grid, since, until, reach, closed, settled, revised_ms)
