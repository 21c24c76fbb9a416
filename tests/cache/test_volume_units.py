"""The store keeps volumes of different units apart: no file mixes two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cache.stored import opened
from tickwire.cache.store import Store
from tickwire.errors import BadRequest
from tickwire.model.messages import CandlePage, VolumeUnit
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

pytestmark = pytest.mark.pure

KEY = Key("okx", "BTC/USDT:USDT", "1m")
SPOT = Key("okx", "BTC/USDT", "1m")
MINUTE = 60_000


def page(first: int, last: int, volume: float, unit: VolumeUnit | None, key: Key = KEY) -> CandlePage:
    """The minutes from the first to the last, each with this volume."""
    return CandlePage(
        **key._asdict(),
        since=first * MINUTE,
        until=(last + 1) * MINUTE,
        rows=[(minute * MINUTE, 1.0, 2.0, 0.5, 1.5, volume) for minute in range(first, last + 1)],
        volume_unit=unit,
    )


def minutes(*ranges: tuple[int, int]) -> list[Range]:
    return [Range(since * MINUTE, until * MINUTE) for since, until in ranges]


def volumes_in(store: Store, key: Key = KEY) -> list[float]:
    return list(store.read(key, None, None).volumes)


def meta(folder: Path) -> Path:
    return folder / "okx_BTC-USDT=3AUSDT_1m.meta.json"


def without_unit(folder: Path) -> None:
    """What an earlier version left on the disk."""
    said = json.loads(meta(folder).read_text())
    del said["volume_unit"], said["other_volumes"]
    meta(folder).write_text(json.dumps(said))


def test_a_file_says_what_its_volumes_count(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(0, 3, 0.03, "base"))])
    assert store.coverage(KEY).volume_unit == "base"
    assert json.loads(meta(tmp_path).read_text())["volume_unit"] == "base"
    assert opened(tmp_path, 2).coverage(KEY).volume_unit == "base"


def test_a_page_in_contracts_does_not_get_into_a_file_in_base_currency(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(0, 3, 0.03, "base"))])
    lesser: tuple[VolumeUnit | None, ...] = ("contracts", "unknown", None)
    for sequence, unit in enumerate(lesser, 2):
        outcome = store.commit([(sequence, page(2, 6, 3.0, unit))])
        ((_, _, error),) = outcome.rejected
        assert isinstance(error, BadRequest)
        assert "base" in error.message
        assert not store.flush().stored
    assert volumes_in(store) == [0.03] * 4
    assert store.coverage(KEY).verified == minutes((0, 4))


def test_of_two_units_in_one_batch_the_one_that_says_more_is_stored(tmp_path: Path) -> None:
    store = opened(tmp_path)
    outcome = store.commit([(1, page(0, 1, 3.0, None)), (2, page(2, 3, 0.03, "base")), (3, page(4, 5, 3.0, None))])
    assert [rejected.seq for rejected in outcome.rejected] == [1, 3]
    assert store.coverage(KEY).verified == minutes((2, 4))
    assert store.position == 3


def test_contract_candles_of_an_earlier_version_are_kept_named_and_fetched_again(tmp_path: Path) -> None:
    opened(tmp_path).commit([(1, page(0, 9, 3.0, "base"))])
    without_unit(tmp_path)

    store = opened(tmp_path, 2)
    found = store.coverage(KEY)
    assert (found.rows, found.verified, found.volume_unit) == (10, [], None)
    (problem,) = store.verify(KEY).problems
    assert "is not known" in problem.message
    assert volumes_in(store) == [3.0] * 10

    # A live candle after them does not vouch for them.
    store.commit([(1, page(10, 10, 0.05, "base"))])
    assert store.coverage(KEY).verified == minutes((10, 11))
    # Nor after a restart.
    store = opened(tmp_path, 3)
    assert (store.coverage(KEY).verified, store.coverage(KEY).volume_unit) == (minutes((10, 11)), "base")

    # What is fetched again takes the place of what was there.
    store.commit([(2, page(0, 5, 0.03, "base"))])
    store.flush()
    store = opened(tmp_path, 4)
    assert store.coverage(KEY).verified == minutes((0, 6), (10, 11))
    assert volumes_in(store) == [0.03] * 6 + [3.0] * 4 + [0.05]
    store.commit([(3, page(6, 9, 0.03, "base"))])
    store.flush()
    assert store.verify(KEY).problem_count == 0
    assert store.coverage(KEY).verified == minutes((0, 11))


def test_volumes_that_are_not_known_are_nothing_to_repair(tmp_path: Path) -> None:
    opened(tmp_path).commit([(1, page(0, 9, 3.0, "base"))])
    without_unit(tmp_path)
    store = opened(tmp_path, 2)
    assert store.repair(KEY).moved_to == ""
    assert store.coverage(KEY).verified == []


def test_a_unit_that_says_more_takes_a_file_over(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(4, 9, 3.0, "unknown"))])
    store.commit([(2, page(2, 5, 7.0, "unknown"))])
    # Those that wait to be spliced in are in their own unit.
    store.commit([(3, page(0, 5, 0.03, "base"))])
    store.flush()
    assert volumes_in(store) == [0.03] * 6 + [3.0] * 4
    assert (store.coverage(KEY).verified, store.coverage(KEY).volume_unit) == (minutes((0, 6)), "base")
    assert opened(tmp_path, 2).coverage(KEY).verified == minutes((0, 6))


def test_an_appended_page_is_not_taken_for_another_unit_after_a_crash(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(0, 3, 3.0, "unknown"))])
    store.commit([(2, page(4, 6, 0.03, "base"))])
    # Killed: no checkpoint.
    found = opened(tmp_path, 2).coverage(KEY)
    assert (found.verified, found.volume_unit) == (minutes((4, 7)), "base")


def test_spot_files_of_earlier_versions_are_in_base_currency(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page(0, 3, 0.03, None, SPOT)), (2, page(4, 5, 0.03, "base", SPOT))])
    assert (store.coverage(SPOT).verified, store.coverage(SPOT).volume_unit) == (minutes((0, 6)), "base")
    assert store.verify(SPOT).problem_count == 0
