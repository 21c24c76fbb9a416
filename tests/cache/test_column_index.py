"""Columns that are kept beside a data file: whatever becomes of either, a read gives the rows of the data file."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cache.stored import HEADER, KEY, MINUTE, data_file, opened, use_small_records
from tickwire.cache.candle_rows import joined
from tickwire.cache.key_endpoints import listing
from tickwire.cache.store import Store
from tickwire.errors import CacheFileError, StorageError
from tickwire.model.messages import CandlePage, Row

pytestmark = pytest.mark.pure

VOLUMES = (10.0, 0.0, -0.0, 1 / 3, 1e-7, 123.45678901, 2.5e9, 1e300)


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_small_records(patch)
        yield


def columns_file(folder: Path) -> Path:
    return folder / "binance_BTC-USDT_1m.columns"


def page(start: int, count: int, seed: int, leave_out: float = 0.0) -> CandlePage:
    draw = random.Random(seed)
    rows: list[Row] = []
    for minute in range(start, start + count):
        price = round(draw.uniform(1, 90_000), draw.randrange(4))
        if draw.random() >= leave_out:
            rows.append((minute * MINUTE, price, price + 2, price / 3, price, draw.choice(VOLUMES)))
    return CandlePage(**KEY._asdict(), since=start * MINUTE, until=(start + count) * MINUTE, rows=rows)


def in_file(folder: Path) -> list[tuple[str, ...]]:
    """The rows of the data file by Python's own reading, as text, which tells 0.0 from -0.0."""
    header, *lines = data_file(folder).read_text().splitlines(keepends=True)
    assert header == HEADER
    rows = [line.strip().split(",") for line in lines]
    return [(row[0], *(repr(float(each)) for each in row[1:])) for row in rows]


Which = tuple[int | None, int | None, int | None, bool]
"""since, until (ms), limit, last."""


def selected(rows: list[tuple[str, ...]], which: Which) -> object:
    since, until, limit, last = which
    found = [r for r in rows if (since is None or int(r[0]) >= since) and (until is None or int(r[0]) < until)]
    return found if limit is None else found[max(0, len(found) - limit) :] if last else found[:limit]


def read(store: Store, which: Which) -> tuple[object, int, int | None]:
    """The rows as text, how many had to be parsed, and the first record that did not count."""
    since, until, limit, last = which
    with store.snapshot(KEY) as snapshot:
        table = joined([each.unpacked() for each in snapshot.tables(since, until, limit, last=last)])
        rows = zip(*(column.tolist() for column in table), strict=True)
        return [(str(row[0]), *map(repr, row[1:])) for row in rows], snapshot.parsed, snapshot.wrong_record


def keep(store: Store, wrong: int | None = None) -> int:
    """Keep all columns; the number of records that were added."""
    added = 0
    with store.snapshot(KEY) as snapshot:
        while snapshot.extend_index(wrong):
            added, wrong = added + 1, None
    return added


ALL = (None, None, None, False)
TIMES = st.none() | st.integers(0, 400).map(lambda minute: minute * MINUTE + minute % 2)
WHICH = st.tuples(TIMES, TIMES, st.none() | st.integers(0, 60), st.booleans())
STEPS = st.sampled_from(
    ["append", "append", "splice", "edit", "cut", "keep", "keep", "reopen", "torn", "flip", "old", "zeros", "shorter"]
)


class Folder:
    """A cache folder to which everything happens that may happen to one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epoch = 1
        self.seq = 0
        self.next = 200
        self.store = opened(folder)
        self.old = b""
        self.happen("append", 1)

    def happen(self, step: str, seed: int) -> None:
        draw = random.Random(seed)
        csv, columns = data_file(self.folder), columns_file(self.folder)
        if step == "append":
            count = draw.randint(1, 40)
            self.commit(page(self.next, count, seed, draw.choice([0.0, 0.3])))
            self.next += count
        elif step == "splice":
            self.commit(page(draw.randrange(self.next), draw.randint(1, 20), seed))
            self.store.flush()
        elif step == "edit":
            # In place and of the same size, as an editor may.
            text = bytearray(csv.read_bytes())
            digits = [at for at, byte in enumerate(text) if 49 <= byte <= 57 and text[at - 1 : at] == b","]
            if digits:
                text[draw.choice(digits)] = draw.choice(b"123456789")
            with csv.open("r+b") as file:
                file.write(text)
        elif step == "cut":
            lines = csv.read_bytes().splitlines(keepends=True)
            csv.write_bytes(b"".join(lines[: draw.randint(2, max(2, len(lines)))]))
            self.store.repair(KEY)
        elif step == "keep":
            keep(self.store, draw.choice([None, read(self.store, ALL)[2]]))
        elif step == "reopen":
            self.epoch += 1
            self.store = opened(self.folder, self.epoch)
        elif columns.exists():
            self.damage(step, columns, draw)

    def damage(self, step: str, columns: Path, draw: random.Random) -> None:
        """What a kill, a lost write or another program may do to the columns."""
        data = bytearray(columns.read_bytes())
        at = draw.randrange(len(data) + 1)
        if step == "torn":
            data[at:] = data[at:][: draw.randrange(200)]
        elif step == "flip" and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif step == "old":
            data, self.old = bytearray(self.old), bytes(data)
        elif step == "zeros":
            data[at : at + 512] = bytes(len(data[at : at + 512]))
        elif step == "shorter":
            del data[at:]
        columns.write_bytes(data)

    def commit(self, one: CandlePage) -> None:
        self.seq += 1
        self.store.commit([(self.seq, one)])


@settings(max_examples=150)
@given(st.lists(st.tuples(STEPS, st.integers(0, 2**32), WHICH), max_size=25))
def test_a_read_gives_the_rows_of_the_file_whatever_happened_to_either_file(
    steps: list[tuple[str, int, Which]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Folder(Path(name))
        for step, seed, which in steps:
            folder.happen(step, seed)
            for each in (which, ALL):
                assert read(folder.store, each)[0] == selected(in_file(folder.folder), each)


# The last record has 13 of 16 rows, 16 are behind it.
@example(steps=[("append", 2), ("keep", 0), ("append", 0)])
@settings(max_examples=50)
@given(steps=st.lists(st.tuples(STEPS, st.integers(0, 2**32)), max_size=15))
def test_whatever_happened_two_reads_later_nothing_is_parsed_but_the_last_rows(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Folder(Path(name))
        for step, seed in steps:
            folder.happen(step, seed)
        for _ in range(2):
            keep(folder.store, read(folder.store, ALL)[2])
        assert read(folder.store, ALL)[1] < 4


def test_columns_grow_with_the_file_and_a_splice_keeps_those_before_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(0, 160, 1))])
    assert not columns_file(tmp_path).exists()
    assert keep(store) == 10
    # Fewer than NEW_ROWS more are not worth a record; more are, and the last one is written again for those after.
    store.commit([(2, page(160, 3, 2))])
    assert keep(store) == 0
    store.commit([(3, page(163, 5, 3))])
    assert keep(store) == 1
    store.commit([(4, page(168, 8, 4))])
    assert keep(store) == 1
    assert columns_file(tmp_path).stat().st_size <= 11 * 1024
    assert read(store, ALL)[1:] == (0, None)
    store.commit([(5, page(150, 1, 5))])
    store.flush()
    _, parsed, wrong = read(store, ALL)
    assert wrong == 9
    assert parsed <= 32
    assert keep(store, wrong) == 2
    assert read(store, ALL)[1:] == (0, None)


def test_a_part_within_kept_columns_is_not_parsed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(0, 160, 1))])
    keep(store)
    for which in ((20 * MINUTE, 90 * MINUTE, None, False), (None, None, 37, True), (5 * MINUTE, None, 3, False)):
        rows, parsed, _ = read(store, which)
        assert rows == selected(in_file(tmp_path), which)
        assert not parsed


def test_columns_that_cannot_be_opened_do_not_keep_anyone_from_reading(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(0, 40, 1))])
    columns_file(tmp_path).mkdir()
    assert read(store, ALL)[0] == in_file(tmp_path)
    with pytest.raises(StorageError, match="columns"):
        keep(store)
    assert listing(store)[1] == []


def test_a_line_that_is_no_row_is_named_though_columns_of_its_place_are_kept(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(0, 160, 1))])
    keep(store)
    lines = data_file(tmp_path).read_bytes().splitlines(keepends=True)
    lines[100] = b"?" * (len(lines[100]) - 1) + b"\n"
    with data_file(tmp_path).open("r+b") as file:
        file.write(b"".join(lines))
    with pytest.raises(CacheFileError, match="line 101"):
        read(store, ALL)
    assert read(store, (None, 50 * MINUTE, None, False))[0] == parsed_rows(lines[1:51])


def parsed_rows(lines: list[bytes]) -> list[tuple[str, ...]]:
    split = [line.decode().strip().split(",") for line in lines]
    return [(row[0], *(repr(float(each)) for each in row[1:])) for row in split]


def test_columns_are_no_key_and_go_with_their_data_file(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(0, 40, 1))])
    keep(store)
    assert store.keys() == [KEY]
    assert not store.verify(KEY).problems
    columns = columns_file(tmp_path)
    assert opened(tmp_path, 2).keys() == [KEY]
    assert columns.exists()
    for name in ("notes.columns", "binance_BTC-USDT_9x.columns"):
        (tmp_path / name).write_text("of another program")
    data_file(tmp_path).unlink()
    (tmp_path / "binance_BTC-USDT_1m.meta.json").unlink()
    opened(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.glob("*.columns")) == ["binance_BTC-USDT_9x.columns", "notes.columns"]
