"""Prometheus metrics of the archive."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from tickwire.observe.metrics import SECONDS, Metrics


class ArchiveMetrics:
    """Made once per process."""

    def __init__(self, metrics: Metrics) -> None:
        self.of_requests = metrics
        registry = metrics.registry
        self.rows = Counter("tickwire_archive_rows", "Rows written into parts", registry=registry)
        self.added = Counter(
            "tickwire_archive_added_rows",
            "Rows added that are not of the tape, by source",
            ["source"],
            registry=registry,
        )
        self.parts = Counter("tickwire_archive_parts", "Parts of open days written", registry=registry)
        self.failed = Counter(
            "tickwire_archive_failed_writes", "Writes that the root did not take, and are repeated", registry=registry
        )
        self.days = Counter("tickwire_archive_days", "Days certified, by condition", ["condition"], registry=registry)
        self.unclosed = Counter(
            "tickwire_archive_failed_days", "Attempts to certify a day that failed", registry=registry
        )
        self.removed = Counter(
            "tickwire_archive_removed_days", "Days removed because of their age or size", registry=registry
        )
        self.removed_bytes = Counter(
            "tickwire_archive_removed_bytes", "Bytes of the files of days removed", registry=registry
        )
        self.unremoved = Counter(
            "tickwire_archive_failed_removals", "Attempts to remove days that failed", registry=registry
        )
        self.writes = Histogram(
            "tickwire_archive_write_seconds", "Time to write a part", buckets=SECONDS, registry=registry
        )
