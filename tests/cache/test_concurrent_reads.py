"""Reads of a store beside its writer: each is the whole file as it was at some moment, or a named refusal."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from cache.splices import FIRST, KEY, MINUTE, NEWEST, ROWS, as_lines, backwards, page
from cache.stored import opened
from tickwire.cache import replies
from tickwire.cache.candle_rows import columns
from tickwire.cache.key_snapshot import KeySnapshot
from tickwire.cache.packed_columns import plain
from tickwire.client.columns import rows_of
from tickwire.errors import CacheFileError, Fenced
from tickwire.model import subjects
from tickwire.model.messages import CandleColumns, Candles, Row
from tickwire.model.subjects import Key

pytestmark = pytest.mark.faults

Select = Callable[[KeySnapshot, int | None, int | None], Iterable[object]]


def decoded_rows(key: Key, lines: bytes) -> list[Row]:
    found: list[Row] = []
    for chunk in replies.as_rows(key, [lines]):
        found += msgspec.json.decode(chunk, type=Candles).rows
    return found


def decoded_columns(key: Key, lines: bytes) -> list[Row]:
    found: list[Row] = []
    for chunk in replies.as_columns(key, [plain(columns(lines))]):
        found += rows_of(msgspec.msgpack.decode(chunk, type=CandleColumns))
    return found


def test_1500_reads_beside_150_splices_are_neither_torn_nor_short(tmp_path: Path) -> None:
    splices = list(backwards(150))
    store = opened(tmp_path)
    store.commit([(1, splices[0][0])])
    done, reads = 0, 0
    over = threading.Event()

    def read(seed: int) -> int:
        draw = random.Random(seed)
        count = 0
        while not over.is_set() or count < 375:
            before = done
            lines = store.read_lines(KEY, None, None)
            after = min(done + 1, len(splices) - 1)
            expected = [splices[version][1] for version in range(before, after + 1)]
            assert lines in [as_lines(rows) for rows in expected]
            decode = draw.choice([decoded_rows, decoded_columns])
            assert decode(KEY, lines) in expected
            # A part of it, found by bisection.
            since = (NEWEST - draw.randrange(1, ROWS * (before + 2))) * MINUTE
            before = done
            part = store.read_lines(KEY, since, None, 50)
            after = min(done + 1, len(splices) - 1)
            wanted = [[row for row in splices[v][1] if row[0] >= since][:50] for v in range(before, after + 1)]
            assert part in [as_lines(rows) for rows in wanted]
            count += 2
        return count

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read, seed) for seed in range(4)]
        try:
            for number, (one, _) in enumerate(splices[1:], start=1):
                assert not store.commit([(number + 1, one)]).rejected
                assert store.flush().stored
                done = number
        finally:
            over.set()
        reads = sum(reader.result() for reader in readers)
    assert reads >= 1500
    assert as_lines(splices[-1][1]) == store.read_lines(KEY, None, None)


def test_a_former_owner_reads_nothing_once_another_has_replaced_the_file(tmp_path: Path) -> None:
    splices = list(backwards(6))
    former = opened(tmp_path)
    former.commit([(1, splices[0][0])])
    assert former.read_lines(KEY, None, None) == as_lines(splices[0][1])
    follower = opened(tmp_path, 2)
    # Several times: the file system may give a new file the inode of one that is gone.
    for number, (one, rows) in enumerate(splices[1:], start=2):
        follower.commit([(number, one)])
        follower.flush()
        with pytest.raises(Fenced):
            former.read_lines(KEY, None, None)
        assert follower.read_lines(KEY, None, None) == as_lines(rows)


def test_a_reading_taken_before_a_splice_stays_whole_after_it(tmp_path: Path) -> None:
    splices = list(backwards(2))
    store = opened(tmp_path)
    store.commit([(1, splices[0][0])])
    with store.snapshot(KEY) as reading:
        store.commit([(2, splices[1][0])])
        store.flush()
        assert reading.lines(None, None) == as_lines(splices[0][1])
    assert store.read_lines(KEY, None, None) == as_lines(splices[1][1])


@pytest.mark.parametrize("wrong", ["not,a,row,of,six,numbers", "1,2,3", "1,2,3,4,5,6,7", "0,1.0,1.0,1.0,1.0,1.0"])
@pytest.mark.parametrize("select", [KeySnapshot.checked_pieces, KeySnapshot.tables])
def test_a_wrong_line_in_the_middle_is_refused_by_its_number(tmp_path: Path, wrong: str, select: Select) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(range(FIRST, FIRST + 100), 0))])
    file = tmp_path / f"{subjects.file_stem(KEY)}.csv"
    lines = file.read_bytes().split(b"\n")
    lines[50] = wrong.encode().ljust(len(lines[50]), b"0") if wrong[0] != "0" else wrong.encode()
    shorter = sum(map(len, lines)) + len(lines) - 1 - file.stat().st_size
    lines[51] += b"0" * -shorter
    # In place, as an editor may: neither the file's inode nor its size tell.
    with file.open("r+b") as handle:
        handle.write(b"\n".join(lines)[: file.stat().st_size])
    with store.snapshot(KEY) as reading, pytest.raises(CacheFileError, match="line 51"):
        list(select(reading, None, None))


def test_a_file_that_another_program_removed_is_refused_for_its_key_alone(tmp_path: Path) -> None:
    other = Key("binance", "ETH/USDT", "1m")
    store = opened(tmp_path)
    store.commit([(1, page(range(FIRST, FIRST + 10), 0)), (2, page(range(FIRST, FIRST + 10), 0, other))])
    store.checkpoint()
    (tmp_path / f"{subjects.file_stem(KEY)}.csv").unlink()
    with pytest.raises(CacheFileError, match="missing"):
        store.read_lines(KEY, None, None)
    outcome = store.commit(
        [(3, page(range(FIRST + 10, FIRST + 20), 0)), (4, page(range(FIRST + 10, FIRST + 20), 0, other))]
    )
    assert [stored.symbol for stored in outcome.stored] == [other.symbol]
    assert [rejected.page.symbol for rejected in outcome.rejected] == [KEY.symbol]


def test_a_file_that_another_program_cut_short_is_refused_where_it_was_read_short(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(range(FIRST, FIRST + 10), 0))])
    store.checkpoint()
    file = tmp_path / f"{subjects.file_stem(KEY)}.csv"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CacheFileError, match="line 6: it is cut off"):
        store.read_lines(KEY, None, None)
    assert store.verify(KEY).problem_count > 0
