"""Prometheus metrics of the sink besides those of its report."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

from tickwire.observe.metrics import SECONDS


class SinkMetrics:
    """Made once per process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.writes = Histogram(
            "tickwire_sink_write_seconds",
            "Time of one request to the database, taken or not",
            buckets=SECONDS,
            registry=registry,
        )
