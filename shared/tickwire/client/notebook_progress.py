"""Progress of fetch jobs in a notebook: one output that is replaced, without widgets; none where all is cached."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from tickwire.client.progress import Pace, state_text
from tickwire.model.messages import Job
from tickwire.model.subjects import Key

BAR_CELLS = 24
PAUSE_S = 0.2
"""The shortest pause between two outputs."""


class NotebookProgress:
    """Shows jobs in the output of a cell, from the first one on that has something to fetch."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._jobs: dict[Key, Job | None] = dict.fromkeys(keys)
        self._paces = {key: Pace() for key in keys}
        self._speeds: dict[Key, float] = {}
        self._id = ""
        self._shown_at = 0.0

    def __call__(self, job: Job) -> None:
        """Take a message of a job."""
        if job.key not in self._jobs:
            return
        self._jobs[job.key] = job
        now = time.monotonic()
        self._speeds[job.key] = self._paces[job.key].take(job, now)
        if not self._id and not _has_work(job):
            return
        if now - self._shown_at < PAUSE_S and not job.ended:
            return
        self._shown_at = now
        self._show()

    def text(self) -> str:
        """The lines, one for each key."""
        return "\n".join(self._line(key, job) for key, job in self._jobs.items())

    def _line(self, key: Key, job: Job | None) -> str:
        if job is None:
            return f"{key}: waiting"
        done = job.rows_from_cache + job.rows_fetched
        share = 1.0 if job.complete else min(1.0, done / max(job.rows_expected, done, 1))
        bar = "█" * round(share * BAR_CELLS)
        pace = self._speeds.get(key, 0.0)
        speed = f", {pace:,.0f} rows/s" if pace and not job.ended else ""
        return f"{key}: {bar:░<{BAR_CELLS}} {share:4.0%}  {done:,} rows{speed}, {state_text(job)}"

    def _show(self) -> None:
        from IPython.display import display, publish_display_data

        content: dict[str, Any] = {"text/plain": self.text()}
        if self._id:
            publish_display_data(content, transient={"display_id": self._id}, update=True)
        else:
            self._id = secrets.token_hex(8)
            display(content, raw=True, display_id=self._id)


def _has_work(job: Job) -> bool:
    """Whether something is fetched, or was to be and failed."""
    return job.rows_fetched > 0 or bool(job.last_error) or (job.ended and not job.complete)
