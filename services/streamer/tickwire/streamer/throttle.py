"""Limits how often a feed reports what it rejects: once a second."""

from __future__ import annotations

from tickwire.observe.episodes import ReportThrottle
from tickwire.streamer.control.feed_status import FeedStatus


class Rejections:
    """Counts messages of the exchange that could not be used, and reports the reason at most once a second."""

    def __init__(self, status: FeedStatus) -> None:
        self._status = status
        self._throttle = ReportThrottle(lambda reason: status.report("rejected", reason))

    def add(self, reason: str) -> None:
        """Count one."""
        self._status.rejected += 1
        self._throttle.add(reason)
