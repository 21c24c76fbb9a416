"""Metrics of the page's process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from prometheus_client import Counter

from tickwire.observe.metrics import Metrics, gauge


class WebMetrics:
    """Counts what the page answers and sends."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.requests = Counter(
            "tickwire_web_requests",
            "Requests answered, by the status of the answer",
            ["status"],
            registry=metrics.registry,
        )
        self.frames = Counter("tickwire_web_frames", "Values sent to tabs", registry=metrics.registry)
        self.frame_bytes = Counter(
            "tickwire_web_frame_bytes", "Bytes of values sent to tabs", registry=metrics.registry
        )
        self.skipped = Counter(
            "tickwire_web_frames_skipped",
            "Values that a slow tab was not sent, because a newer one had come",
            registry=metrics.registry,
        )

    def reading(self, tabs: Callable[[], int], things: Callable[[], int]) -> AbstractContextManager[None]:
        """Within the block, a scrape has the open tabs, and the things that are read for them."""
        return self._metrics.reading(
            lambda: [
                gauge("tickwire_web_tabs", "Tabs that are open", tabs()),
                gauge("tickwire_web_things", "Things that are read for all tabs", things()),
            ]
        )
