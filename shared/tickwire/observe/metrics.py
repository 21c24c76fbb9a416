"""Metrics of a process for Prometheus: one registry per process, passed to the code that counts.

Names are `tickwire_<part>_<what>_<unit>`, times are in seconds; docs/metrics.md lists all of them. Labels are bounded:
services, subjects, exchanges, running feeds; never ids. Values that exist anyway are collected when Prometheus scrapes
(`reading`), on the event loop, and formatted in a thread (`snapshot`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tickwire.observe.readiness import Readiness

if TYPE_CHECKING:
    from tickwire.observe.disk_space import Space

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper bounds of the buckets of durations: from one append to a ban by an exchange."""

Text = Callable[[], Iterable[str]]
"""Formats values that were read before, in Prometheus' text format; pure, because it runs in a thread."""


@dataclass
class Answered:
    """Counts of the requests of an endpoint, for `$SRV.STATS`."""

    count: int = 0
    errors: int = 0
    last_error: str = ""
    nanoseconds: int = 0


class Metrics:
    """The metrics that every service has, and the registry for those of single services."""

    def __init__(self) -> None:
        # Creation times of series would double the size of a scrape, and nothing uses them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.answered: defaultdict[str, Answered] = defaultdict(Answered)
        """By the subject of the endpoint."""
        self._texts: list[Callable[[], Text]] = []
        self.ready = Readiness()
        self.space: Space | None = None
        """Of the folder in which the service keeps its files, if it has one (disk_space.py)."""
        self.serving = False
        """Whether the service answers requests."""
        self.served = False
        """Whether it ever did: a failure after that is not a refusal to start."""
        self.served_before = False
        """Whether this process served before, on a broker that was replaced since."""
        self.requests = Histogram(
            "tickwire_request_seconds",
            "Time to answer a request, by endpoint",
            ["endpoint"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.refused = Counter(
            "tickwire_requests_refused",
            "Requests answered with an error, by endpoint and error",
            ["endpoint", "error"],
            registry=self.registry,
        )
        self.stalls = Histogram(
            "tickwire_loop_stall_seconds",
            "Longest time of each second that the event loop was held up",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.stall_cpu = Histogram(
            "tickwire_loop_stall_cpu_seconds",
            "Most CPU time that a stall of the event loop took in each second",
            buckets=SECONDS,
            registry=self.registry,
        )

    def stalled(self, ms: float, cpu_ms: float) -> None:
        """Count the longest stall of a second, and the most CPU time that one took."""
        self.stalls.observe(ms / 1000)
        self.stall_cpu.observe(cpu_ms / 1000)

    @contextmanager
    def reading(self, collect: Callable[[], Iterable[Metric]]) -> Iterator[None]:
        """Within the block, the metrics that `collect` returns are part of every scrape."""
        collector = _Collector(collect)
        self.registry.register(collector)
        try:
            yield
        finally:
            self.registry.unregister(collector)

    @contextmanager
    def writing(self, read: Callable[[], Text]) -> Iterator[None]:
        """Within the block, the same for thousands of series: `read` takes the values, its Text formats them."""
        self._texts.append(read)
        try:
            yield
        finally:
            self._texts.remove(read)

    def snapshot(self) -> Callable[[], bytes]:
        """Read all values now; returns a function that formats them, which takes longer and may run in a thread."""
        read = _Collector(list(self.registry.collect()).__iter__)
        texts = [text() for text in self._texts]
        return lambda: b"".join([generate_latest(read), *(part.encode() for text in texts for part in text())])


class _Collector:
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


class Lag:
    """A histogram of durations (s) of something that ends, such as a feed."""

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration. A negative one, from clocks that disagree, counts among the shortest."""
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self._sum += seconds

    def read(self) -> tuple[tuple[int, ...], float]:
        """The counts between the bounds of SECONDS and beyond the last, and the sum."""
        return tuple(self._counts), self._sum


def counter(name: str, text: str, value: float) -> Metric:
    """A counter without labels and its value; `_total` is appended to its name."""
    return CounterMetricFamily(name, text, value=value)


def gauge(name: str, text: str, value: float) -> Metric:
    """A gauge without labels and its value."""
    return GaugeMetricFamily(name, text, value=value)
