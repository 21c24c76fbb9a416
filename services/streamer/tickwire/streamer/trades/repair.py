"""Having REST fill in what is missing from a feed of trades: what is asked, how long, and what the answers prove."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from ccxt.base import errors

from tickwire.errors import ExchangeFailed
from tickwire.exchange.admission import LeftOut
from tickwire.exchange.past_trades import PageRequest, Unanswered
from tickwire.model.feeds import Trade
from tickwire.model.times import now_ms
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.trades import repair_plan
from tickwire.streamer.trades.content_identity import Identity
from tickwire.streamer.trades.ordering import PageResult, TradeRun, known_until
from tickwire.streamer.trades.queue import TradeQueue
from tickwire.streamer.trades.repair_plan import RetryPolicy

CALL_S = 30.0
"""A call of REST is given up after this: ccxt's own timeout leaves out the waiting for its turn."""

NOT_IN_TIME = "the exchange's REST did not give them in time"
NOT_THERE = "the exchange's REST does not have them"
NOT_SO_FAR = "the exchange's REST does not go back far enough"
TOO_FAR = "further back than repair_span_s"


class Repair:
    """The repairs of one feed. `append` puts trades on its tape, `identity` is what they are known by."""

    def __init__(
        self, context: FeedContext, append: Callable[[Sequence[TradeRun]], Awaitable[None]], identity: Identity
    ) -> None:
        self._context = context
        self._status = context.status
        self._append = append
        self._past = context.venue.past
        self._identity = identity
        self._said_impossible = False

    async def run(self, intake: TradeQueue) -> None:
        """Have REST fill in what is missing, until nothing is, or nobody waits for it, or it is stopped."""
        ordering = intake.ordering
        patience = RetryPolicy(self._context.settings.repair_s)
        oldest: int | None = None
        reason, refused = NOT_IN_TIME, False
        repaired = self._status.repaired
        intake.show()
        while not self._context.stop.is_set():
            await self._append(intake.all_ordered())
            if not intake.repairable:
                break
            now = time.monotonic()
            patience.set_waiting(now, ordering.waiting)
            if ordering.waiting and (refused or patience.left_s(now) <= 0):
                await self._append(intake.gave_up(reason))
                break
            if refused:
                await _woken(intake)
                continue
            interruptions = intake.interruptions
            try:
                if oldest is None:
                    venue_ms = await self._exchange_now(patience)
                    if venue_ms is None and intake.newest is not None:
                        # It is no earlier there than what happened last.
                        venue_ms = intake.newest.timestamp
                    # Where not even that is known, nothing is too far back to be asked for.
                    oldest = 0 if venue_ms is None else venue_ms - int(self._context.settings.repair_span_s * 1000)
                    reach = (
                        oldest if ordering.last or venue_ms is None else max(oldest, venue_ms - repair_plan.BY_TIME_MS)
                    )
                    await self._append(ordering.skip_to(reach, TOO_FAR))
                    if venue_ms is not None and self._past.facts.reach_ms is not None:
                        oldest = max(oldest, venue_ms - self._past.facts.reach_ms)
                        await self._append(ordering.skip_to(oldest, NOT_SO_FAR))
                ask = repair_plan.next_request(ordering, oldest, self._past.asks_from_ms)
                left_out: list[str] = []
                page = await self._asked(ask, patience, left_out.append)
            except Unanswered as error:
                reason, refused = str(error), error.kind != "failed"
                if error.kind == "impossible":
                    self._say_impossible(reason)
                    if await self._forgone(intake, reason):
                        break
                elif not refused:
                    await self._pause(intake, patience)
                continue
            # What arrived meanwhile, first: the page may reach it.
            await self._append(intake.all_ordered())
            reason = NOT_IN_TIME
            for why in left_out:
                intake.left_out_of_page(why)
            ordering.set_resolution(self._past.resolution_ms)
            runs, answer = ordering.take_page(page, now_ms(), TOO_FAR if ask.cut else NOT_SO_FAR, ask.floor)
            if not self._identity.by_id:
                # The exchange's other feeds need not find it out.
                self._past.ids_shared = False
            if runs:
                patience.progressed(time.monotonic())
            await self._append(runs)
            if answer is PageResult.COMPLETE:
                # A page asked for before an interruption knows nothing of it, nor do trades that came before it.
                proven = intake.interruptions == interruptions and (intake.arrived or not runs)
                if proven and await self._settled(intake):
                    await self._append(intake.resumed())
                    break
            elif answer is PageResult.MORE:
                continue
            elif ask.cut and page and ordering.waiting:
                await self._append(ordering.give_up(TOO_FAR))
            elif (answer is PageResult.ABSENT or ask.cut) and patience.confirm_absent():
                reason, refused = TOO_FAR if ask.cut else left_out[0] if left_out else NOT_THERE, True
            else:
                # REST may not even have the last trade that is known, or have it no more.
                lacks_all = not ordering.waiting and await self._settled(intake) and patience.confirm_absent()
                if lacks_all and await self._forgone(intake, NOT_SO_FAR):
                    break
                await self._pause(intake, patience)
        if not intake.missing:
            self._status.report("repaired", trades=self._status.repaired - repaired)
        intake.show()

    def _say_impossible(self, reason: str) -> None:
        if not self._said_impossible:
            self._said_impossible = True
            self._status.report("limited", reason)

    async def _forgone(self, intake: TradeQueue, reason: str) -> bool:
        """Do without what happened before the feed was connected, where that is known and nothing waits for it."""
        ordering, since = intake.ordering, intake.connected_at
        if since is None or ordering.waiting:
            return False
        # The clocks are not compared to the millisecond: there is always some time in which trades may be missing.
        await self._append(ordering.skip_to(max(since, known_until(ordering) + 1), reason))
        await self._append(intake.resumed())
        return not intake.missing

    async def _settled(self, intake: TradeQueue) -> bool:
        """Whether REST's word that nothing is missing counts: just after a connection it may lag behind."""
        if intake.arrived:
            return True
        wait = self._context.settings.settle_ms / 1000 - intake.connected_for_s
        if wait <= 0:
            return not intake.ordering.waiting
        await _woken(intake, wait)
        return False

    async def _exchange_now(self, patience: RetryPolicy) -> int | None:
        """The exchange's clock, ms; None where its time is unknown. Raises Unanswered."""
        try:
            async with asyncio.timeout(min(CALL_S, max(0.0, patience.left_s(time.monotonic())))):
                return await self._context.venue.now()
        except (errors.BaseError, ExchangeFailed, TimeoutError) as error:
            raise Unanswered("failed", f"the exchange does not tell the time: {type(error).__name__}") from error

    async def _asked(self, ask: PageRequest, patience: RetryPolicy, left_out: LeftOut) -> list[Trade]:
        """A page; `left_out` is told of each trade that cannot be used.

        Raises Unanswered, also when stopped before it came.
        """
        gate = self._context.venue.rest.gate
        left = patience.left_s(time.monotonic())
        if gate.remaining_s > left:
            raise Unanswered("refused", f"the exchange wants to be left alone for {gate.remaining_s:.0f} s")
        call = asyncio.ensure_future(
            self._past.fetch(self._context.feed.symbol, ask, self._context.venue.admission, left_out)
        )
        stopped = asyncio.ensure_future(self._context.stop.wait())
        try:
            await asyncio.wait({call, stopped}, timeout=min(left, CALL_S), return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise Unanswered("failed", NOT_IN_TIME)
            return call.result()
        finally:
            call.cancel()
            stopped.cancel()
            await asyncio.gather(call, stopped, return_exceptions=True)

    async def _pause(self, intake: TradeQueue, patience: RetryPolicy) -> None:
        """Wait before REST is asked again. What comes meanwhile, and may go on, does."""
        due = time.monotonic() + min(patience.delay_s(), max(0.0, patience.left_s(time.monotonic())))
        while not self._context.stop.is_set() and intake.repairable and (left := due - time.monotonic()) > 0:
            await _woken(intake, left)
            await self._append(intake.all_ordered())


async def _woken(intake: TradeQueue, seconds: float | None = None) -> None:
    """Until something new is in the intake, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await intake.wake.wait()
    except TimeoutError:
        return
    intake.wake.clear()
