"""Which request comes next in order to have one missing range. No I/O.

What an answer proves is `proof`'s; where to ask is decided here, and found out from the answers: a venue may honour
`since` or not, answer with a window or with so many rows, have only its newest, refuse what is too old. The order of
attempts at a place that is not proven:

1. a page from there, beginning with the candle before it where the venue is not known to honour `since`, so that both
   sides of a hole stand in one answer;
2. once more, as far as the venue looks, and around the next row that was seen; where only newer rows come, with an end;
3. candles of larger timeframes (`ladder`), which prove holes longer than a page and show where trading went on;
4. where there are none, windows further on, and last the newest candles of all.

A place that nothing proves is given up, and fetching goes on at the next place where a candle is known to be: one hole
that cannot be proven never ends the rest. What is given up stays missing.
"""

from __future__ import annotations

from collections.abc import Generator

from tickwire.fetcher import proof
from tickwire.fetcher.larger_timeframes import LargerTimeframes
from tickwire.fetcher.page_rows import Answer, read, volumes
from tickwire.fetcher.paging_types import PageRequest, PagingFacts, ProvenPage, RefusedRange, RefusedRequest
from tickwire.fetcher.range_progress import RangeProgress
from tickwire.model import timeframes
from tickwire.model.ranges import Range, merge, subtract
from tickwire.model.timeframes import Grid

MAX_STRIDES = 24
"""How many windows in a row are looked into, where no larger timeframe tells the way, before a range ends."""
NEAR_STRIDES = 8
"""How many of them follow one another; then each is twice as far as the one before."""
MAX_LOST = 40
"""How often in a row the way may be searched without any new candle or proof before the rest is given up."""


Steps = Generator[PageRequest, object, bool]
"""Sends requests, is sent Answer, volumes or RefusedRequest, and returns whether the place in question was proven."""


class Pager:
    """Fetches one missing range `[since, until)`, both of them opens of `grid`; `until` is no later than `closed`.

    Ask the exchange `ask`, hand the answer to `take` or its refusal to `refuse`, publish what it proves; until `ask`
    is None. `missing` is what is left. `closed` is the open time of the open candle, None where the exchange's clock
    is unknown. `newest` is where the newest candle opens that was answered before, which is asked for otherwise.
    """

    def __init__(
        self, grid: Grid, wanted: Range, closed: int | None, facts: PagingFacts, newest: int | None = None
    ) -> None:
        self._grid = grid
        self._ground = RangeProgress(wanted)
        self._closed = closed
        self._facts = facts
        self._answer = Answer([])
        """The last one of the key's own timeframe."""
        self._absent: list[Range] = []
        """What an answer left out, where the venue has rows of quiet intervals."""
        self._bounded: bool | None = None
        """Whether the venue honours an end, once it was tried."""
        self.newest = newest
        """Where the newest candle opens that was answered, closed or not."""
        self._lost = 0
        self.served = False
        """Whether the exchange answered at all."""
        self.refusals: list[RefusedRange] = []
        self.rejected: list[str] = []
        """Why rows of the last answer were rejected."""
        self._ladder = LargerTimeframes(grid, facts.limit, facts.timeframes, closed, honoured=facts.honoured)
        self._steps = self._run()
        self.ask: PageRequest | None = next(self._steps, None)

    @property
    def missing(self) -> list[Range]:
        """What is not proven yet."""
        return self._ground.missing

    @property
    def helps(self) -> bool:
        """Whether `ask` is for candles of another timeframe, which only help."""
        return self.ask is not None and self.ask.timeframe != self._grid.timeframe

    def take(self, answer: object, latest: int | None = None) -> list[ProvenPage]:
        """Take in the answer to `ask`; what it proves beyond what was proven before.

        No candle opens after `latest` (ms). Raises BadRows when the answer cannot be right and OtherGrid when all its
        candles open elsewhere; `ask` then stays as it is.
        """
        assert self.ask is not None
        if self.ask.timeframe == self._grid.timeframe:
            own = read(answer, self._grid, latest)
            self.rejected = own.rejected
            return self._step(own)
        self.rejected = []
        return self._step(volumes(answer, latest))

    def refuse(self, words: str, *, lasting: bool = False) -> list[ProvenPage]:
        """The exchange refused `ask`. `lasting`: others of the kind are not to be tried."""
        self.rejected = []
        return self._step(RefusedRequest(words, lasting))

    def _step(self, reply: object) -> list[ProvenPage]:
        try:
            self.ask = self._steps.send(reply)
        except StopIteration:
            self.ask = None
        return self._ground.taken()

    # -- the order of attempts ------------------------------------------------------------------------------------

    def _run(self) -> Generator[PageRequest, object, None]:
        self._skip_what_is_too_old()
        if self._closed is None and self.newest is None:
            # No clock tells which candles are final: those that are so much older than the newest one. It has to be
            # known before they are read, for one that was read too early is not final, whatever comes later.
            yield from self._own(None, 2)
        while (gap := self._ground.gap) is not None:
            if (
                (yield from self._page(gap))
                or (yield from self._closer(gap))
                or self._in_doubt(gap)
                or (yield from self._search(gap))
            ):
                self._lost = 0

    def _give_up(self, since: int, until: int) -> None:
        self._ground.give_up(since, max(until, self._grid.next_open(since)))

    def _skip_what_is_too_old(self) -> None:
        if self._facts.newest is None or self._closed is None:
            return
        # The open candle is one of them.
        oldest = self._grid.advance(self._closed, 1 - self._facts.newest)
        since, until = self._ground.wanted.since, min(oldest, self._ground.wanted.until)
        if since < until:
            self._give_up(since, until)
            words = f"the exchange has only its newest {self._facts.newest} candles"
            self.refusals.append(RefusedRange(since, until, words))

    def _in_doubt(self, gap: Range) -> bool:
        """Give up what a rejected row leaves open, which was asked for once more."""
        doubt = next((each for each in self._answer.doubts if each.since <= gap.since < each.until), None)
        if doubt is not None:
            self._give_up(gap.since, min(doubt.until, gap.until))
        return doubt is not None

    # -- pages of the key's own timeframe -------------------------------------------------------------------------

    def _own(self, since: int | None, limit: int) -> Steps:
        """Ask for candles and credit them. Returns whether there was an answer."""
        until = self._grid.advance(since, limit) if self._bounded and since is not None else None
        reply = yield PageRequest(self._grid.timeframe, since, limit, until)
        if isinstance(reply, RefusedRequest):
            return False
        assert isinstance(reply, Answer)
        self._credit(reply, since)
        return True

    def _page(self, gap: Range) -> Steps:
        since = self._place(gap)
        # One more than is needed: a candle beyond the end proves a hole before it.
        needed = self._grid.count(since, gap.until) + 1
        reply = yield PageRequest(
            self._grid.timeframe,
            since,
            limit := min(self._facts.limit, max(needed, 2)),
            self._grid.advance(since, limit) if self._bounded else None,
        )
        if isinstance(reply, RefusedRequest):
            yield from self._refused(gap, reply)
            return True
        assert isinstance(reply, Answer)
        self._credit(reply, since)
        return self._ground.has_moved(gap)

    def _place(self, gap: Range) -> int:
        """Where a page for a gap begins."""
        if any(doubt.since <= gap.since < doubt.until for doubt in self._answer.doubts):
            # Beside candles that are sound, or the answer would be all wrong.
            return self._before(gap.since, 2)
        return gap.since if self._facts.honoured else self._anchor(gap.since)

    def _anchor(self, at: int) -> int:
        """The nearest candle before a place: with it in the answer, so are both sides of a hole."""
        known = [each for each in self._answer.opens if each < at]
        near = self._before(at, self._facts.limit // 2)
        return known[-1] if known and known[-1] >= near else self._before(at, 1)

    def _before(self, at: int, candles: int) -> int:
        return max(0, self._grid.advance(at, -candles))

    def _closer(self, gap: Range) -> Steps:
        """Once more, as far as the venue looks; around the next row, where one was seen after a hole."""
        seen = self._seen_after(gap)
        if seen is None:
            # An exchange with a hiccup answers empty.
            yield from self._own(self._place(gap), self._facts.limit)
        elif not self._in_doubt(gap):
            hole = self._grid.count(gap.since, seen) + 1
            fits = hole < self._facts.limit
            back = max(1, self._facts.limit - hole - 1) if fits else self._facts.limit // 2
            yield from self._own(self._before(gap.since, back), self._facts.limit)
        if self._ground.has_moved(gap):
            return True
        return (yield from self._with_an_end(gap))

    def _with_an_end(self, gap: Range) -> Steps:
        """Say an end: without, some venues give the newest candles since `since`."""
        if self._bounded is not None or self._facts.honoured or self._seen_after(gap) is None:
            return False
        self._bounded = True
        since, limit = self._anchor(gap.since), self._facts.limit
        answered = yield from self._own(since, limit)
        opens = self._answer.opens
        # Where the venue heeds it, the place is asked for once more with an end.
        self._bounded = answered and bool(opens) and opens[-1] < self._grid.advance(since, limit)
        return self._bounded or self._ground.has_moved(gap)

    def _seen_after(self, gap: Range) -> int | None:
        return next((at for at in self._answer.opens if at >= gap.since), None)

    def _refused(self, gap: Range, refused: RefusedRequest) -> Steps:
        """Find out from where on the venue answers: a refused request ends its own range and nothing else."""
        served = None if refused.lasting else (yield from self._first_served(gap))
        until = gap.until if served is None else served
        self.refusals.append(RefusedRange(gap.since, until, refused.words))
        self._give_up(gap.since, until)
        return True

    def _first_served(self, gap: Range) -> Generator[PageRequest, object, int | None]:
        """By halves, from where on the venue gives candles, when it gives none at the beginning of a gap."""
        low, high, limit, served = gap.since, gap.until, self._facts.limit, False
        while (ahead := self._grid.count(low, high)) > 1:
            # First the end: where not even that is served, the rest need not be tried.
            middle = self._grid.advance(low, ahead // 2 if served else max(1, ahead - limit // 2))
            if (yield from self._own(middle, limit)) and self._answer.opens:
                served, high = True, middle
            elif served:
                low = middle
            else:
                break
        return high if served else None

    # -- what the answers prove -----------------------------------------------------------------------------------

    def _credit(self, answer: Answer, asked: int | None) -> None:
        """Take what an answer of the key's own timeframe proves."""
        self._answer, self.served = answer, True
        if answer.rows:
            self.newest = max(answer.rows[-1][0], self.newest or 0)
        found = proof.proven(answer, self._grid, asked, self._closed, honoured=self._facts.honoured)
        if self._facts.flat:
            found = self._agreed(answer, asked, found)
        if asked is not None:
            self._ladder.confirm(answer.opens, asked)
        self._ladder.account(answer.rows)
        self._ground.prove([*self._ladder.taken(), *found], answer.rows)

    def _agreed(self, answer: Answer, asked: int | None, found: list[Range]) -> list[Range]:
        """What is proven where an absent row is no quiet interval: not what this answer is the first to leave out."""
        holes = proof.left_out(answer, self._grid, asked)
        known = self._absent if self._facts.honoured else []
        fresh = [part for hole in holes for part in subtract(hole, known)]
        self._absent = merge([*self._absent, *holes])
        return merge(part for whole in found for part in subtract(whole, fresh))

    # -- across what no page proves -------------------------------------------------------------------------------

    def _search(self, gap: Range) -> Steps:
        """Prove a hole, or find where to go on, and give up what lies before."""
        self._lost += 1
        seen = self._seen_after(gap)
        on = None
        if self._lost <= MAX_LOST and not self._is_the_open_candle(seen):
            if seen is not None or self._is_beyond_a_page(gap):
                on = yield from self._way_on(gap)
            if self._ground.has_moved(gap):
                return True
            # A lone newest candle, where nothing else was found.
            on = seen if on is None else on
        self._give_up(gap.since, gap.until if on is None else min(gap.until, on))
        return False

    def _way_on(self, gap: Range) -> Generator[PageRequest, object, int | None]:
        """Where after a gap candles of the key are to be had; None if there are none, or the gap is proven."""
        around = self._ladder.around(gap.since)
        if around is not None:
            # Within a candle of the smallest larger timeframe only windows can tell.
            found = yield from self._stride(gap, self._grid.count(*around) // self._facts.limit)
            if found is not None:
                return found
        found = yield from self._climb(gap)
        if self._ground.has_moved(gap):
            return None
        if found is not None:
            if (seen := self._seen_after(gap)) is not None:
                return seen
            served = yield from self._first_served(Range(gap.since, max(found, gap.until)))
            return found if served is None else served
        if not self._ladder.answered:
            found = yield from self._stride(gap, MAX_STRIDES)
            if found is None:
                yield from self._own(None, self._facts.limit)
                found = self._seen_after(gap)
        return found

    def _climb(self, gap: Range) -> Generator[PageRequest, object, int | None]:
        """Ask for candles of larger timeframes, then for the key's own around the first of them."""
        looks = self._ladder.climb(gap.since)
        candles = None
        try:
            while True:
                rung, since, limit = looks.send(candles)
                until = timeframes.advance(rung, since, limit) if self._bounded and since is not None else None
                reply = yield PageRequest(rung, since, limit, until)
                candles = reply if isinstance(reply, dict) else None
                if isinstance(reply, RefusedRequest) and reply.lasting:
                    self._ladder.close()
                    return None
        except StopIteration as stopped:
            found: int | None = stopped.value
        self._ground.prove(self._ladder.taken(), [])
        # The key's own around both ends of the hole: they account for the larger candles there, and confirm lone ones.
        around = self._ladder.around(gap.since)
        if around is not None and not self._ground.has_moved(gap) and self._grid.count(*around) < self._facts.limit:
            yield from self._own(self._before(around.since, 1), self._facts.limit)
        if found is None:
            return None
        place = self._grid.open_of(found)
        yield from self._own(self._before(place, 1), self._facts.limit)
        return max(place, self._grid.next_open(gap.since))

    def _is_beyond_a_page(self, gap: Range) -> bool:
        """Whether there are places after the gap that a page from there does not reach."""
        return self._closed is None or self._grid.count(gap.since, self._closed) >= self._facts.limit

    def _is_the_open_candle(self, seen: int | None) -> bool:
        """Whether the candle at a place is there, and is the newest where no clock says whether it is closed."""
        return self._closed is None and seen is not None and seen == self._answer.opens[-1]

    def _stride(self, gap: Range, strides: int) -> Generator[PageRequest, object, int | None]:
        """Look into windows further on: where a candle opens after those without."""
        at, step, limit = self._place(gap), self._facts.limit, self._facts.limit
        for stride in range(strides):
            at = self._grid.advance(at, step)
            if at >= (gap.until if self._closed is None else min(gap.until, self._closed)):
                break
            yield from self._own(at, limit)
            # Any other may be the newest candle, which some venues add to every page.
            window = self._grid.advance(at, limit)
            found = next((each for each in self._answer.opens if gap.since <= each < window), None)
            if found is not None:
                return found
            if stride >= NEAR_STRIDES:
                step *= 2
        return None
