"""Pages of archived trades: together they are what the files have, whatever happens to the files meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from archive_files.taped import BEGIN, DATE, DAY, FEED, GENERATION, Taped, message, rows_of, unchecked, write_round
from tickwire.archive_files import days
from tickwire.archive_files.layout import Through
from tickwire.archive_files.pages import CHUNK_BYTES, chunks, encoded, fitting
from tickwire.archive_files.removal import remove_day
from tickwire.archive_files.root import Root, open_root
from tickwire.archive_files.schema import TRADES
from tickwire.errors import BadRequest, StorageError
from tickwire.model.messages.archived_trades import ArchivedTrades, ArchivedTradesRequest
from tickwire.model.ranges import Range

pytestmark = pytest.mark.pure

ALL = Through(GENERATION, 1 << 50)


def request(**fields: Any) -> ArchivedTradesRequest:
    return ArchivedTradesRequest(exchange=FEED.exchange, symbol=FEED.symbol, **fields)


def times(found: list[ArchivedTrades]) -> list[int]:
    """The times of the rows of chunks."""
    tables = [pa.ipc.open_stream(each.data).read_all() for each in found]
    return [time for table in tables for time in table.column("timestamp").cast(pa.int64()).to_pylist()]


def page(root: Root, through: Through = ALL, **fields: Any) -> list[ArchivedTrades]:
    """The chunks of a page, once their numbers were checked."""
    found = list(chunks(root, request(**fields), through))
    assert [each.chunk for each in found] == list(range(len(found)))
    assert [each.more for each in found] == [True] * (len(found) - 1) + [False]
    assert found[-1].rows == 0
    assert sum(each.rows for each in found) == len(times(found))
    return found


def write(root: Root, first: int, last: int, *, generation: int = GENERATION, step: int = DAY // 10) -> None:
    """A round of messages `first` to `last`, of two trades each."""
    taped: list[Taped] = [
        (message(BEGIN + number * step, BEGIN + number * step + 1), number, number - 1 or 0)
        for number in range(first, last + 1)
    ]
    write_round(root, taped, last, done=first - 1, generation=generation)


@pytest.mark.parametrize("limit", [1, 3, 7, 200_000])
def test_pages_have_each_row_once_though_days_are_closed_between_them(tmp_path: Path, limit: int) -> None:
    root = open_root(str(tmp_path))
    for first in range(1, 30, 5):
        write(root, first, first + 4)
    expected = [row["timestamp"] for row in rows_of(root)]
    assert len(expected) == 60
    found: list[int] = []
    cursor, pages = None, 0
    while True:
        part = page(root, limit=limit, cursor=cursor)
        found, cursor, pages = found + times(part), part[-1].cursor, pages + 1
        if cursor is None:
            break
        if pages == 2:
            days.close_day(root, FEED.on(DATE), BEGIN + 2 * DAY, unchecked)
    assert found == expected


@pytest.mark.parametrize("read", [1, 2])
def test_the_next_page_of_a_day_that_was_removed_meanwhile_is_an_error(tmp_path: Path, read: int) -> None:
    root = open_root(str(tmp_path))
    write(root, 1, 12)
    first, second = days.dates_of(root, FEED)
    for each in (first, second):
        days.close_day(root, FEED.on(each), BEGIN + 3 * DAY, unchecked)
    cursor = None
    for _ in range(read):
        cursor = page(root, limit=2, cursor=cursor)[-1].cursor
    remove_day(root, FEED.on(first), unchecked)
    with pytest.raises(StorageError, match="2026-03-27 was removed while it was read"):
        page(root, limit=2, cursor=cursor)
    assert len(times(page(root))) == len(rows_of(root)) > 0


@pytest.mark.parametrize("limit", [2, 5, 200_000])
def test_pages_name_the_days_that_were_removed_before_the_rows_that_follow(tmp_path: Path, limit: int) -> None:
    """Wherever a reader is, it learns of a removed day that it has not read, in its place, once."""
    root = open_root(str(tmp_path))
    write(root, 1, 60)
    dates = days.dates_of(root, FEED)
    spans = [FEED.on(each).span for each in dates]
    for each in dates[:-1]:
        days.close_day(root, FEED.on(each), BEGIN + 30 * DAY, unchecked)
    remove_day(root, FEED.on(dates[0]), unchecked)
    reading, taken = chunks(root, request(since=BEGIN + DAY // 2, limit=limit), ALL), list[ArchivedTrades]()
    while not taken or not taken[-1].rows:
        taken.append(next(reading))
    for each in (dates[2], dates[3]):
        remove_day(root, FEED.on(each), unchecked)
    taken += reading
    while (cursor := taken[-1].cursor) is not None:
        taken += page(root, since=BEGIN + DAY // 2, limit=limit, cursor=cursor)
    assert [each.removed for each in taken if each.removed] == [
        [Range(BEGIN + DAY // 2, spans[0].until)],
        [Range(spans[2].since, spans[3].until)],
    ]
    for chunk in taken:
        assert not chunk.removed or times([chunk])[0] >= chunk.removed[-1].until
    assert page(root, since=spans[2].since, until=spans[2].until)[-1].removed == [spans[2]]
    assert page(root, since=spans[4].since, until=spans[5].until)[-1].removed == []


def test_a_page_has_the_rows_of_its_range(tmp_path: Path) -> None:
    root = open_root(str(tmp_path))
    write(root, 1, 30)
    since, until = BEGIN + DAY // 2, BEGIN + 2 * DAY
    expected = [row["timestamp"] for row in rows_of(root, since=since, until=until)]
    assert times(page(root, since=since, until=until)) == expected
    assert times(page(root, since=BEGIN + 9 * DAY)) == []


@pytest.mark.parametrize("closed", [False, True])
def test_rows_of_a_round_that_is_being_written_are_left_out(tmp_path: Path, closed: bool) -> None:
    """They are on the tape; a page that had some of them would have the others neither there nor here."""
    root = open_root(str(tmp_path))
    write(root, 1, 4)
    write(root, 5, 8)
    if closed:
        days.close_day(root, FEED.on(DATE), BEGIN + 2 * DAY, unchecked)
    found = page(root, Through(GENERATION, 4))
    assert times(found) == [row["timestamp"] for row in rows_of(root) if row["sequence"] <= 4]
    assert {each.sequence for each in found} == {4}


def test_rows_of_a_stream_that_was_wiped_since_are_kept(tmp_path: Path) -> None:
    """Its sequences were higher than those of the present one."""
    root = open_root(str(tmp_path))
    write(root, 5, 8)
    later = BEGIN + DAY // 10 * 8 + 5000
    again: list[Taped] = [(message(later + number), number, number - 1) for number in (1, 2, 3)]
    write_round(root, again, 3, generation=later)
    days.close_day(root, FEED.on(DATE), BEGIN + 2 * DAY, unchecked)
    expected = [row["timestamp"] for row in rows_of(root)]
    assert times(page(root, Through(later, 3))) == expected
    assert times(page(root, Through(later, 2))) == expected[:-1]


def test_a_later_page_ends_where_the_first_one_saw_the_end(tmp_path: Path) -> None:
    root = open_root(str(tmp_path))
    write(root, 1, 4)
    first = page(root, Through(GENERATION, 4), limit=1)
    write(root, 5, 8)
    rest: list[int] = []
    cursor = first[-1].cursor
    while cursor is not None:
        part = page(root, Through(0, 0), cursor=cursor)
        rest, cursor = rest + times(part), part[-1].cursor
        assert part[-1].sequence == 4
    assert times(first) + rest == [row["timestamp"] for row in rows_of(root) if row["sequence"] <= 4]


def test_rows_with_long_ids_fit_into_messages() -> None:
    rows = 4096
    batch = pa.RecordBatch.from_pylist(
        [
            {
                "timestamp": number,
                "received": number,
                "id": f"{number:0>400}",
                "side": None,
                "price": 1.0,
                "amount": 1.0,
                "source": "live",
                "sequence": number,
            }
            for number in range(rows)
        ],
        TRADES,
    )
    parts = list(fitting(batch))
    assert len(parts) > 2
    assert max(len(encoded(each, TRADES)) for each in parts) < CHUNK_BYTES + 4096
    assert pa.Table.from_batches(parts).column("sequence").to_pylist() == list(range(rows))


@pytest.mark.parametrize("cursor", ["", "2026-03-27", "x:1:2:3", "2026-03-27:1:2:z"])
def test_a_cursor_that_is_none_is_refused(tmp_path: Path, cursor: str) -> None:
    with pytest.raises(BadRequest, match="is not a cursor"):
        page(open_root(str(tmp_path)), cursor=cursor)


@pytest.mark.parametrize("rows", [3, 4096])
def test_a_cursor_of_a_chunk_requests_what_follows_it(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.archive_files.pages.BATCH_ROWS", rows)
    root = open_root(str(tmp_path))
    for first in range(1, 30, 5):
        write(root, first, first + 4)
    found = page(root)
    placed = [at for at, each in enumerate(found) if each.cursor is not None]
    assert len(placed) >= 60 // rows
    for at in placed:
        rest = page(root, Through(0, 0), cursor=found[at].cursor)
        assert times(rest) == times(found[at + 1 :])
        assert rest[-1].sequence == found[-1].sequence
