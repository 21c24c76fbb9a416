"""The jobs that ended of late. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tickwire.client import Job

ENDED = 50
"""Jobs that are kept."""


class EndedJobs:
    """The last jobs that ended, the newest first."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def take(self, job: Job) -> None:
        """Note a message of a job."""
        if job.ended:
            self._jobs.pop(job.id, None)
            self._jobs[job.id] = job
            if len(self._jobs) > ENDED:
                del self._jobs[next(iter(self._jobs))]

    def before(self, jobs: Sequence[Job]) -> None:
        """Note those that were kept before the first message was taken, the oldest first."""
        later, self._jobs = self._jobs, {}
        for each in (*jobs, *later.values()):
            self.take(each)

    @property
    def newest(self) -> Sequence[Job]:
        """The jobs."""
        return list(reversed(self._jobs.values()))
