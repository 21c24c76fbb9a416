"""Requests for pages of the key's own timeframe: where a page begins, and when it is requested again. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from tickwire.fetcher.evidence import Evidence
from tickwire.fetcher.page_rows import PageRows
from tickwire.fetcher.paging_types import PageRequest, RefusedRequest, Steps
from tickwire.model.ranges import Range


class OwnPages:
    """Requests pages for the gaps of a range and credits them to its `evidence`."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._grid = evidence.grid
        self._facts = evidence.facts
        self._progress = evidence.progress
        self._honours_until: bool | None = None
        """Whether the exchange honours `until`; None until that was tried."""

    @property
    def send_until(self) -> bool:
        """Whether requests carry an `until`."""
        return self._honours_until is True

    def request(self, since: int | None, limit: int) -> Steps[RefusedRequest | None]:
        """Request one page and credit it. Returns the refusal, if the exchange refused."""
        reply = yield self._request_for(since, limit)
        if isinstance(reply, RefusedRequest):
            return reply
        assert isinstance(reply, PageRows)
        self._evidence.credit(reply, since, limit)
        return None

    def page(self, gap: Range) -> Steps[RefusedRequest | None]:
        """Request the page that begins at a gap. Returns the refusal, if the exchange refused."""
        first = self.first_request(gap, self.start_of(gap))
        return (yield from self.request(first.since, first.limit))

    def first_request(self, gap: Range, since: int) -> PageRequest:
        """The request for the page of a gap that begins at `since` (ms)."""
        # One more than is needed: a candle beyond the end proves a hole before it.
        needed = self._grid.count(since, gap.until) + 1
        return self._request_for(since, min(self._facts.limit, max(needed, 2)))

    def _request_for(self, since: int | None, limit: int) -> PageRequest:
        until = self._grid.advance(since, limit) if self.send_until and since is not None else None
        return PageRequest(self._grid.timeframe, since, limit, until)

    def after_full_pages(self, gap: Range, request: PageRequest) -> Iterator[PageRequest]:
        """The requests for the rest of a gap after `request` for its start, if each answer is full and has no hole."""
        while request.since is not None and (end := self._grid.advance(request.since, request.limit)) < gap.until:
            request = self.first_request(
                Range(end, gap.until), end if self._facts.honours_since else self.before(end, 1)
            )
            yield request

    def start_of(self, gap: Range) -> int:
        """The `since` of a page for a gap (ms)."""
        if self._evidence.is_doubtful(gap.since):
            # A page whose rows are all rejected is an error of the whole answer: include two sound rows.
            return self.before(gap.since, 2)
        return gap.since if self._facts.honours_since else self._anchor(gap.since)

    def _anchor(self, at: int) -> int:
        """The nearest known candle before `at`: a page that begins there shows both sides of a hole."""
        known = [each for each in self._evidence.page.opens if each < at]
        near = self.before(at, self._facts.limit // 2)
        return known[-1] if known and known[-1] >= near else self.before(at, 1)

    def before(self, at: int, candles: int) -> int:
        """The open time (ms) of the candle so many before `at`, not before 1970."""
        return max(0, self._grid.advance(at, -candles))

    def again(self, gap: Range) -> Steps[bool]:
        """Request a full page at a gap, or around the hole that it begins with. Returns whether the gap moved."""
        seen = self._evidence.first_candle_from(gap.since)
        if seen is None:
            # An exchange with a temporary fault answers with an empty page.
            yield from self.request(self.start_of(gap), self._facts.limit)
        elif not self._evidence.give_up_doubtful(gap):
            hole = self._grid.count(gap.since, seen) + 1
            fits = hole < self._facts.limit
            back = max(1, self._facts.limit - hole - 1) if fits else self._facts.limit // 2
            yield from self.request(self.before(gap.since, back), self._facts.limit)
        if self._progress.has_moved(gap):
            return True
        return (yield from self._with_until(gap))

    def _with_until(self, gap: Range) -> Steps[bool]:
        """Try a request with `until`: without it, some exchanges answer with the newest candles after `since`.

        Returns whether the gap moved, or is to be requested again because the exchange honours `until`.
        """
        undecided = self._honours_until is None and not self._facts.honours_since
        if not undecided or self._evidence.first_candle_from(gap.since) is None:
            return False
        self._honours_until = True
        since, limit = self._anchor(gap.since), self._facts.limit
        refused = yield from self.request(since, limit)
        opens = self._evidence.page.opens
        self._honours_until = refused is None and bool(opens) and opens[-1] < self._grid.advance(since, limit)
        return self._honours_until or self._progress.has_moved(gap)

    def first_served(self, gap: Range) -> Steps[int | None]:
        """Find by bisection from where on (ms) the exchange serves candles, when it serves none at a gap's start.

        Returns None where it does not even serve the last half page before the end of the gap.
        """
        low, high, limit, served = gap.since, gap.until, self._facts.limit, False
        while (ahead := self._grid.count(low, high)) > 1:
            # The end is tried first: where that is not served, nothing before it needs to be tried.
            middle = self._grid.advance(low, ahead // 2 if served else max(1, ahead - limit // 2))
            refused = yield from self.request(middle, limit)
            if refused is None and self._evidence.page.opens:
                served, high = True, middle
            elif served:
                low = middle
            else:
                break
        return high if served else None
