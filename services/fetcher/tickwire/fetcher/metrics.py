"""The metrics of the fetcher."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tickwire.observe.metrics import SECONDS

UNKNOWN = "unknown"
"""The label for exchanges that do not exist: clients choose their names, so they would make any number of series."""


class FetcherMetrics:
    """Created once per process: each metric is registered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        exchange = ["exchange"]
        self.requests = Histogram(
            "tickwire_fetcher_exchange_request_seconds",
            "Time of one request to an exchange, answered or not",
            exchange,
            buckets=SECONDS,
            registry=registry,
        )
        self.failures = Counter(
            "tickwire_fetcher_exchange_failures",
            "Requests to an exchange that failed, by ccxt's class of the error",
            ["exchange", "error"],
            registry=registry,
        )
        self.retries = Counter(
            "tickwire_fetcher_retries", "Requests to an exchange that were repeated", exchange, registry=registry
        )
        self.pages = Counter(
            "tickwire_fetcher_pages", "Pages of candles that an exchange answered", exchange, registry=registry
        )
        self.rows = Counter(
            "tickwire_fetcher_rows", "Candles in pages that were proven complete", exchange, registry=registry
        )
        self.rejected = Counter(
            "tickwire_fetcher_rejected_rows",
            "Rows of pages that cannot be candles, and were left out of them",
            exchange,
            registry=registry,
        )
        self.audited = Counter(
            "tickwire_fetcher_audited_rows",
            "Candles of exchanges that were compared with the cache's",
            exchange,
            registry=registry,
        )
        self.differences = Counter(
            "tickwire_fetcher_audit_differences",
            "Fields of candles in which the cache differed from the exchange",
            exchange,
            registry=registry,
        )
        self.taken = Gauge("tickwire_fetcher_jobs_taken", "Jobs taken, running or waiting", exchange, registry=registry)
        self.running = Gauge("tickwire_fetcher_jobs_running", "Jobs that run", exchange, registry=registry)
        self.ended = Counter(
            "tickwire_fetcher_jobs_ended",
            "Jobs that ended: done, failed, cancelled, parked or unreadable",
            ["exchange", "state"],
            registry=registry,
        )
