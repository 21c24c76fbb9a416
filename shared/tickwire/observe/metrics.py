"""What a process counts, for Prometheus: one registry per process, passed to whatever counts.

Names are `tickwire_<part>_<what>_<unit>`, times are in seconds; docs/metrics.md lists all of them. Labels are bounded:
services, subjects, exchanges, the feeds that run; never ids. What is counted anyway is read when Prometheus asks, so
that it costs nothing meanwhile (`reading`); it is read on the event loop and written out beside it (`snapshot`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper bounds of the buckets of durations: from what one append takes to what a ban takes."""

Text = Callable[[], Iterable[str]]
"""Writes out what was read before, in Prometheus' text format; pure, because a thread calls it."""


@dataclass
class Answered:
    """How the requests of an endpoint were answered, for `$SRV.STATS`."""

    count: int = 0
    errors: int = 0
    last_error: str = ""
    nanoseconds: int = 0


class Metrics:
    """What every service counts, and the registry for what only one of them does."""

    def __init__(self) -> None:
        # The time of creation of every series doubles what is scraped, and nothing here asks for it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.answered: defaultdict[str, Answered] = defaultdict(Answered)
        """By the subject of the endpoint."""
        self._texts: list[Callable[[], Text]] = []
        self.ready = Readiness()
        self.serving = False
        """Whether the service answers requests."""
        self.served = False
        """Whether it ever did: what ends it then is no refusal to start."""
        self.again = False
        """Whether this process served before, on what the broker was then."""
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

    @contextmanager
    def reading(self, collect: Callable[[], Iterable[Metric]]) -> Iterator[None]:
        """While inside, what `collect` returns is part of every scrape."""
        collector = _Collector(collect)
        self.registry.register(collector)
        try:
            yield
        finally:
            self.registry.unregister(collector)

    @contextmanager
    def writing(self, read: Callable[[], Text]) -> Iterator[None]:
        """While inside, the same for what has thousands of series: `read` takes the numbers, its Text writes them."""
        self._texts.append(read)
        try:
            yield
        finally:
            self._texts.remove(read)

    def snapshot(self) -> Callable[[], bytes]:
        """Read everything as it is now. What is returned writes it out: that takes longer, and may be in a thread."""
        read = _Collector(list(self.registry.collect()).__iter__)
        texts = [text() for text in self._texts]
        return lambda: b"".join([generate_latest(read), *(part.encode() for text in texts for part in text())])


class _Collector:
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


class Lag:
    """A histogram of durations (s) that belongs to something that ends, such as a feed, and goes with it."""

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one. Clocks that disagree make it negative, which counts among the shortest."""
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self._sum += seconds

    def read(self) -> tuple[tuple[int, ...], float]:
        """The counts between the bounds of SECONDS and beyond the last, and the sum, as they are now."""
        return tuple(self._counts), self._sum


def counter(name: str, text: str, value: float) -> Metric:
    """A counter without labels, as it is now; `_total` is appended to its name."""
    return CounterMetricFamily(name, text, value=value)


def gauge(name: str, text: str, value: float) -> Metric:
    """A gauge without labels, as it is now."""
    return GaugeMetricFamily(name, text, value=value)
