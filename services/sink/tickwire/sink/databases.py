"""What the sink writes to: an InfluxDB, or the database of a plug-in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tickwire import plugins
from tickwire.errors import ConfigError
from tickwire.model.nearest import did_you_mean, listed, nearest
from tickwire.settings import SinkSettings
from tickwire.sink.influx import open_influx
from tickwire.sink.metrics import SinkMetrics


class Database(Protocol):
    """A database that takes points as lines of InfluxDB's line protocol, with times in nanoseconds.

    Lines are written in order. After a crash, lines that were written may be written again, equal to the first ones:
    a database that keeps one point for each measurement, tags and time has every point once.
    """

    rejected: int
    """Lines that it does not take for good."""
    failures: int
    """Writes that it did not take at once."""

    async def check(self) -> None:
        """Check once, at the start. Raises ConfigError where the configuration cannot work."""

    async def prepare(self) -> None:
        """Create what is needed. Called before the first write, each time that this instance becomes the writer."""

    async def write(self, lines: Sequence[str]) -> int:
        """Write lines, durably, and return how many were taken; the others are counted in `rejected`.

        Waits for as long as the database is unavailable: the broker keeps what is not written. It is cancelled when the
        service stops.
        """


def open_database(settings: SinkSettings, metrics: SinkMetrics) -> AbstractAsyncContextManager[Database]:
    """The configured database. Raises ConfigError."""
    if settings.plugin is None:
        return open_influx(settings, metrics)
    found = plugins.installed(plugins.SINKS)
    if settings.plugin not in found:
        near = nearest(settings.plugin, found)
        known = f"there are {listed(sorted(found))}" if found else "none is installed"
        raise ConfigError(f"sink.plugin: no {settings.plugin!r} is installed", did_you_mean(near) if near else known)
    opened: AbstractAsyncContextManager[Database] = plugins.load(found[settings.plugin])(settings)
    return opened
