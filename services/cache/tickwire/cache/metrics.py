"""Prometheus metrics of the cache."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from tickwire.cache.disk import Disk
from tickwire.observe.metrics import SECONDS


class CacheMetrics:
    """Made once per process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.pages = Counter("tickwire_cache_pages", "Pages made durable", registry=registry)
        self.rows = Counter("tickwire_cache_rows", "Candles in the pages made durable", registry=registry)
        self.refused = Counter("tickwire_cache_pages_refused", "Pages that cannot be stored", registry=registry)
        self.commits = Histogram(
            "tickwire_cache_commit_seconds",
            "Time to apply and sync a batch of pages, a splice or a checkpoint, or to open a partition",
            buckets=SECONDS,
            registry=registry,
        )
        self.syncs = Histogram(
            "tickwire_cache_sync_seconds", "Time of one fsync or fdatasync", buckets=SECONDS, registry=registry
        )
        self.written = Counter("tickwire_cache_written_bytes", "Bytes written to files", registry=registry)
        self.audits = Counter("tickwire_cache_audits_requested", "Audits requested from fetchers", registry=registry)
        self.compared = Counter(
            "tickwire_cache_archived_rows_compared",
            "Candles compared with those rebuilt from archived trades",
            registry=registry,
        )
        self.differing = Counter(
            "tickwire_cache_archived_differences",
            "Fields of candles that differ from those rebuilt from archived trades",
            ["comparable"],
            registry=registry,
        )
        for comparable in ("yes", "unknown"):
            # The series exists from the start, at 0.
            self.differing.labels(comparable)


class CountingDisk(Disk):
    """A disk that counts its writes and syncs."""

    def __init__(self, metrics: CacheMetrics) -> None:
        self._metrics = metrics

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write as Disk does."""
        super().write(fd, data, offset)
        self._metrics.written.inc(len(data))

    def fdatasync(self, fd: int) -> None:
        """Sync as Disk does."""
        with timed(self._metrics.syncs):
            super().fdatasync(fd)

    def fsync(self, fd: int) -> None:
        """Sync as Disk does."""
        with timed(self._metrics.syncs):
            super().fsync(fd)

    def fsync_dir(self, path: str) -> None:
        """Sync as Disk does."""
        with timed(self._metrics.syncs):
            super().fsync_dir(path)


@contextmanager
def timed(histogram: Histogram) -> Iterator[None]:
    """Observe the duration of the block if it succeeds."""
    began = time.perf_counter()
    yield
    histogram.observe(time.perf_counter() - began)
