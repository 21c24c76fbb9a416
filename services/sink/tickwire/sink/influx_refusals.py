"""Classifies refusals of an InfluxDB: it rejects these points, or accepts no points at present. Pure.

Sources: `httpd/handler.go` and `coordinator/points_writer.go` of InfluxDB 1.6 to 1.8 (`partial write: <reason>
dropped=<n>`, with status 400), `http/write_handler.go` of 2.x (the same text, with status 422, and 500 before 2.1),
and the API reference of 3 (status 400, all or nothing with `accept_partial=false`).
"""

from __future__ import annotations

import re

OF_POINTS = frozenset({400, 413, 422})
"""Statuses that are about the points."""
OF_GATEWAYS = frozenset({502, 503, 504})
"""Statuses of a proxy, or of a database that is starting or overloaded."""

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
    """Whether the database would reject the same points again, however often they are sent."""
    return status in OF_POINTS or (status >= 500 and any(reason in text for reason in _PERMANENT))


def is_doubtful(status: int, text: str) -> bool:
    """Whether the points or the database may be the cause: an internal failure of a database that answers."""
    return status >= 500 and status not in OF_GATEWAYS and not any(reason in text for reason in _TEMPORARY)


def dropped(text: str, count: int) -> int | None:
    """How many of `count` points were dropped while all others were written; None if that is not certain.

    Points beyond the retention policy are counted over the whole write. Any other number is that of one shard, and
    other shards may have failed unnamed, so the number is certain only if it is all points.
    """
    if (beyond := _BEYOND_RETENTION.search(text)) is not None and 0 < int(beyond[1]) <= count:
        return int(beyond[1])
    if (those := _DROPPED.search(text)) is not None and int(those[1]) == count:
        return count
    return None
