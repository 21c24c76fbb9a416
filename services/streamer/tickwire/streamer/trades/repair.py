"""Repairs a trade feed after an interruption: fetches missing trades by REST until none is missing.

`repair_plan` decides what to request and what follows each page; `repair_requests` makes the requests.
"""

from __future__ import annotations

import time

from tickwire.exchange.past_trades import PageRequest, Unanswered
from tickwire.model.feeds import Trade
from tickwire.model.times import now_ms
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.trades.appender import TradeAppender
from tickwire.streamer.trades.content_identity import Identity
from tickwire.streamer.trades.ordering import PageResult, known_until
from tickwire.streamer.trades.queue import TradeQueue
from tickwire.streamer.trades.repair_plan import (
    BY_TIME_MS,
    RetryPolicy,
    Step,
    next_request,
    step_after,
)
from tickwire.streamer.trades.repair_requests import TOO_SLOW, RepairRequests
from tickwire.venues.proof import not_proven

NOT_THERE = "the exchange's REST does not have them"
NOT_SO_FAR = "the exchange's REST does not go back far enough"
TOO_FAR = "further back than repair_span_s"


class Repair:
    """The repairs of one feed. `identity` computes the keys of its trades."""

    def __init__(self, context: FeedContext, appender: TradeAppender, queue: TradeQueue, identity: Identity) -> None:
        self.context = context
        self.appender = appender
        self.queue = queue
        self._identity = identity
        self._reported_impossible = False

    async def run(self) -> None:
        """Repair until nothing is missing, the held trades are released with a gap, or the feed is stopped."""
        status = self.context.status
        repaired = status.repaired
        self.queue.show_state()
        await _Attempt(self).run()
        if not self.queue.missing:
            status.report("repaired", trades=status.repaired - repaired)
        self.queue.show_state()

    def report_impossible(self, reason: str) -> None:
        """Report once that the exchange's REST cannot be asked for past trades."""
        if not self._reported_impossible:
            self._reported_impossible = True
            phrase = not_proven(self.context.feed.exchange)
            self.context.status.report("limited", f"{reason}; {phrase}" if phrase else reason)

    def learned_ids(self) -> None:
        """Share with the exchange's other feeds that ids are not the same live and by REST, if that was found."""
        if not self._identity.by_id:
            self.context.venue.past.ids_shared = False


class _Attempt:
    """One repair. It ends by itself; `_refused` means that REST is not asked again until something arrives."""

    def __init__(self, repair: Repair) -> None:
        self._repair = repair
        self._context = repair.context
        self._queue = repair.queue
        self._ordering = repair.queue.ordering
        self._append = repair.appender.append
        self._past = repair.context.venue.past
        self._policy = RetryPolicy(repair.context.settings.repair_s)
        self._requests = RepairRequests(repair.context, self._policy)
        self._oldest: int | None = None
        """The earliest time (ms) that is requested; None until it is known."""
        self._reason = TOO_SLOW
        """Why held trades would be released with a gap."""
        self._refused = False

    async def run(self) -> None:
        queue = self._queue
        while not self._context.stop.is_set():
            await self._append(queue.all_runs())
            if not queue.repairable:
                return
            now = time.monotonic()
            self._policy.set_waiting(now, self._ordering.waiting)
            if self._ordering.waiting and (self._refused or self._policy.left_s(now) <= 0):
                await self._append(queue.give_up(self._reason))
                return
            if self._refused:
                await queue.wait()
            elif await self._fetch_page():
                return

    async def _fetch_page(self) -> bool:
        """Fetch one page and act on it; whether the repair is over."""
        interruptions = self._queue.interruptions
        left_out: list[str] = []
        try:
            request = await self._next_request()
            page = await self._requests.page(request, left_out.append)
        except Unanswered as error:
            return await self._handle(error)
        # The live trades that arrived meanwhile come first: the page may reach them.
        await self._append(self._queue.all_runs())
        self._reason = TOO_SLOW
        for reason in left_out:
            self._queue.left_out_of_page(reason)
        result, brought = await self._take(page, request)
        step = step_after(result, request, has_trades=bool(page), waiting=self._ordering.waiting)
        if step is Step.COUNT_ABSENT:
            self._refused = self._policy.confirm_absent()
            if self._refused:
                self._reason = TOO_FAR if request.cut else left_out[0] if left_out else NOT_THERE
                return False
        if step is Step.REQUEST:
            return False
        if step is Step.RELEASE:
            await self._append(self._ordering.give_up(TOO_FAR))
            return False
        if step is Step.VERIFY:
            # A page requested before an interruption proves nothing about what happened after it.
            is_proof = self._queue.interruptions == interruptions and (self._queue.caught_up or not brought)
            return is_proof and await self._is_settled() and await self._resume()
        return await self._wait_for_rest()

    async def _next_request(self) -> PageRequest:
        """The page to request; before the first one, gives up what is too far back. Raises Unanswered."""
        if self._oldest is None:
            self._oldest = await self._limit_reach()
        return next_request(self._ordering, self._oldest, self._past.asks_from_ms)

    async def _limit_reach(self) -> int:
        """The earliest time (ms) to request; what is missing before it becomes a gap. Raises Unanswered."""
        now = await self._requests.exchange_time()
        if now is None and self._queue.newest is not None:
            # The exchange's clock is not behind the trade that happened last.
            now = self._queue.newest.timestamp
        if now is None:
            # Without any time, nothing is too far back.
            await self._append(self._ordering.skip_to(0, TOO_FAR))
            return 0
        oldest = now - int(self._context.settings.repair_span_s * 1000)
        reach = oldest if self._ordering.last else max(oldest, now - BY_TIME_MS)
        await self._append(self._ordering.skip_to(reach, TOO_FAR))
        if self._past.facts.reach_ms is not None:
            oldest = max(oldest, now - self._past.facts.reach_ms)
            await self._append(self._ordering.skip_to(oldest, NOT_SO_FAR))
        return oldest

    async def _take(self, page: list[Trade], request: PageRequest) -> tuple[PageResult, bool]:
        """Append what the page brings; what the page proves, and whether it brought anything."""
        self._ordering.set_resolution(self._past.resolution_ms)
        reason = TOO_FAR if request.cut else NOT_SO_FAR
        runs, result = self._ordering.take_page(page, now_ms(), reason, request.floor)
        self._repair.learned_ids()
        if runs:
            self._policy.progressed(time.monotonic())
        await self._append(runs)
        return result, bool(runs)

    async def _handle(self, error: Unanswered) -> bool:
        """REST gave no page; whether the repair is over."""
        self._reason, self._refused = str(error), error.kind != "failed"
        if error.kind == "impossible":
            self._repair.report_impossible(self._reason)
            # Live trades bound the gap: those that arrived meanwhile, and the past ones that some venues send again
            # after a subscription.
            await self._append(self._queue.all_runs())
            if self._ordering.waiting:
                return False
            if not await self._is_settled():
                self._refused = False
                return False
            return await self._skip_to_connection(self._reason)
        if not self._refused:
            await self._pause()
        return False

    async def _wait_for_rest(self) -> bool:
        """Wait until REST may have more, unless it lacks even the last known trade; whether the repair is over."""
        lacks_all = not self._ordering.waiting and await self._is_settled() and self._policy.confirm_absent()
        if lacks_all and await self._skip_to_connection(NOT_SO_FAR):
            return True
        await self._pause()
        return False

    async def _resume(self) -> bool:
        await self._append(self._queue.resume())
        return True

    async def _skip_to_connection(self, reason: str) -> bool:
        """Give up what happened before the feed was connected; whether nothing is missing then.

        Only if the time of the connection is known and no trade is held back.
        """
        ordering, since = self._ordering, self._queue.connected_ms
        if since is None or ordering.waiting:
            return False
        # The two clocks differ by some milliseconds: the gap is never empty.
        await self._append(ordering.skip_to(max(since, known_until(ordering) + 1), reason))
        await self._append(self._queue.resume())
        return not self._queue.missing

    async def _is_settled(self) -> bool:
        """Whether what happened before the connection has had time to arrive; else waits for that or for news."""
        if self._queue.caught_up:
            return True
        wait_s = self._context.settings.settle_ms / 1000 - self._queue.connected_for_s
        if wait_s <= 0:
            return not self._ordering.waiting
        await self._queue.wait(wait_s)
        return False

    async def _pause(self) -> None:
        """Back off before the next request; live trades that need not wait are appended meanwhile."""
        now = time.monotonic()
        due = now + min(self._policy.delay_s(), max(0.0, self._policy.left_s(now)))
        while not self._context.stop.is_set() and self._queue.repairable and (left := due - time.monotonic()) > 0:
            await self._queue.wait(left)
            await self._append(self._queue.all_runs())
