"""One fetch job: from what the cache knows, through what the exchange is asked, to what the cache then knows.

A job can be killed anywhere and run again by another instance: everything it needs is in the request, in the cache's
coverage and in the job's last message. Of a refresh, that message is the checkpoint: the cache knew the range before,
so what of it was not asked for yet, or is not durable, is what the message says is missing.

That message also says whether the job ends the process that runs it: it is `running` with the name of an instance
until it ends or is handed on, and whoever finds it so, and did not run it, knows that the other process ended. A job
that was found so once is a suspect: suspects run one at a time until they get on, so that a second death is the
suspect's own and not its neighbour's; the caps on retries bound how long others wait. Found so twice, it is parked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from itertools import count
from typing import TypeVar

import msgspec

from tickwire.errors import ExchangeFailed, JobParked, PageRejected, TickwireError
from tickwire.fetcher import request_checks
from tickwire.fetcher.bounds import Bounds, bounds
from tickwire.fetcher.calls import FailedAttempt
from tickwire.fetcher.candle_source import CandleSource
from tickwire.fetcher.job_context import JobContext, UnopenedExchange
from tickwire.fetcher.job_messages import bug, cancelled, is_cancelled, last_message, outcome, queued, still_missing
from tickwire.fetcher.page_publisher import PagePublisher, publishing_pages
from tickwire.fetcher.page_rows import OtherGrid
from tickwire.fetcher.pager import Pager
from tickwire.fetcher.paging_types import RefusedRange, together
from tickwire.model import messages, subjects, timeframes
from tickwire.model.messages import Coverage, FetchRequest, Job, Refused
from tickwire.model.ranges import Range, subtract
from tickwire.model.timeframes import Grid
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.venues.registry import grid_of, profile_of

log = logs.get(__name__)

T = TypeVar("T")

PROGRESS_S = 0.2
"""Progress is published at most five times a second."""
PARKED_AFTER = 2
"""A job that ended its process so often, without getting on in between, is given up."""


class Stopped(Exception):
    """The job was left at a page boundary for the next holder to go on with."""


def _refused(refusal: RefusedRange) -> Refused:
    return Refused(since=refusal.since, until=refusal.until, message=refusal.words)


def prepared(
    context: JobContext,
    source: CandleSource | UnopenedExchange,
    request: FetchRequest,
    stop: asyncio.Event,
    cancelled: asyncio.Event,
) -> FetchJob:
    """A job that can be run. Raises TickwireError when the request cannot be meant, or the exchange is not open."""
    if isinstance(source, UnopenedExchange):
        raise source.error
    request_checks.check(request, now_ms(), context.settings)
    return FetchJob(context, source, request, stop, cancelled)


class FetchJob:
    """A job while it runs on this instance. Made by `prepared`."""

    def __init__(
        self,
        context: JobContext,
        source: CandleSource,
        request: FetchRequest,
        stop: asyncio.Event,
        cancel: asyncio.Event,
    ) -> None:
        assert request.id is not None
        self._context = context
        self._bus = context.bus
        self._metrics = context.metrics
        self._settings = context.settings.fetcher
        self._source = source
        self._request = request
        self._stop = stop
        self._cancel = cancel
        self._job = msgspec.structs.replace(queued(request, 0), state="running", instance=context.instance)
        self._numbers = count()
        self._attempt = time.time_ns()
        self._published = float("-inf")
        self._base = 0
        """How many rows were durable before this run."""
        self._refreshed: list[Range] = []
        """What earlier runs of a refresh made durable."""
        self._bounds: Bounds | None = None
        self._newest: int | None = None
        """Where the newest candle opens that the exchange gave."""
        self._on_probation = False

    async def run(self) -> None:
        """FetchJob the job to its published end. Raises Stopped when it is to be handed on."""
        before = await last_message(self._bus, self._job.id)
        if before is not None and before.ended:
            return
        if before is not None and before.state == "running":
            kept = ("until", "pages", "retries", "rows_from_cache", "rows_fetched", "rows_expected", "missing")
            self._note(**{name: getattr(before, name) for name in kept})
            self._note(crashes=before.crashes + self._ended_its_process(before))
            if before.rows_expected:
                # The run got so far as to say what is missing.
                self._refreshed = subtract(Range(before.since, before.until), before.missing)
        try:
            if self._job.crashes >= PARKED_AFTER:
                await self._note_missing()
                raise JobParked(
                    f"job {self._job.id} was given up: {self._job.crashes} times the fetcher's process ended with it",
                    "see the fetcher's log for what ended it; what was stored is kept, fetch again to try once more",
                )
            if self._job.crashes:
                await self._unless_cancelled(self._begin_probation())
            # Said before anything is done: should the process end now, the next one knows with which job.
            await self._publish_durably()
            self._context.begun.add(self._job.id)
            if self._cancel.is_set() or await is_cancelled(self._bus, self._job.id):
                await self._note_missing()
                raise cancelled(self._job.id)
            # What the cache had before the first page was fetched is known from the run that fetched it.
            await self._fetch(again=self._job.rows_expected > 0)
            await self._publish_end("done")
        except Stopped:
            raise
        except (TickwireError, BaseExceptionGroup) as error:
            first = lifecycle.leaf(error)
            if isinstance(first, Stopped | asyncio.CancelledError):
                raise first from error
            if not isinstance(first, TickwireError):
                raise
            log.warning("job failed", job=self._job.id, **self._job.key._asdict(), error=str(first))
            await self._publish_end("failed", first)
        finally:
            self._end_probation()

    async def fail(self, error: Exception) -> None:
        """Publish that the job ended in a bug."""
        await self._publish_end("failed", bug(error))

    async def hand_on(self) -> None:
        """Say that the job was left in order, so that the next to run it holds nothing against it."""
        if self._job.id in self._context.begun and not self._bus.lost.is_set():
            self._context.begun.discard(self._job.id)
            self._note(instance="")
            await self._bus.publish(subjects.job(self._job.id), self._job)

    # -- jobs that end their process ------------------------------------------------------------------------------

    def _ended_its_process(self, before: Job) -> bool:
        """Whether the process that ran the job ended without a word. One that was cut off looks the same."""
        return bool(before.instance) and self._job.id not in self._context.begun

    async def _begin_probation(self) -> None:
        await self._context.suspects.acquire()
        self._on_probation = True

    def _end_probation(self) -> None:
        if self._on_probation:
            self._on_probation = False
            self._context.suspects.release()

    async def _get_on(self, way: PagePublisher) -> None:
        """Note what became durable, and end the probation: what ended the process was something else."""
        if not way.stored:
            return
        self._note(rows_fetched=self._base + way.rows)
        if self._request.refresh:
            self._note(missing=[part for whole in self._job.missing for part in subtract(whole, way.done)])
        if self._job.crashes:
            self._note(crashes=0)
            # Known before the next suspect runs, so that the end of that one is not held against this one.
            await self._publish_durably()
        self._end_probation()
        await self._progress()

    async def _unless_cancelled(self, work: Awaitable[T]) -> T:
        """The result of `work`; it is given up when the job is cancelled. Raises JobCancelled."""
        working = asyncio.ensure_future(work)
        unwanted = asyncio.ensure_future(self._cancel.wait())
        try:
            await asyncio.wait({working, unwanted}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise cancelled(self._job.id)
            return working.result()
        finally:
            unwanted.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait({working})

    async def _fetch(self, *, again: bool) -> None:
        request, key = self._request, self._request.key
        # A refresh sends what was not durable again under another name: of a page that the stream drops as sent before,
        # nothing is announced, and the cache's coverage does not tell it from what was there before the refresh.
        run = f"{self._job.id}.{self._attempt}" if request.refresh else self._job.id
        self._base = self._job.rows_fetched
        async with publishing_pages(self._bus, key, run, self._get_on, refresh=request.refresh) as way:
            now = await self._unless_cancelled(self._source.now(self._retried))
            grid, regridded = grid_of(key.exchange, key.timeframe), False
            while True:
                found = self._bounds = self._bounded(grid, now)
                self._note(since=found.since, until=found.until, missing=[Range(found.since, found.until)])
                async with self._context.starting:
                    before = await self._unless_cancelled(way.coverage(found.since, max(found.until, found.reach)))
                if before.first is not None and (there := timeframes.grid(key.timeframe, before.opens_at)) != grid:
                    # In the cache they open elsewhere than was expected.
                    grid = there
                    continue
                known = self._refreshed if request.refresh else before.verified
                missing, wanted = (subtract(Range(found.since, end), known) for end in (found.until, found.reach))
                if not request.refresh:
                    if found.reach > found.until:
                        before = await self._unless_cancelled(way.coverage(found.since, found.until))
                    if not again:
                        self._note(rows_from_cache=before.rows)
                    self._base = before.rows - self._job.rows_from_cache
                self._note(rows_expected=grid.count(found.since, min(found.until, found.reach)), missing=missing)
                # Durable before the first page, so that a second run knows what was there before the first.
                await self._publish_durably()
                try:
                    failure = await self._fill(way, wanted)
                except OtherGrid as other:
                    # Once: then it is the cache that has candles which open elsewhere.
                    if not regridded:
                        grid, regridded = other.grid, True
                        continue
                    failure = ExchangeFailed(
                        f"{other} at {key.exchange}, and those in the cache do not",
                        "remove those of this key from the cache, then fetch it again",
                    )
                break
            await way.settled()
            if way.refusals:
                self._note(refused=[*self._job.refused, *map(_refused, together(way.refusals))])
                failure = failure or PageRejected(
                    f"the cache passed over a page of {key}: {way.refusals[0].words}",
                    "what else was fetched is kept; fetch again once that is mended",
                )
            after = await way.coverage(self._job.since, self._job.until)
        self._result(after)
        if failure is not None:
            raise failure

    def _bounded(self, grid: Grid, now: int | None) -> Bounds:
        ours, revised_ms = now_ms(), profile_of(self._job.exchange).candles.settled_after_ms
        return bounds(self._request, grid, now, ours, self._settings.settle_ms, revised_ms)

    async def _fill(self, way: PagePublisher, missing: Sequence[Range]) -> TickwireError | None:
        """Ask the exchange for what is missing; why it stopped early, if it did. Raises OtherGrid."""
        found = self._bounds
        if not missing or found is None:
            return None
        try:
            facts = await self._unless_cancelled(
                self._source.paging_facts(self._job.symbol, self._job.timeframe, self._retried)
            )
            pagers: list[Pager] = []
            for part in missing:
                pager = Pager(found.grid, part, found.closed, facts, self._newest)
                pagers.append(pager)
                while pager.ask is not None:
                    if self._stop.is_set():
                        raise Stopped
                    pages = await self._unless_cancelled(self._source.page(pager, self._job.symbol, self._retried))
                    self._note(pages=self._job.pages + 1, last_error="", next_try_at=None)
                    self._metrics.pages.labels(self._job.exchange).inc()
                    for page in pages:
                        self._metrics.rows.labels(self._job.exchange).inc(len(page.rows))
                        await way.put(found.termed(page, pager.newest))
                    await self._progress()
                    if any(part.since <= each.since < part.until for each in way.refusals):
                        # What stands against one page mostly stands against those after it.
                        break
                self._newest = pager.newest
                self._note(refused=[*self._job.refused, *map(_refused, pager.refusals)])
            if self._job.refused and not any(pager.served for pager in pagers):
                return ExchangeFailed(self._job.refused[0].message, "ask for what the exchange has")
        except TickwireError as error:
            # What was fetched is kept: it is stored before the job says that it failed.
            return error
        return None

    async def _note_missing(self) -> None:
        """Note what is missing without storing anything."""
        self._note(missing=await still_missing(self._bus, self._job))

    def _result(self, after: Coverage) -> None:
        found = self._bounds
        if found is not None and found.closed is None and self._request.until is None and self._newest is not None:
            self._note(until=max(found.since, min(found.until, found.settled_by(self._newest))))
        missing = subtract(Range(self._job.since, self._job.until), after.verified)
        fetched = after.rows - self._job.rows_from_cache
        self._note(missing=missing, complete=not missing, rows_fetched=max(0, fetched))

    # -- telling --------------------------------------------------------------------------------------------------

    async def _retried(self, failure: FailedAttempt) -> None:
        """Say why nothing comes, and when it is tried again: at once where that is new."""
        is_new = not self._job.last_error
        self._note(retries=self._job.retries + 1, last_error=failure.words, next_try_at=failure.next_try_at)
        now = asyncio.get_running_loop().time()
        if (is_new or now - self._published >= PROGRESS_S) and not self._bus.lost.is_set():
            self._published = now
            await self._bus.publish(subjects.job(self._job.id), self._job)

    def _note(self, **changes: object) -> None:
        self._job = msgspec.structs.replace(self._job, **changes)

    async def _progress(self) -> None:
        now = asyncio.get_running_loop().time()
        # Nothing is kept for a broker that is away: by then the job may run elsewhere, or have ended there.
        if now - self._published >= PROGRESS_S and not self._bus.lost.is_set():
            self._published = now
            await self._bus.publish(subjects.job(self._job.id), self._job)

    async def _publish_end(self, state: str, error: TickwireError | None = None) -> None:
        self._note(state=state, error=messages.error_reply(error) if error is not None else None)
        self._note(last_error="", next_try_at=None)
        await self._publish_durably()
        self._context.begun.discard(self._job.id)
        self._metrics.ended.labels(self._job.exchange, outcome(self._job)).inc()
        log.info(
            "job ended",
            job=self._job.id,
            exchange=self._job.exchange,
            symbol=self._job.symbol,
            timeframe=self._job.timeframe,
            state=state,
            complete=self._job.complete,
            fetched=self._job.rows_fetched,
            from_cache=self._job.rows_from_cache,
            pages=self._job.pages,
            retries=self._job.retries,
        )

    async def _publish_durably(self) -> None:
        job = self._job
        message_id = f"{job.id}.{self._attempt}.{job.instance}.{next(self._numbers)}"
        await self._bus.append(subjects.job(job.id), messages.encode(job), message_id=message_id)
