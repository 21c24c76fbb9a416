"""What an InfluxDB means by refusing a write: these points, or any points at present. Pure.

Sources: `httpd/handler.go` and `coordinator/points_writer.go` of InfluxDB 1.6 to 1.8 (`partial write: <reason>
dropped=<n>`, with status 400), `http/write_handler.go` of 2.x (the same text, with status 422, and 500 before 2.1),
and the API reference of 3 (status 400, all or nothing with `accept_partial=false`).
"""

from __future__ import annotations

import re

OF_POINTS = frozenset({400, 413, 422})
"""Statuses that speak of the points."""
OF_GATEWAYS = frozenset({502, 503, 504})
"""Statuses that a proxy gives, or a database that is starting or overloaded."""

_PERMANENT = (
    "partial write",
    "beyond retention policy",
    "field type conflict",
    "unable to parse",
    "time outside range",
    "max-values-per-tag",
    "max-series-per-database",
)
_TEMPORARY = ("cache-max-memory-size", "cache maximum memory size", "timeout", "no space left", "too many open files")
_BEYOND_RETENTION = re.compile(r"points beyond retention policy dropped=(\d+)")
_DROPPED = re.compile(r"dropped=(\d+)")


def refuses_points(status: int, text: str) -> bool:
    """Whether the same points would be refused again however often they are sent."""
    return status in OF_POINTS or (status >= 500 and any(reason in text for reason in _PERMANENT))


def is_doubtful(status: int, text: str) -> bool:
    """Whether it may be the points or the database: a failure inside of a database that answers."""
    return status >= 500 and status not in OF_GATEWAYS and not any(reason in text for reason in _TEMPORARY)


def dropped(text: str, count: int) -> int | None:
    """How many of `count` points were dropped while all others were taken; None where that is not certain.

    What lies beyond the retention policy is counted over the whole write. Any other number is that of one shard,
    and others may have failed unnamed, so it is certain only where it is all.
    """
    if (beyond := _BEYOND_RETENTION.search(text)) is not None and 0 < int(beyond[1]) <= count:
        return int(beyond[1])
    if (those := _DROPPED.search(text)) is not None and int(those[1]) == count:
        return count
    return None
