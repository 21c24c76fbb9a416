"""Plug-ins: what other installed distributions add, by entry points.

| group | an entry point is | read by |
|---|---|---|
| `tickwire.venues` | a module with a PROFILE, or PROFILES, and perhaps a DIALECT | `tickwire.venues.registry` |
| `tickwire.sinks` | a function that opens a database | `tickwire.sink.databases` |
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tickwire.errors import ConfigError

VENUES = "tickwire.venues"
SINKS = "tickwire.sinks"


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name. Raises ConfigError where two distributions have one of a name."""
    found: dict[str, EntryPoint] = {}
    for each in entry_points(group=group):
        other = found.setdefault(each.name, each)
        if other.value != each.value:
            raise ConfigError(
                f"{_of(other)} and {_of(each)} both have a plug-in {each.name!r} ({group})", "uninstall one"
            )
    return found


def load(point: EntryPoint) -> Any:
    """What an entry point names. Raises ConfigError, which names its distribution, whatever its import raises."""
    try:
        return point.load()
    except Exception as error:
        # The code of others: any exception of it is to be named with its distribution.
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"the plug-in {point.name!r} of {_of(point)} fails: {reason}", "mend or uninstall it"
        ) from error


def _of(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
