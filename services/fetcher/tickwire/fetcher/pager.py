"""Decides which request comes next to get one missing range of candles. No I/O.

Exchanges differ: one honours `since`, another answers with a window of time, or with its newest candles whatever was
asked; some refuse old ranges. Where the profile does not declare it, the pager learns it from the answers. At a place
that is not proven it tries, in this order:

1. `own_pages`: a page from there. Where the exchange is not known to honour `since` the page begins with the candle
   before the place, so that one answer shows both sides of a hole.
2. `own_pages`: the page again, as large as the exchange allows, or around the hole; then with an `until`.
3. `gap_search`: candles of larger timeframes (`larger_timeframes`), which prove holes longer than a page and show where
   trading resumed; without them, windows further on, and last the newest candles of all.

What no answer proves (`proof`) is given up and stays missing; paging resumes at the next known candle.
"""

from __future__ import annotations

from collections.abc import Iterator

from tickwire.fetcher.evidence import Evidence
from tickwire.fetcher.gap_search import GapSearch
from tickwire.fetcher.own_pages import OwnPages
from tickwire.fetcher.paging_types import (
    PageRequest,
    PagingFacts,
    ProvenPage,
    RefusedRange,
    RefusedRequest,
    Reply,
    Steps,
)
from tickwire.model.ranges import Range
from tickwire.model.timeframes import Grid


class Pager:
    """Pages through one missing range `[since, until)`, whose ends are opens of `grid`; no I/O.

    Send the request `ask`, hand its reply to `take`, store the pages that `take` returns; repeat until `ask` is None.
    `missing` is then what is not proven.

    `closed` is the open time (ms) of the candle that is still open, None where the exchange's clock is unknown; the
    range ends no later. `newest` is the open time of the newest candle received for the key so far; where neither is
    known, the newest candle is requested first.
    """

    def __init__(
        self, grid: Grid, wanted: Range, closed: int | None, facts: PagingFacts, newest: int | None = None
    ) -> None:
        self.wanted = wanted
        self._evidence = Evidence(grid, wanted, closed, facts, newest)
        self._own = OwnPages(self._evidence)
        self._search = GapSearch(self._evidence, self._own)
        self.refused: list[RefusedRange] = []
        """Ranges that the exchange refused to serve."""
        self._steps = self._run()
        self.ask: PageRequest | None = next(self._steps, None)
        """The next request; None at the end of the range."""

    @property
    def missing(self) -> list[Range]:
        """The parts that are not proven so far."""
        return self._evidence.progress.missing

    @property
    def newest(self) -> int | None:
        """The open time (ms) of the newest candle received so far, closed or not."""
        return self._evidence.newest

    @property
    def answered(self) -> bool:
        """Whether the exchange answered any request for the key's own timeframe."""
        return self._evidence.answered

    def take(self, reply: Reply) -> list[ProvenPage]:
        """Take the reply to `ask`: PageRows for the key's own timeframe, Volumes for a larger one, or a refusal.

        Returns what it proves beyond what was proven before, and sets the next `ask`.
        """
        try:
            self.ask = self._steps.send(reply)
        except StopIteration:
            self.ask = None
        return self._evidence.progress.take_pages()

    def expected(self) -> Iterator[PageRequest]:
        """The requests that follow `ask` if the answers are full pages without a hole; none during a search.

        None where the exchange's clock is unknown: which candles were final when a page was read is then known from the
        pages before it, so the next must not be requested before those are here.
        """
        gap = self._evidence.progress.gap
        if gap is None or self.ask is None or self._evidence.closed is None:
            return iter(())
        if self.ask != self._own.first_request(gap, self._own.start_of(gap)):
            return iter(())
        return self._own.after_full_pages(gap, self.ask)

    def _run(self) -> Steps[None]:
        self._give_up_unavailable()
        if self._evidence.closed is None and self._evidence.newest is None:
            # Without a clock a candle is final when it is old enough relative to the newest one. The newest must be
            # known before older ones are read: a candle that was read too early is not final, whatever comes later.
            yield from self._own.request(None, 2)
        while (gap := self._evidence.progress.gap) is not None:
            if (yield from self._advance(gap)):
                self._search.reset()

    def _advance(self, gap: Range) -> Steps[bool]:
        """Prove or give up the start of a gap. Returns False if the search for a proof failed."""
        refused = yield from self._own.page(gap)
        if refused is not None:
            yield from self._skip_refused(gap, refused)
            return True
        if self._evidence.progress.has_moved(gap) or (yield from self._own.again(gap)):
            return True
        return self._evidence.give_up_doubtful(gap) or (yield from self._search.search(gap))

    def _give_up_unavailable(self) -> None:
        """Give up what is older than the newest candles that the exchange keeps, where its profile declares them."""
        kept, closed, wanted = self._evidence.facts.newest_rows, self._evidence.closed, self._evidence.progress.wanted
        if kept is None or closed is None:
            return
        # The open candle is one of them.
        oldest = self._evidence.grid.advance(closed, 1 - kept)
        since, until = wanted.since, min(oldest, wanted.until)
        if since < until:
            self._give_up_refused(since, until, f"the exchange has only its newest {kept} candles")

    def _skip_refused(self, gap: Range, refused: RefusedRequest) -> Steps[None]:
        """Find from where on the exchange serves the gap; record and give up the part before."""
        served = yield from self._own.first_served(gap)
        self._give_up_refused(gap.since, gap.until if served is None else served, refused.reason)

    def _give_up_refused(self, since: int, until: int, reason: str) -> None:
        self.refused.append(RefusedRange(since, until, reason))
        self._evidence.give_up(since, until)
