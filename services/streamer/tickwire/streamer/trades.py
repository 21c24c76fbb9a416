"""The body of a feed of trades: every trade on the tape once, in order, or a gap with its bounds.

| subject | |
|---|---|
| `tape.trade.<exchange>.<token>` | read back at first; then appended to: trades, gaps, how far the tape is complete |
| `tape.status.trade.<exchange>.<token>` | what happens to the feed, by the board |

The venue puts frames into the intake; one coroutine takes them from there, asks REST for what is missing, and appends.
While an append is under way the next batch gathers, so batches are as large as they must be and no larger.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from ccxt.base import errors

from tickwire import lifecycle, logs, messages, streams
from tickwire.errors import ExchangeFailed
from tickwire.exchange.steady import now_ms
from tickwire.feeds import Gap, Trade, Trades
from tickwire.streamer import backfill
from tickwire.streamer.admission import LeftOut
from tickwire.streamer.backfill import Ask, Patience, Unanswered
from tickwire.streamer.counted import Counted
from tickwire.streamer.desk import Desk
from tickwire.streamer.history import recent_trades
from tickwire.streamer.identity import Identity
from tickwire.streamer.intake import BATCH_TRADES, Intake
from tickwire.streamer.sequence import Answer, Run, Source
from tickwire.streamer.tape import Tape, open_tape
from tickwire.streamer.uncounted import Uncounted
from tickwire.venues.registry import profile_of
from tickwire.venues.units import stated_in_trades

log = logs.get(__name__)

BATCH_BYTES = 512 * 1024
"""Half of nats-server's default `max_payload`."""
READ_BACK = 1000
"""Trades read back where ids do not count: as many as a page of REST may hold."""
MINUTE_MS = 60_000
RECHECK_S = 1.0
CLOCK_S = 5.0
CALL_S = 30.0
"""A call of REST is given up after this: ccxt's own timeout leaves out the waiting for its turn."""

NOT_IN_TIME = "the exchange's REST did not give them in time"
NOT_THERE = "the exchange's REST does not have them"
NOT_SO_FAR = "the exchange's REST does not go back far enough"
TOO_FAR = "further back than repair_span_s"


async def run(desk: Desk) -> None:
    """Follow the feed until `desk.stop` is set. Raises Fenced, and what opening the feed at the venue raises."""
    desk.board.say("starting")
    tape, _ = await open_tape(desk.bus, streams.TRADES, desk.feed.tape, desk.confirm)
    body = _Body(desk, tape)
    # Shuts an earlier writer out, so that what is read back is all there is.
    end = await body.append_message([], _now())
    counted = desk.venue.counted
    recent = await recent_trades(desk.bus, desk.feed, end, 1 if counted else READ_BACK)
    facts = profile_of(desk.feed.exchange).trades
    identity = Identity(facts.ids_shared, facts.resolution_ms or 1)
    ordering = Counted(*recent) if counted else Uncounted(*recent, identity)
    await _told_the_time(desk)
    intake = Intake(desk.board, ordering, desk.settings.held, desk.venue.clock)
    async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
        beside = [group.create_task(body.minutes(intake)), group.create_task(_wake_to_stop(desk, intake))]
        async with desk.venue.watching(desk.feed, intake):
            await body.follow(intake)
        # What waits for something missing, the next owner fetches.
        await body.append(intake.all_ordered())
        for task in beside:
            task.cancel()
    desk.board.state = "stopped"
    desk.board.say("stopped")


async def _wake_to_stop(desk: Desk, intake: Intake) -> None:
    await desk.stop.wait()
    intake.wake.set()


async def _told_the_time(desk: Desk) -> None:
    """Have the exchange asked for its time; without an answer it is unknown for the time being."""
    try:
        async with asyncio.timeout(CLOCK_S):
            await desk.venue.now()
    except (errors.BaseError, ExchangeFailed, TimeoutError) as error:
        log.debug("the exchange does not tell the time", **desk.feed.fields, error=repr(error))


def _now() -> int:
    return int(time.time() * 1000)


class _Body:
    def __init__(self, desk: Desk, tape: Tape) -> None:
        self._desk = desk
        self._board = desk.board
        self._tape = tape
        self._facts = profile_of(desk.feed.exchange).trades
        self._boundary: int | None = None
        """The minute up to which the tape is to be declared complete: nothing of it is on its way any more."""
        self._units = stated_in_trades(desk.units)

    async def follow(self, intake: Intake) -> None:
        """Append what arrives, until stopped."""
        stop = self._desk.stop
        while not stop.is_set():
            await intake.wake.wait()
            intake.wake.clear()
            while (intake or intake.repairable) and not stop.is_set():
                await self.append(intake.ordered())
                if intake.repairable:
                    await self._repair(intake)
            await self._mark(intake)

    # ---- the tape

    async def append(self, runs: Sequence[Run]) -> None:
        """Append them in messages of bounded size."""
        for run in runs:
            # A gap may be all there is.
            for start in range(0, max(1, len(run.trades)), BATCH_TRADES):
                await self.append_message(
                    run.trades[start : start + BATCH_TRADES],
                    run.received or _now(),
                    source=run.source,
                    gap=None if start else run.gap,
                )
            if run.source == "rest":
                self._board.repaired += len(run.trades)
            self._said_gap(run.gap)

    def _said_gap(self, gap: Gap | None) -> None:
        if gap is not None:
            self._board.gaps += 1
            self._board.say("gap", gap.reason, gap=gap)

    async def append_message(
        self,
        trades: list[Trade],
        received: int,
        *,
        source: Source = "live",
        gap: Gap | None = None,
        until: int | None = None,
    ) -> int:
        """Append one message, or several where its trades take too many bytes; the sequence of the last."""
        if trades and self._desk.venue.counted:
            # Where ids count, nothing can come before a trade that is on the tape: as far as the time has come.
            now = self._desk.venue.clock()
            until = None if now is None else min(now, trades[-1].timestamp)
        message = Trades(
            exchange=self._desk.feed.exchange,
            symbol=self._desk.feed.symbol,
            trades=trades,
            received=received,
            source=source,
            gap=gap,
            until=until,
            **self._units,
        )
        data = messages.encode(message)
        if len(data) > BATCH_BYTES and len(trades) > 1:
            half = len(trades) // 2
            await self.append_message(trades[:half], received, source=source, gap=gap)
            return await self.append_message(trades[half:], received, source=source)
        sequence = await self._tape.append(data)
        if trades and source == "live":
            self._board.published(len(trades), received=received, timestamp=trades[-1].timestamp)
        else:
            self._board.published(len(trades))
        return sequence

    # ---- repair

    async def _repair(self, intake: Intake) -> None:
        """Have REST fill in what is missing, until nothing is, or nobody waits for it, or it is stopped."""
        ordering = intake.ordering
        patience = Patience(self._desk.settings.repair_s)
        oldest: int | None = None
        reason, refused = NOT_IN_TIME, False
        repaired = self._board.repaired
        intake.show()
        while not self._desk.stop.is_set():
            await self.append(intake.all_ordered())
            if not intake.repairable:
                break
            now = time.monotonic()
            patience.waiting(now, ordering.waiting)
            if ordering.waiting and (refused or patience.left_s(now) <= 0):
                await self.append(intake.gave_up(reason))
                break
            if refused:
                await _woken(intake)
                continue
            interruptions = intake.interruptions
            try:
                if oldest is None:
                    now_ms = await self._exchange_now(patience)
                    if now_ms is None and intake.newest is not None:
                        # It is no earlier there than what happened last.
                        now_ms = intake.newest.timestamp
                    # Where not even that is known, nothing is too far back to be asked for.
                    oldest = 0 if now_ms is None else now_ms - int(self._desk.settings.repair_span_s * 1000)
                    reach = oldest if ordering.last or now_ms is None else max(oldest, now_ms - backfill.BY_TIME_MS)
                    await self.append(ordering.forgo(reach, TOO_FAR))
                ask = backfill.next_ask(ordering, oldest, self._facts.resolution_ms or 1000)
                left_out: list[str] = []
                page = await self._asked(ask, patience, left_out.append)
            except Unanswered as error:
                reason, refused = str(error), error.kind == "refused"
                if not refused:
                    await self._pause(intake, patience)
                continue
            # What arrived meanwhile, first: the page may reach it.
            await self.append(intake.all_ordered())
            reason = NOT_IN_TIME
            for why in left_out:
                intake.left_out_of_page(why)
            runs, answer = ordering.page(page, _now(), TOO_FAR if ask.cut else NOT_SO_FAR, ask.floor)
            if runs:
                patience.progressed(time.monotonic())
            await self.append(runs)
            if answer is Answer.COMPLETE:
                # A page asked for before an interruption knows nothing of it, nor do trades that came before it.
                proven = intake.interruptions == interruptions and (intake.arrived or not runs)
                if proven and await self._settled(intake):
                    await self.append(intake.resumed())
                    break
            elif answer is Answer.MORE:
                continue
            elif ask.cut and page and ordering.waiting:
                await self.append(ordering.give_up(TOO_FAR))
            elif (answer is Answer.ABSENT or ask.cut) and patience.absent():
                reason, refused = TOO_FAR if ask.cut else left_out[0] if left_out else NOT_THERE, True
            else:
                await self._pause(intake, patience)
        if not intake.missing:
            self._board.say("repaired", trades=self._board.repaired - repaired)
        intake.show()

    async def _settled(self, intake: Intake) -> bool:
        """Whether REST's word that nothing is missing counts: just after a connection it may lag behind."""
        if intake.arrived:
            return True
        wait = self._desk.settings.settle_ms / 1000 - intake.connected_for_s
        if wait <= 0:
            return not intake.ordering.waiting
        await _woken(intake, wait)
        return False

    async def _exchange_now(self, patience: Patience) -> int | None:
        """The exchange's clock, ms; None where its time is unknown. Raises Unanswered."""
        try:
            async with asyncio.timeout(min(CALL_S, max(0.0, patience.left_s(time.monotonic())))):
                return await self._desk.venue.now()
        except (errors.BaseError, ExchangeFailed, TimeoutError) as error:
            raise Unanswered("failed", f"the exchange does not tell the time: {type(error).__name__}") from error

    async def _asked(self, ask: Ask, patience: Patience, left_out: LeftOut) -> list[Trade]:
        """A page; `left_out` is told of each trade that cannot be used.

        Raises Unanswered, also when stopped before it came.
        """
        rest = self._desk.venue.rest
        left = patience.left_s(time.monotonic())
        if rest.gate.remaining_s > left:
            raise Unanswered("refused", f"the exchange wants to be left alone for {rest.gate.remaining_s:.0f} s")
        call = asyncio.ensure_future(
            backfill.fetch(rest, self._desk.feed.symbol, ask, self._desk.venue.admission, left_out)
        )
        stopped = asyncio.ensure_future(self._desk.stop.wait())
        try:
            await asyncio.wait({call, stopped}, timeout=min(left, CALL_S), return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise Unanswered("failed", NOT_IN_TIME)
            return call.result()
        finally:
            call.cancel()
            stopped.cancel()
            await asyncio.gather(call, stopped, return_exceptions=True)

    async def _pause(self, intake: Intake, patience: Patience) -> None:
        """Wait before REST is asked again. What comes meanwhile, and may go on, does."""
        due = time.monotonic() + min(patience.delay_s(), max(0.0, patience.left_s(time.monotonic())))
        while not self._desk.stop.is_set() and intake.repairable and (left := due - time.monotonic()) > 0:
            await _woken(intake, left)
            await self.append(intake.all_ordered())

    # ---- how far the tape is complete

    async def minutes(self, intake: Intake) -> None:
        """After each UTC minute, by the exchange's clock, have the tape say that it is complete up to there."""
        settle_ms = self._desk.settings.settle_ms
        passed: int | None = None
        while True:
            try:
                now = await self._desk.venue.now()
            except (errors.BaseError, ExchangeFailed) as error:
                log.debug("the exchange does not tell the time", **self._desk.feed.fields, error=repr(error))
                await asyncio.sleep(RECHECK_S)
                continue
            if now is None:
                # Nothing is complete up to a time that nobody knows.
                await asyncio.sleep(CLOCK_S)
                continue
            boundary = (now - settle_ms) // MINUTE_MS * MINUTE_MS
            settled = now - settle_ms - boundary
            next_at = time.monotonic() + (MINUTE_MS - settled) / 1000
            passed = boundary if passed is None else passed
            # What was before the boundary is here when what was asked after it is answered.
            if passed < boundary and await self._desk.venue.answers(self._desk.feed, now_ms() - settled):
                self._boundary = passed = boundary
            if self._boundary is not None:
                intake.wake.set()
            until_next = next_at - time.monotonic()
            done = self._boundary is None and passed == boundary
            await asyncio.sleep(until_next if done else min(until_next, RECHECK_S))

    async def _mark(self, intake: Intake) -> None:
        boundary, last = self._boundary, intake.ordering.last
        if boundary is None or intake or intake.missing:
            return
        if intake.connected_for_s * 1000 < max(1, self._desk.settings.settle_ms):
            return
        self._boundary = None
        if last is None or last.timestamp < boundary:
            gap = intake.ordering.owed_gap(boundary)
            await self.append_message([], _now(), until=boundary, gap=gap)
            self._said_gap(gap)
            intake.ordering.reached(boundary)


async def _woken(intake: Intake, seconds: float | None = None) -> None:
    """Until something new is in the intake, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await intake.wake.wait()
    except TimeoutError:
        return
    intake.wake.clear()
