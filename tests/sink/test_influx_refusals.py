"""What is concluded from how an InfluxDB refuses a write."""

from __future__ import annotations

import pytest

from tickwire.sink import influx_refusals

pytestmark = pytest.mark.pure

RETENTION = "partial write: points beyond retention policy dropped=3"
CONFLICT = 'partial write: field type conflict: input field "v" on measurement "m" is type string dropped=3'


@pytest.mark.parametrize(
    ("status", "text", "meant"),
    [
        (400, f'{{"error":"{RETENTION}"}}', "points"),
        (500, f'{{"message":"unexpected error writing points to database: {RETENTION}"}}', "points"),
        (422, f'{{"message":"failure writing points to database: {CONFLICT}"}}', "points"),
        (400, '{"error":"parsing failed for write_lp endpoint","data":{"line_number":2}}', "points"),
        (413, "Request Entity Too Large", "points"),
        (500, '{"error":"engine: cache-max-memory-size exceeded: (1073741824/1073741824)"}', "database"),
        (500, '{"error":"timeout"}', "database"),
        (500, '{"error":"write /data/wal: no space left on device"}', "database"),
        (500, '{"code":"internal error","message":"An internal error has occurred"}', "either"),
        (503, "overloaded", "database"),
        (502, "bad gateway", "database"),
        (429, "too many requests", "database"),
    ],
)
def test_a_refusal_of_points_is_told_from_a_database_that_is_down(status: int, text: str, meant: str) -> None:
    if influx_refusals.refuses_points(status, text):
        assert meant == "points"
    else:
        assert meant == ("either" if influx_refusals.is_doubtful(status, text) else "database")


@pytest.mark.parametrize(
    ("text", "count", "dropped"),
    [
        (RETENTION, 5, 3),
        (RETENTION, 3, 3),
        # More than were sent: not ours.
        (RETENTION, 2, None),
        # Of one shard: others may have failed as well.
        (CONFLICT, 5, None),
        (CONFLICT, 3, 3),
        ("partial write: unable to parse 'm v=bad': invalid boolean dropped=0", 5, None),
        ("unable to parse", 5, None),
    ],
)
def test_how_many_points_were_dropped_is_believed_where_all_others_were_taken(
    text: str, count: int, dropped: int | None
) -> None:
    assert influx_refusals.dropped(text, count) == dropped
