"""The store on real files: what is appended, spliced, read and listed, and which writers are fenced."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path

import pytest

from cache.stored import HEADER, KEY, MINUTE, OTHER, data_file, in_minutes, meta_file, minutes_in, opened, page
from tickwire.cache.disk import Disk
from tickwire.cache.fence import Fence
from tickwire.cache.key_endpoints import listing
from tickwire.cache.store import PENDING_ROWS, Store
from tickwire.errors import ConfigError, Fenced, NotCached, StorageError
from tickwire.model import subjects
from tickwire.model.messages import CandlePage, Row
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

pytestmark = pytest.mark.pure


def test_candles_become_a_plain_csv_and_a_meta_file(tmp_path: Path) -> None:
    store = opened(tmp_path)
    outcome = store.commit([(1, page([10, 11, 13], 10, 15))])
    assert [(s.since, s.until, s.rows, s.total_rows) for s in outcome.stored] == [(600_000, 900_000, 3, 3)]
    assert data_file(tmp_path).read_text() == (
        HEADER + "600000,1.0,2.0,0.5,1.5,10.0\n660000,1.0,2.0,0.5,1.5,10.0\n780000,1.0,2.0,0.5,1.5,10.0\n"
    )
    meta = json.loads(meta_file(tmp_path).read_text())
    assert Key(meta["exchange"], meta["symbol"], meta["timeframe"]) == KEY
    assert meta["verified"] == [[600_000, 900_000]]
    coverage = store.coverage(KEY)
    assert (coverage.rows, coverage.holes, coverage.first, coverage.last) == (3, 2, 600_000, 780_000)
    assert coverage.bytes == data_file(tmp_path).stat().st_size


def test_newer_candles_are_appended_in_place_and_older_ones_spliced_in_together(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page([10, 11]))])
    inode = data_file(tmp_path).stat().st_ino
    assert store.commit([(2, page([12, 13]))]).stored
    assert data_file(tmp_path).stat().st_ino == inode
    assert store.commit([(3, page([2, 3])), (4, page([5], 4, 6))]).stored == []
    assert (store.position, store.waiting) == (2, [KEY])
    assert minutes_in(tmp_path) == [10, 11, 12, 13]
    assert [s.total_rows for s in store.flush().stored] == [7, 7]
    assert (store.position, store.waiting) == (4, [])
    assert minutes_in(tmp_path) == [2, 3, 5, 10, 11, 12, 13]
    assert in_minutes(store.coverage(KEY).verified) == [(2, 6), (10, 14)]


def test_an_equal_row_is_not_written_again_and_a_different_one_replaces_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page([1, 2, 3]))])
    before = data_file(tmp_path).stat()
    assert store.commit([(2, page([1, 2, 3])), (3, page([2]))]).stored
    after = data_file(tmp_path).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert store.commit([(4, page([2], close=9.0))]).stored == []
    store.flush()
    assert store.read(KEY, None, None).closes.tolist() == [1.5, 9.0, 1.5]


def test_pages_behind_a_waiting_one_are_applied_in_the_order_of_the_stream(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page([10]))])
    store.commit([(2, page([8, 9, 10, 11], close=2.0))])
    store.commit([(3, page([11, 12], close=3.0))])
    store.commit([(4, page([13], close=4.0))])
    store.flush()
    columns = store.read(KEY, None, None)
    assert [d // MINUTE for d in columns.dates.tolist()] == [8, 9, 10, 11, 12, 13]
    assert columns.closes.tolist() == [2.0, 2.0, 2.0, 3.0, 3.0, 4.0]


def test_waiting_rows_are_bounded(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page([900_000]))])
    size = 50_000
    for number in range(PENDING_ROWS // size + 1):
        start = number * size
        store.commit([(2 + number, page(list(range(start, start + size))))])
    assert store.waiting == []
    assert store.coverage(KEY).rows == PENDING_ROWS + size + 1


def test_ranges_are_read_without_the_rest(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(list(range(100))))])
    columns = store.read(KEY, 10 * MINUTE + 1, 50 * MINUTE, 5)
    assert [d // MINUTE for d in columns.dates.tolist()] == [11, 12, 13, 14, 15]
    assert columns.dates.dtype == "int64"
    assert store.read(KEY, 500 * MINUTE, None).dates.size == 0
    assert store.read(KEY, None, 0).dates.size == 0
    assert store.read_lines(KEY, 98 * MINUTE, None).count(b"\n") == 2
    with pytest.raises(NotCached):
        store.read(OTHER, None, None)


def test_nothing_traded_is_known_though_there_is_no_row(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.commit([(1, page([], 5, 9))]).stored
    coverage = opened(tmp_path, 2).coverage(KEY)
    assert (coverage.rows, coverage.holes, in_minutes(coverage.verified)) == (0, 4, [(5, 9)])


def test_the_next_owner_reads_on_from_the_checkpoint_and_all_stored_rows_are_there(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page([1, 2])), (2, page([3]))])
    store.checkpoint()
    store.commit([(3, page([4]))])
    store.commit([(4, page([5, 7], 5, 9))])
    after = opened(tmp_path, 2)
    assert after.position == 2
    assert in_minutes(after.coverage(KEY).verified) == [(1, 9)]
    assert minutes_in(tmp_path) == [1, 2, 3, 4, 5, 7]
    assert opened(tmp_path, 3, stream="another").position == 0


def test_a_succeeded_writer_is_refused_even_if_the_broker_counts_from_one_again(tmp_path: Path) -> None:
    paused = opened(tmp_path, 7)
    paused.commit([(1, page([1]))])
    opened(tmp_path, 8)
    with pytest.raises(Fenced):
        paused.commit([(2, page([2]))])
    with pytest.raises(Fenced):
        paused.checkpoint()
    with pytest.raises(Fenced):
        opened(tmp_path, 7)
    opened(tmp_path, 1, generation=2).commit([(1, page([3]))])
    assert minutes_in(tmp_path) == [1, 3]


def test_a_folder_made_for_another_number_of_partitions_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    with pytest.raises(ConfigError, match=r"made for 1 partitions, not 4.*"):
        Store.open(tmp_path, 2, partitions=4, claim=Fence(1, 1), stream="s")


def test_keys_are_listed_by_the_partition_they_belong_to(tmp_path: Path) -> None:
    stores = [Store.open(tmp_path, p, partitions=2, claim=Fence(1, 1), stream="s") for p in range(2)]
    keys = [Key("binance", f"C{number}/USDT", "1d") for number in range(8)]
    for key in keys:
        empty = CandlePage(exchange=key.exchange, symbol=key.symbol, timeframe="1d", since=0, until=86_400_000, rows=[])
        stores[subjects.partition_of(key, 2)].commit([(1, empty)])
    listed = [[coverage.key for coverage in listing(store)[0]] for store in stores]
    assert sorted(listed[0] + listed[1]) == sorted(keys)
    assert listed[0]
    assert listed[1]
    assert listing(stores[0], "kraken") == ([], [])


def test_a_file_that_is_named_after_no_timeframe_does_not_hide_the_others(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page([1]))])
    for name in ("binance_BTC-USDT_9x.csv", "binance_ETH-USDT_0m.meta.json"):
        (tmp_path / name).write_text("dates,opens,highs,lows,closes,volumes\n")
    covered, damaged = listing(store)
    assert [each.rows for each in covered] == [1]
    assert damaged == []


def test_a_bad_page_is_refused_and_its_neighbours_are_stored(tmp_path: Path) -> None:
    store = opened(tmp_path)
    bad = page([3], 5, 9)
    outcome = store.commit([(1, page([1])), (2, bad), (3, page([2]))])
    assert [s.since // MINUTE for s in outcome.stored] == [1, 2]
    assert [(r.seq, r.error.code) for r in outcome.rejected] == [(2, "bad_request")]
    assert store.position == 3


class FullDisk(Disk):
    """A real disk that has room for so many more bytes."""

    room = 1 << 40

    def write(self, fd: int, data: bytes, offset: int) -> None:
        if len(data) > self.room:
            super().write(fd, data[: self.room], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(fd, data, offset)


def test_a_full_disk_is_one_clear_line_and_the_same_batch_works_once_there_is_room(tmp_path: Path) -> None:
    disk = FullDisk()
    store = opened(tmp_path, disk=disk)
    store.commit([(1, page([1, 2]))])
    disk.room = 20
    for _ in range(3):
        with pytest.raises(StorageError, match="No space left") as failure:
            store.commit([(2, page([3, 4]))])
        assert "free some space" in str(failure.value)
    assert minutes_in(tmp_path) == [1, 2]
    disk.room = 1 << 40
    assert store.commit([(2, page([3, 4]))]).stored
    assert minutes_in(tmp_path) == [1, 2, 3, 4]
    store.commit([(3, page([0]))])
    disk.room = 20
    with pytest.raises(StorageError):
        store.flush()
    assert minutes_in(tmp_path) == [1, 2, 3, 4]
    disk.room = 1 << 40
    assert len(store.flush().stored) == 1
    assert minutes_in(tmp_path) == [0, 1, 2, 3, 4]
    assert not [entry for entry in tmp_path.iterdir() if "tmp" in entry.name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_unusable_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot use the cache folder") as failure:
        opened(tmp_path / "file")
    assert "\n" not in str(failure.value)


def test_a_lock_held_by_a_suspended_process_is_said_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    monkeypatch.setattr("tickwire.cache.store.LOCK_TIMEOUT_S", 0.05)
    with Disk().lock(store.folder.lock(0), 1), pytest.raises(StorageError, match="held by another process"):
        store.commit([(1, page([1]))])
    assert store.commit([(1, page([1]))]).stored


@pytest.mark.parametrize(
    ("name", "exchange", "symbol", "timeframe", "rows", "holes"),
    [
        ("binance_ETH-BTC_5m_2018-01", "binance", "ETH/BTC", "5m", 5760, 0),
        ("binance_XMR-BTC_5m_2018-01", "binance", "XMR/BTC", "5m", 5758, 2),
        ("binance_XRP-ETH_1m_2019-10", "binance", "XRP/ETH", "1m", 2469, 1091),
        ("BTC-PERP_1m_2022-01", "ftx", "BTC/USD:USD", "1m", 45031, 0),
    ],
)
def test_real_candles_come_back_value_for_value_in_whatever_order_their_pages_come(
    tmp_path: Path, recorded: Path, name: str, exchange: str, symbol: str, timeframe: str, rows: int, holes: int
) -> None:
    with (recorded / "ohlcv" / f"{name}.csv").open(newline="") as lines:
        source = [tuple(map(float, line)) for line in list(csv.reader(lines))[1:]]
    step = {"1m": MINUTE, "5m": 5 * MINUTE}[timeframe]
    key = Key(exchange, symbol, timeframe)
    all_rows: list[Row] = [(int(d), o, h, lo, c, v) for d, o, h, lo, c, v in source]
    first, last = all_rows[0][0], all_rows[-1][0]
    pages = []
    for since in range(first, last + step, 500 * step):
        until = min(since + 500 * step, last + step)
        inside = [row for row in all_rows if since <= row[0] < until]
        found = CandlePage(
            exchange=exchange,
            symbol=symbol,
            timeframe=timeframe,
            since=since,
            until=until,
            rows=inside,
            volume_unit="base",
        )
        pages.append(found)
    third = len(pages) // 3
    order = pages[third : 2 * third] + pages[:third] + pages[2 * third :] + pages[:2]
    store = opened(tmp_path)
    announced = store.commit(list(enumerate(order, 1))).stored + store.flush().stored
    assert len(announced) == len(order)
    columns = store.read(key, None, None)
    assert [tuple(row) for row in zip(*(column.tolist() for column in columns), strict=True)] == source
    coverage = opened(tmp_path, 2).coverage(key)
    assert (coverage.rows, coverage.holes, coverage.verified) == (rows, holes, [Range(first, last + step)])
    assert opened(tmp_path, 3).verify(key).problem_count == 0
