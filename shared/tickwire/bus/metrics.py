"""Metrics and readiness of the connection to the broker and of leases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, Metric

from tickwire.observe.metrics import Metrics, counter, gauge

if TYPE_CHECKING:
    from tickwire.bus.connection import Bus
    from tickwire.bus.leases import Leases


@contextmanager
def observed(bus: Bus, metrics: Metrics) -> Iterator[None]:
    """Report the connection in every scrape and in the readiness of its process, for as long as the block lasts."""
    with (
        metrics.reading(partial(of_bus, bus)),
        metrics.ready.checked("broker", lambda: None if bus.client.is_connected else "not connected to the broker"),
        metrics.ready.checked("consumers", bus.silent_consumer),
        metrics.ready.checked("storage", bus.storage_trouble),
    ):
        yield


def of_bus(bus: Bus) -> Iterable[Metric]:
    """Counters of the connection to the broker."""
    stats = bus.client.stats
    yield gauge("tickwire_broker_connected", "1 while connected to the broker", float(bus.client.is_connected))
    yield counter("tickwire_broker_reconnects", "Connections to the broker after the first", stats["reconnects"])
    messages = CounterMetricFamily("tickwire_broker_messages", "Messages to and from the broker", labels=["direction"])
    size = CounterMetricFamily("tickwire_broker_bytes", "Bytes to and from the broker", labels=["direction"])
    for direction in ("in", "out"):
        messages.add_metric([direction], stats[f"{direction}_msgs"])
        size.add_metric([direction], stats[f"{direction}_bytes"])
    yield messages
    yield size
    undecodable = CounterMetricFamily(
        "tickwire_undecodable_messages", "Messages that cannot be decoded and were skipped", labels=["subject"]
    )
    for family, count in bus.undecodable.counts.items():
        undecodable.add_metric([family], count)
    yield undecodable


def of_leases(leases: Leases) -> Iterable[Metric]:
    """The leases of an instance, and their changes."""
    yield gauge("tickwire_leases_held", "Leases that this instance holds", len(leases.held))
    yield gauge("tickwire_instances", "Live instances of the service, as seen from this one", len(leases.members))
    changes = CounterMetricFamily("tickwire_lease_changes", "Leases gained, given up and lost", labels=["change"])
    for change, count in leases.changes.items():
        changes.add_metric([change], count)
    yield changes
