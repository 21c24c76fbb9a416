"""Damaged files of one key stop that key alone: the other keys of its partition are served and written."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.stored import opened
from tickwire.cache.key_files import KeyFiles
from tickwire.model import subjects
from tickwire.model.messages import CandlePage, Row
from tickwire.model.subjects import Key
from tickwire.observe import logs
from tickwire.settings import LogSettings

pytestmark = pytest.mark.faults

KEY = Key("binance", "BTC/USDT", "1m")
OTHER = Key("okx", "ETH/USDT", "1m")
MINUTE = 60_000
NOW = 1_700_000_040_000


def page(key: Key, since: int = NOW, rows: int = 3) -> CandlePage:
    made: list[Row] = [(since + n * MINUTE, 1.0, 2.0, 0.5, 1.5, 3.0) for n in range(rows)]
    return CandlePage(**key._asdict(), since=since, until=since + rows * MINUTE, rows=made)


def test_a_folder_where_a_file_should_be_refuses_its_key_and_no_other(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (tmp_path / f"{subjects.file_stem(KEY)}.csv").mkdir()
    found = store.commit([(1, page(KEY)), (2, page(OTHER)), (3, page(KEY))])
    assert [(each.symbol, each.rows) for each in found.stored] == [(OTHER.symbol, 3)]
    assert [each.seq for each in found.rejected] == [1, 3]
    assert all("is a directory" in str(each.error).lower() for each in found.rejected)
    assert store.position == 3
    assert store.coverage(OTHER).rows == 3


@pytest.mark.parametrize("method", ["append", "splice"])
def test_a_bug_over_one_key_is_logged_and_refuses_its_pages_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    store = opened(tmp_path)
    # Rows that come before what is there are spliced in.
    store.commit([(1, page(KEY)), (2, page(OTHER))])
    sound = getattr(KeyFiles, method)

    def broken(file: KeyFiles, *arguments: object) -> object:
        if file.key == KEY:
            raise ZeroDivisionError("a bug")
        return sound(file, *arguments)

    logs.configure(LogSettings())
    monkeypatch.setattr(KeyFiles, method, broken)
    since = NOW + 3 * MINUTE if method == "append" else NOW - 3 * MINUTE
    found = store.commit([(3, page(KEY, since)), (4, page(OTHER, since))])
    spliced = store.flush()
    assert [each.symbol for each in (*found.stored, *spliced.stored)] == [OTHER.symbol]
    assert [each.seq for each in (*found.rejected, *spliced.rejected)] == [3]
    assert store.position == 4
    assert "ZeroDivisionError" in capsys.readouterr().err
    monkeypatch.undo()
    # The key itself goes on as well, with the next page.
    again = store.commit([(5, page(KEY, since))])
    assert [each.symbol for each in (*again.stored, *store.flush().stored)] == [KEY.symbol]
    assert store.coverage(KEY).rows == 6


def test_a_disk_without_room_refuses_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no fault of a key: all of them wait."""
    store = opened(tmp_path)

    def full(file: KeyFiles, *arguments: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(KeyFiles, "append", full)
    with pytest.raises(Exception, match="No space left"):
        store.commit([(1, page(KEY)), (2, page(OTHER))])
    monkeypatch.undo()
    assert [each.symbol for each in store.commit([(1, page(KEY)), (2, page(OTHER))]).stored] == [
        KEY.symbol,
        OTHER.symbol,
    ]
