"""Parts and days of the archive in a folder: what is written, closed, certified and read."""

from __future__ import annotations

import hashlib
import json
import random
from contextlib import suppress
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from archive_files.taped import (
    BEGIN,
    DATE,
    DAY,
    FEED,
    GENERATION,
    HOUR,
    message,
    rows_of,
    times_of,
    unchecked,
    write_round,
)
from tickwire.archive_files import days, layout, reading
from tickwire.archive_files.file_meta import KEY, FileMeta
from tickwire.archive_files.layout import ArchivedFeed, Sequences
from tickwire.archive_files.root import FolderRoot, Root, open_root
from tickwire.archive_files.schema import ROW_GROUP, TRADES, meta_of
from tickwire.errors import BadRequest, ConfigError, Fenced, StorageError
from tickwire.model.feeds import Gap, Trade
from tickwire.model.messages.archive import EndRow

pytestmark = pytest.mark.actors

END = BEGIN + DAY
TODAY, TOMORROW = FEED.on(DATE), FEED.on(layout.date_of(END))


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return FolderRoot(tmp_path)


def watched_day(root: Root) -> None:
    """A day that is watched from before its begin to its end, in two parts."""
    taped = [(message(until=BEGIN - 10), 1, 0), (message(BEGIN, BEGIN + HOUR, until=BEGIN + HOUR), 4, 1)]
    write_round(root, taped, 5)
    write_round(root, [(message(END - 1, END, until=END, source="rest"), 7, 4)], 8, done=5)


def test_a_part_is_named_by_its_messages_and_says_what_it_is(root: Root, tmp_path: Path) -> None:
    watched_day(root)
    folder = tmp_path / "trade/exchange=binance/symbol=BTC-USDT/date=2026-03-27"
    names = [
        "part-1700000000000-00000000000000000001-00000000000000000005.parquet",
        "part-1700000000000-00000000000000000006-00000000000000000008.parquet",
    ]
    assert sorted(path.name for path in folder.iterdir()) == names
    file = pq.ParquetFile(folder / names[1])
    assert json.loads(file.schema_arrow.metadata[KEY]) == {
        "version": 1,
        "kind": "trade",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "date": "2026-03-27",
        "unit": {},
        "covered": [[GENERATION, 6, 8]],
        "continues": True,
        "watched": [[END, END]],
        "until": END,
        "gaps": [],
        "last": {"timestamp": END - 1, "id": str(END - 1)},
        "added": [],
        "edition": 0,
    }
    assert {str(field.type) for field in file.schema_arrow if field.name in ("timestamp", "received")} == {
        "timestamp[ms, tz=UTC]"
    }
    assert rows_of(root)[2] == {
        "timestamp": END - 1, "received": END, "id": str(END - 1), "side": "buy", "price": 2.5, "amount": 0.5,
        "source": "rest", "sequence": 7,
    }  # fmt: skip


def test_a_closed_day_has_one_file_with_its_certificate_and_each_row_once(root: Root, tmp_path: Path) -> None:
    watched_day(root)
    made = days.close_day(root, TODAY, END, unchecked)
    folder = tmp_path / TODAY.folder
    assert sorted(path.name for path in folder.iterdir()) == ["data.parquet", "day.json"]
    assert msgspec.json.decode((folder / "day.json").read_bytes(), type=type(made)) == made
    data = (folder / "data.parquet").read_bytes()
    assert (made.sha256, made.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (made.condition, made.version, made.rows, made.live, made.rest) == ("complete", 1, 3, 2, 1)
    assert made.first == EndRow(timestamp=BEGIN, id=str(BEGIN))
    assert made.last == EndRow(timestamp=END - 1, id=str(END - 1))
    assert made.watched == [(BEGIN, END)]
    assert made.gaps == []
    assert [hour.rows for hour in made.hours] == [1, 1] + [0] * 21 + [1]
    assert times_of(root) == [BEGIN, BEGIN + HOUR, END - 1, END]


def test_closing_again_changes_nothing_and_a_late_row_makes_a_new_version(root: Root, tmp_path: Path) -> None:
    watched_day(root)
    made = days.close_day(root, TODAY, END, unchecked)
    data = tmp_path / TODAY.data
    before = data.stat()
    assert days.close_day(root, TODAY, END + HOUR, unchecked) == made
    assert (data.stat().st_ino, data.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_round(root, [(message(BEGIN + 7, until=END + 5), 12, 7)], 12, done=8)
    assert days.days(root, FEED, BEGIN, END)[0].condition == "open"
    again = days.close_day(root, TODAY, END + HOUR, unchecked)
    assert (again.version, again.rows, again.condition) == (2, 4, "complete")
    assert times_of(root) == [BEGIN, BEGIN + HOUR, END - 1, BEGIN + 7, END]


def test_closing_a_large_day_again_changes_nothing(root: Root) -> None:
    """A certificate has sums of floats, which depend on how many are added up together."""
    count, draw = 2 * ROW_GROUP - 1000, random.Random(3)
    trades = [
        Trade(id=None, timestamp=BEGIN + at * 300, side=None, price=draw.random(), amount=draw.random())
        for at in range(count)
    ]
    write_round(root, [(msgspec.structs.replace(message(), trades=trades), 1, 0)], 1)
    made = days.close_day(root, TODAY, END, unchecked)
    assert made.rows == count
    assert days.close_day(root, TODAY, END, unchecked) == made


def test_gaps_are_named_within_their_days_and_a_day_within_a_gap_is_missing(root: Root) -> None:
    gap = Gap(since=BEGIN + HOUR, until=END + DAY + 5, after_id="a", before_id="b", reason="outage")
    after = END + DAY + 5
    write_round(root, [(message(BEGIN - 5, until=BEGIN - 5), 1, 0), (message(BEGIN, until=BEGIN), 2, 1)], 2)
    write_round(root, [(message(after, until=after + DAY, gap=gap), 3, 2)], 3, done=2)
    made = [days.close_day(root, FEED.on(layout.date_of(BEGIN + n * DAY)), after + DAY, unchecked) for n in range(3)]
    assert [each.condition for each in made] == ["gaps", "missing", "gaps"]
    assert [[(gap.since, gap.until, gap.after_id, gap.before_id) for gap in each.gaps] for each in made] == [
        [(BEGIN + HOUR, END, "a", None)],
        [(END - 1, END + DAY, None, None)],
        [(END + DAY - 1, after, None, "b")],
    ]


def test_messages_that_expired_unread_are_a_gap_on_both_sides_of_midnight(root: Root) -> None:
    write_round(root, [(message(BEGIN, until=BEGIN + HOUR), 1, 0)], 10)
    lost = END + 3 * HOUR
    write_round(root, [(message(lost, until=END + DAY), 90, 80)], 95, done=10)
    first, second = (days.close_day(root, each, END + DAY, unchecked) for each in (TODAY, TOMORROW))
    assert (first.condition, second.condition) == ("partial", "gaps")  # the first day's watch begins with `until`
    assert [(gap.since, gap.until) for gap in first.gaps] == [(BEGIN + HOUR - 1, END)]
    assert [(gap.since, gap.until, gap.before_id) for gap in second.gaps] == [(END - 1, lost, str(lost))]


def test_a_day_that_is_closed_after_the_next_one_has_its_part_of_their_gap(root: Root) -> None:
    """Its first closing failed, because the root was away."""
    write_round(root, [(message(until=BEGIN), 1, 0), (message(BEGIN, until=BEGIN + HOUR), 2, 1)], 10)
    lost = END + 3 * HOUR
    write_round(root, [(message(lost, until=END + DAY), 90, 80)], 95, done=10)
    second, first = (days.close_day(root, each, END + DAY, unchecked) for each in (TOMORROW, TODAY))
    assert (first.condition, second.condition) == ("gaps", "gaps")
    assert [(gap.since, gap.until) for gap in first.gaps] == [(BEGIN + HOUR - 1, END)]
    assert [(gap.since, gap.until) for gap in second.gaps] == [(END - 1, lost)]
    assert days.close_day(root, TOMORROW, END + DAY, unchecked) == second


def test_a_day_without_files_that_is_closed_last_is_in_the_gap_around_it(root: Root) -> None:
    """Only the newest days of a gap have parts that say so."""
    stopped, count = 40, 45
    gap = Gap(since=BEGIN + HOUR, until=BEGIN + count * DAY, reason="stopped")
    write_round(root, [(message(BEGIN, until=BEGIN + HOUR), 1, 0)], 1)
    write_round(root, [(message(BEGIN + count * DAY, until=BEGIN + count * DAY, gap=gap), 2, 1)], 2, done=1)
    order = sorted(range(1, stopped), key=lambda number: (number == 5, number))
    made = [
        days.close_day(root, FEED.on(layout.date_of(BEGIN + n * DAY)), BEGIN + count * DAY, unchecked) for n in order
    ]
    assert {each.condition for each in made} == {"missing"}


def test_trades_lost_before_a_message_without_any_may_be_later_than_it_declares(root: Root) -> None:
    write_round(root, [(message(until=BEGIN - 5), 1, 0), (message(BEGIN, until=BEGIN + HOUR), 2, 1)], 10)
    declares = message(until=BEGIN + HOUR, received=BEGIN + 2 * HOUR)
    write_round(root, [(declares, 90, 80), (message(END, until=END), 91, 90)], 95, done=10)
    made = days.close_day(root, TODAY, END, unchecked)
    assert made.condition == "gaps"
    # A minute for the difference of the clocks.
    assert [(gap.since, gap.until) for gap in made.gaps] == [(BEGIN + HOUR - 1, BEGIN + 2 * HOUR + 60_000)]


def test_a_day_without_trades_is_complete_if_the_feed_was_followed(root: Root) -> None:
    watched_day(root)
    quiet = FEED.on(layout.date_of(END + DAY))
    made = days.close_day(root, quiet, END + 2 * DAY, unchecked)
    assert (made.condition, made.rows, made.file) == ("complete", 0, "data.parquet")
    never = days.close_day(root, ArchivedFeed("trade", "kraken", "BTC/USD").on(DATE), END + DAY, unchecked)
    assert (never.condition, never.file, never.bytes) == ("missing", "", 0)


def test_a_feed_that_begins_anew_is_not_joined_with_what_was_before(root: Root) -> None:
    write_round(root, [(message(until=BEGIN - 5), 1, 0), (message(BEGIN, until=BEGIN + HOUR), 9, 1)], 9)
    later = BEGIN + 4 * HOUR
    taped = [(message(later, until=later), 1, 0), (message(END, until=END), 2, 1)]
    write_round(root, taped, 2, generation=GENERATION + 1)
    made = days.close_day(root, TODAY, END, unchecked)
    assert made.condition == "partial"
    assert made.watched == [(BEGIN, BEGIN + HOUR), (later, END)]
    assert times_of(root) == [BEGIN, later, END]


def test_a_day_that_ended_in_silence_is_partial_until_the_feed_goes_on(root: Root) -> None:
    write_round(root, [(message(until=BEGIN - 5), 1, 0), (message(BEGIN, until=BEGIN + HOUR), 9, 1)], 9)
    made = days.close_day(root, TODAY, BEGIN + HOUR, unchecked)
    assert (made.condition, made.watched) == ("partial", [(BEGIN, BEGIN + HOUR)])
    write_round(root, [(message(END + 5, until=END + 5), 12, 9)], 12, done=9)
    again = days.close_day(root, TODAY, END + 5, unchecked)
    assert (again.condition, again.version, again.rows) == ("complete", 2, 1)


def test_contracts_have_a_quote_amount_where_their_size_is_known(root: Root) -> None:
    for exchange, unit, quote in (
        ("okx", {"multiplier": 0.1, "inverse": False}, 0.5 * 2.5 * 0.1),
        ("binancecoinm", {"multiplier": 100.0, "inverse": True}, 0.5 * 100),
        ("deribit", {"multiplier": None}, None),
    ):
        feed = ArchivedFeed("trade", exchange, "BTC/USDT:USDT")
        write_round(root, [(message(BEGIN, feed=feed, until=BEGIN, **unit), 1, 0)], 1)
        hour = days.close_day(root, feed.on(DATE), BEGIN, unchecked).hours[0]
        assert (hour.rows, hour.amount, hour.quote_amount) == (1, 0.5, quote and pytest.approx(quote, rel=1e-12))


def test_a_writer_that_is_fenced_leaves_the_day_as_it_was(root: Root, tmp_path: Path) -> None:
    watched_day(root)
    before = {path.name: path.read_bytes() for path in (tmp_path / TODAY.folder).iterdir()}

    def fenced() -> None:
        raise Fenced("another instance has taken over")

    with pytest.raises(Fenced):
        days.close_day(root, TODAY, END, fenced)
    assert {path.name: path.read_bytes() for path in (tmp_path / TODAY.folder).iterdir()} == before


def test_rows_of_a_part_that_is_written_again_are_read_once(root: Root) -> None:
    watched_day(root)
    days.close_day(root, TODAY, END, unchecked)
    watched_day(root)  # as by a process that was suspended while it wrote the round
    assert times_of(root) == [BEGIN, BEGIN + HOUR, END - 1, END]
    listing = reading.list_day(root, TODAY)
    assert (len(listing.files), len(listing.superseded)) == (1, 2)
    assert days.close_day(root, TODAY, END, unchecked).version == 1
    assert not reading.list_day(root, TODAY).superseded


def test_days_are_listed_with_those_that_are_open_or_absent(root: Root) -> None:
    watched_day(root)
    days.close_day(root, TODAY, END, unchecked)
    found = days.days(root, FEED, BEGIN - 2 * DAY, END + 2 * DAY)
    assert [(each.date, each.condition, each.version) for each in found] == [
        ("2026-03-25", "missing", 0),
        ("2026-03-26", "open", 0),
        ("2026-03-27", "complete", 1),
        ("2026-03-28", "open", 0),
        ("2026-03-29", "missing", 0),
    ]
    assert found[3].rows == 1
    assert days.days(root, FEED, BEGIN, BEGIN) == []


def test_a_file_of_others_and_a_damaged_one_are_refused_by_name(root: Root, tmp_path: Path) -> None:
    watched_day(root)
    part = tmp_path / TODAY.folder / Sequences(GENERATION, 6, 8).part
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match=r"part-1700000000000-0+6-0+8\.parquet is damaged"):
        rows_of(root)
    pq.write_table(TRADES.empty_table(), part)
    with pytest.raises(StorageError, match="was not written by the archive"):
        rows_of(root)


def test_a_file_whose_footer_is_damaged_is_refused_whatever_is_wrong(root: Root, tmp_path: Path) -> None:
    """Pages have checksums, the footer has none; some of what it says makes pyarrow abort the process."""
    watched_day(root)
    days.close_day(root, TODAY, END, unchecked)
    data, draw = tmp_path / TODAY.data, random.Random(5)
    whole = data.read_bytes()
    begin = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    unnoticed = 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[draw.randrange(begin, len(whole))] ^= 1 << draw.randrange(8)
        data.write_bytes(damaged)
        for call in (lambda: rows_of(root), lambda: days.close_day(root, TODAY, END + HOUR, unchecked)):
            with suppress(StorageError):
                call()
                unnoticed += 1
    assert unnoticed < 150


def test_a_damaged_certificate_is_named_and_made_anew_once_it_is_removed(root: Root, tmp_path: Path) -> None:
    watched_day(root)
    made = days.close_day(root, TODAY, END, unchecked)
    path = tmp_path / TODAY.certificate
    path.write_bytes(path.read_bytes()[:100])
    for read in (lambda: days.days(root, FEED, BEGIN, END), lambda: days.close_day(root, TODAY, END, unchecked)):
        with pytest.raises(StorageError, match=r"date=2026-03-27/day\.json: .*; remove it"):
            read()
    path.unlink()
    assert days.days(root, FEED, BEGIN, END)[0].condition == "open"
    again = days.close_day(root, TODAY, END, unchecked)
    assert msgspec.structs.replace(again, made=made.made) == made


def test_names_that_leave_the_root_are_refused() -> None:
    for names in (("../x", "binance", "A/B"), ("trade", "..", "A/B"), ("trade", "x", "")):
        with pytest.raises(BadRequest):
            _ = ArchivedFeed(*names).folder
    with pytest.raises(ConfigError):
        open_root("ftp://host/path")


def test_metadata_of_a_later_version_is_refused_and_unknown_fields_are_not() -> None:
    text = msgspec.json.encode(FileMeta.of(TODAY))
    assert meta_of({KEY: text[:-1] + b',"more":1}'}, "a") == FileMeta.of(TODAY)
    with pytest.raises(StorageError, match="version 2"):
        meta_of({KEY: text.replace(b'"version":1', b'"version":2')}, "a")
