"""Progress of fetch jobs on standard error: live bars on a terminal, occasional lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from tickwire.client.fetch_jobs import ShowJob
from tickwire.model.messages import Job
from tickwire.model.subjects import Key

LINE_EVERY_S = 5.0


@dataclass
class Pace:
    """The pace of a job: rows per second fetched since its first message."""

    clock: float = field(default_factory=time.monotonic)
    began: float | None = None
    first: int = 0
    rows_per_s: float = 0.0

    def take(self, job: Job, now: float) -> float:
        """The pace after this message, rows/s."""
        if self.began is None:
            if job.state == "queued":
                return 0.0
            # Excludes the time in the queue, includes the first page.
            self.began, self.first = (now, job.rows_fetched) if job.rows_fetched == 0 else (self.clock, 0)
        if job.rows_fetched > self.first and now > self.began:
            self.rows_per_s = (job.rows_fetched - self.first) / (now - self.began)
        return self.rows_per_s


@contextmanager
def shown(keys: list[Key]) -> Iterator[ShowJob]:
    """Show the progress of these keys' jobs while the block lasts; in notebooks, see `notebook_progress`."""
    console = Console(stderr=True)
    if sys.stderr.isatty():
        with _bars(keys, console) as show:
            yield show
    else:
        yield _Lines()


@contextmanager
def _bars(keys: list[Key], console: Console) -> Iterator[ShowJob]:
    with _Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rows]}", justify="right"),
        TextColumn("{task.fields[pace]}", justify="right"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[state]}"),
        console=console,
        expand=True,
    ) as progress:
        yield _Bars(progress, keys)


class _Progress(Progress):
    """Bars, and below them the error of each job that is waiting to retry."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        for task in self.tasks:
            job = task.fields.get("job")
            if job is not None and job.last_error and not job.ended:
                yield Text(f"{job.key}: {trouble(job, time.time())}", "yellow")


class _Bars:
    def __init__(self, progress: Progress, keys: list[Key]) -> None:
        self._progress = progress
        self._tasks: dict[Key, TaskID] = {
            key: progress.add_task(str(key), total=None, start=False, rows="", pace="", state="waiting") for key in keys
        }
        self._paces = {key: Pace() for key in keys}

    def __call__(self, job: Job) -> None:
        task = self._tasks.get(job.key)
        if task is None:
            return
        pace = self._paces[job.key].take(job, time.monotonic())
        done = job.rows_from_cache + job.rows_fetched
        if job.state != "queued":
            self._progress.start_task(task)
        expected = job.rows_expected
        if job.kind == "trade":
            # How many trades there are is not known before: time shows the progress.
            expected = job.until - job.since
            done = expected - sum(until - since for since, until in job.missing) if job.state != "queued" else 0
        # A complete job is full, whatever was expected: there may be quiet intervals. An incomplete one is never full.
        total = max(expected, done, 1)
        if job.ended:
            total = max(done, 1) if job.complete else total
            done = total if job.complete else done
        self._progress.update(
            task,
            completed=done,
            total=total,
            rows=f"{job.rows_from_cache + job.rows_fetched:,} rows",
            pace=f"{pace:,.0f} rows/s" if pace else "",
            state=state_text(job),
            job=job,
        )
        if job.ended:
            self._progress.stop_task(task)


class _Lines:
    """A line when a job ends, and at most one every five seconds while it runs."""

    def __init__(self) -> None:
        self._paces: dict[Key, Pace] = {}
        self._printed_at: dict[Key, float] = {}
        self._troubled: set[Key] = set()

    def __call__(self, job: Job) -> None:
        now = time.monotonic()
        pace = self._paces.setdefault(job.key, Pace()).take(job, now)
        if job.ended or not job.last_error:
            self._troubled.discard(job.key)
        elif job.key not in self._troubled:
            # At its beginning, not at each retry.
            self._troubled.add(job.key)
            self._printed_at[job.key] = now
            print(f"{job.key}: {trouble(job, time.time())}", file=sys.stderr, flush=True)
            return
        if not job.ended and now - self._printed_at.setdefault(job.key, now) < LINE_EVERY_S:
            return
        self._printed_at[job.key] = now
        done = job.rows_from_cache + job.rows_fetched
        if job.state == "failed" and not done:
            # The error itself follows.
            return
        of = f" of {job.rows_expected:,}" if job.rows_expected > done and not job.ended else ""
        speed = f", {pace:,.0f} rows/s" if pace else ""
        print(f"{job.key}: {done:,}{of} rows{speed}, {state_text(job)}", file=sys.stderr, flush=True)


def trouble(job: Job, now: float) -> str:
    """The last error of a job and when it is retried, at time `now` (s since 1970)."""
    wait_s = 0 if job.next_try_at is None else job.next_try_at / 1000 - now
    when = f"next try in {wait_s:.0f} s" if wait_s >= 0.5 else "trying again"
    return f"{job.last_error}; {when}"


def state_text(job: Job) -> str:
    """The state of a job in a word or two."""
    if not job.ended:
        return "waiting" if job.state == "queued" else f"{job.retries} retries" if job.retries else "fetching"
    return "failed" if job.state == "failed" else "complete" if job.complete else "incomplete"
