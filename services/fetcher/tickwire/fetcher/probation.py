"""Evidence of jobs that end the process that runs them, and the probation of such jobs.

The last message of a job is `running` with the name of an instance until the job ends or is handed over. An instance
that finds it so, without having run the job itself, concludes that the other process ended while it ran the job. The
job is then a suspect: suspects run one at a time until one of their pages is durable, so that a second crash is the
suspect's own and not its neighbour's. The caps on retries bound how long other suspects wait. After two crashes without
a durable page in between the job is parked.
"""

from __future__ import annotations

from tickwire.errors import JobParked
from tickwire.fetcher.job_context import JobContext
from tickwire.model.messages import Job

PARKED_AFTER = 2
"""Crashes, without a durable page in between, after which a job is parked."""


class Probation:
    """The probation of one job on this instance."""

    def __init__(self, context: JobContext, job_id: str) -> None:
        self._context = context
        self._job_id = job_id
        self._is_on = False

    def crashes(self, before: Job) -> int:
        """The crashes of the job by its last message. A process that was cut off from the broker counts as crashed."""
        return before.crashes + (bool(before.instance) and self._job_id not in self._context.begun)

    def check(self, crashes: int) -> None:
        """Raise JobParked after too many crashes."""
        if crashes >= PARKED_AFTER:
            raise JobParked(
                f"job {self._job_id} was given up: {crashes} times the fetcher's process ended with it",
                "see the fetcher's log for what ended it; what was stored is kept, fetch again to try once more",
            )

    async def begin(self) -> None:
        """Wait until no other suspect runs, and keep others waiting until `end`."""
        await self._context.suspects.acquire()
        self._is_on = True

    def end(self) -> None:
        """Let the next suspect run. Harmless without `begin`."""
        if self._is_on:
            self._is_on = False
            self._context.suspects.release()
