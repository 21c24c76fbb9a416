"""The bounds of a job's candles: by its request, the exchange's clock and where its candles open. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tickwire.errors import BadRequest
from tickwire.fetcher.paging_types import ProvenPage
from tickwire.model.messages import FetchRequest
from tickwire.model.timeframes import Grid


@dataclass(frozen=True)
class Bounds:
    """Times in ms. The job's result is about `[since, until)`; the exchange is asked for `[since, reach)`.

    `closed` is the open time of the candle that is still open; None where the exchange has no clock: a candle is then
    closed when a later one exists. Candles may be revised for `revised_ms` after their end.
    """

    grid: Grid
    since: int
    until: int
    reach: int
    closed: int | None
    settled: int | None
    """The open time of the first candle that may still be revised; None where the exchange has no clock."""
    revised_ms: int

    def settled_by(self, newest: int) -> int:
        """The open time (ms) of the first candle that may still be revised when one has opened at `newest`."""
        return self.grid.open_of(newest - self.revised_ms)

    def with_finality(self, page: ProvenPage, newest: int | None) -> ProvenPage:
        """The page with which of its candles are final, and where they open, as the cache needs it."""
        settled = self.settled
        if settled is None and newest is not None:
            settled = self.settled_by(newest)
        final = settled is None or page.until <= settled
        return replace(page, settled=None if final else settled, opens_at=self.grid.opens_at)


def bounds_of(
    request: FetchRequest, grid: Grid, now: int | None, local_now: int, settle_ms: int, revised_ms: int
) -> Bounds:
    """The bounds of a request at the exchange's time `now` (None where it has no clock). All times in ms.

    A candle counts as closed `settle_ms` after its end. A request without `until` ends at the newest final candle; the
    closed candles after it are fetched, too. Raises BadRequest for a `since` in the future.
    """
    since = grid.ceil_open(request.since)
    asked = None if request.until is None else grid.ceil_open(request.until)
    if now is None:
        # This machine's clock only limits what is requested; the range will end at the newest candle that exists.
        reach = max(since, grid.open_of(local_now) if asked is None else asked)
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
