"""Where the rows of a key come from: ranges that merge, that are right or unknown, and that survive."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.stored import KEY, MINUTE, data_file, meta_file, minutes_in, opened, page, row_at
from tickwire.cache import provenance
from tickwire.cache.store import Store
from tickwire.model import messages
from tickwire.model.messages import CandlePage, Origin, Provenance, ProvenanceRows
from tickwire.model.ranges import Range, merge

pytestmark = pytest.mark.pure

NAMES: tuple[Origin, ...] = ("exchange", "tape", "audited")


def of(origin: Origin | None, minutes: list[int], since: int | None = None, until: int | None = None) -> CandlePage:
    """A page of these minutes, all closing at another price for another origin."""
    found = page(minutes, since, until, close=1.0 + (0 if origin is None else 1 + NAMES.index(origin)) / 10)
    return msgspec.structs.replace(found, origin=origin)


def at(found: Provenance, minute: int) -> Origin | None:
    """Where the row of a minute comes from; in one range at most."""
    named = [
        origin for origin in NAMES for each in getattr(found, origin) if each.since <= minute * MINUTE < each.until
    ]
    assert len(named) <= 1
    return named[0] if named else None


@st.composite
def pages(draw: st.DrawFn) -> list[CandlePage]:
    found = []
    for _ in range(draw(st.integers(1, 12))):
        since = draw(st.integers(0, 30))
        until = since + draw(st.integers(1, 8))
        origin = draw(st.sampled_from((None, *NAMES)))
        settled = draw(st.none() | st.integers(since, until))
        minutes = list(range(since, until))
        found.append(
            msgspec.structs.replace(
                of(origin, minutes), settled=None if settled is None or origin == "tape" else settled * MINUTE
            )
        )
    return found


@given(pages())
def test_the_last_page_of_a_minute_says_where_its_row_comes_from(found: list[CandlePage]) -> None:
    state = Provenance()
    truth: dict[int, Origin | None] = dict.fromkeys(range(40))
    for each in found:
        certain = provenance.before(state, [each])
        state = provenance.after(state, [each], lambda _: ())
        for minute in range(each.since // MINUTE, each.until // MINUTE):
            is_settled = each.settled is None or minute * MINUTE < each.settled
            new = "exchange" if each.origin == "audited" and not is_settled else each.origin
            assert at(certain, minute) in (None, new)
            truth[minute] = new
        assert {minute: at(state, minute) for minute in truth} == truth
    for origin in NAMES:
        assert getattr(state, origin) == merge(getattr(state, origin))


@given(pages())
def test_of_a_batch_the_same_is_known_as_of_its_pages_one_by_one(found: list[CandlePage]) -> None:
    one_by_one = Provenance()
    for each in found:
        one_by_one = provenance.after(one_by_one, [each], lambda _: ())
    assert provenance.after(Provenance(), found, lambda _: ()) == one_by_one
    assert provenance.after(one_by_one, found, lambda _: ()) == one_by_one


def test_ranges_of_a_key_stay_few_and_the_oldest_become_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "MOST_RANGES", 10)
    state = Provenance()
    for minute in range(100):
        state = provenance.after(state, [of(NAMES[minute % 3], [minute])], lambda _: ())
    assert sum(len(getattr(state, origin)) for origin in NAMES) == 10
    assert [at(state, minute) for minute in range(100)] == [None] * 90 + [
        NAMES[minute % 3] for minute in range(90, 100)
    ]


def origins_in(store: Store, count: int) -> list[Origin | None]:
    found = store.coverage(KEY).provenance
    return [at(found, minute) for minute in range(count)]


@settings(max_examples=40)
@given(st.data())
def test_no_row_is_said_to_come_from_elsewhere_after_splices_and_restarts(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    store, epoch = opened(folder), 1
    truth: dict[int, Origin | None] = {}
    for sequence in range(1, data.draw(st.integers(2, 10))):
        since, length = data.draw(st.integers(0, 20)), data.draw(st.integers(1, 8))
        minutes = sorted(data.draw(st.sets(st.integers(since, since + length - 1))))
        origin = data.draw(st.sampled_from((None, *NAMES)))
        rows = [row_at(minute, 1.0 + (0 if origin is None else 1 + NAMES.index(origin)) / 10) for minute in minutes]
        store.commit(
            [
                (
                    sequence,
                    CandlePage(
                        **KEY._asdict(),
                        since=since * MINUTE,
                        until=(since + length) * MINUTE,
                        rows=rows,
                        origin=origin,
                    ),
                )
            ]
        )
        if origin == "audited":
            truth = {minute: each for minute, each in truth.items() if not since <= minute < since + length}
        truth |= dict.fromkeys(minutes, origin)
        if data.draw(st.booleans()):
            store.flush()
            if data.draw(st.booleans()):
                store.checkpoint()
                epoch += 1
                store = opened(folder, epoch)
    store.flush()
    assert minutes_in(folder) == sorted(truth)
    found = origins_in(store, 40)
    for minute, origin in truth.items():
        assert found[minute] in (None, origin)
    store.checkpoint()
    assert origins_in(opened(folder, epoch + 1), 40) == found


@pytest.mark.parametrize("audited", [[], [0], [0, 1]])
def test_a_row_that_follows_an_audited_page_is_kept_though_that_was_not_spliced_yet(
    tmp_path: Path, audited: list[int]
) -> None:
    """It is newer than all rows of the file, and within the range whose rows the page replaces."""
    store = opened(tmp_path)
    store.commit([(1, of("tape", [0]))])
    store.commit([(2, of("audited", audited, 0, 5))])
    store.commit([(3, of("exchange", [3])), (4, of(None, [7]))])
    store.flush()
    assert minutes_in(tmp_path) == [*audited, 3, 7]

    assert origins_in(store, 9)[3:8:4] == ["exchange", None]


def test_an_audited_page_removes_rows_that_the_exchange_does_not_have(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, of("tape", list(range(10))))])
    store.commit([(2, of("audited", [3, 5], 2, 7))])
    store.flush()
    assert minutes_in(tmp_path) == [0, 1, 3, 5, 7, 8, 9]
    store.commit([(3, of("audited", [], 8, 10)), (4, of("audited", [], 0, 1))])
    store.flush()
    assert minutes_in(tmp_path) == [1, 3, 5, 7]
    coverage = store.coverage(KEY)
    assert (coverage.rows, coverage.first, coverage.last) == (4, MINUTE, 7 * MINUTE)
    assert origins_in(store, 10) == ["audited", "tape", *["audited"] * 5, "tape", "audited", "audited"]
    store.checkpoint()
    assert opened(tmp_path, 2).verify(KEY).problems == []


def test_a_row_that_a_page_leaves_out_keeps_no_origin(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, of("exchange", [0, 1, 2]))])
    store.commit([(2, of("tape", [], 0, 3))])
    assert minutes_in(tmp_path) == [0, 1, 2]
    assert origins_in(store, 3) == [None] * 3


def test_files_of_earlier_versions_say_that_their_origin_is_unknown(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, of("exchange", [0, 1, 2]))])
    store.checkpoint()
    said = json.loads(meta_file(tmp_path).read_text())
    assert said["provenance"] == {
        "exchange": [[0, 3 * MINUTE]],
        "tape": [],
        "audited": [],
        "archived": [],
        "disputed": [],
    }
    del said["provenance"]
    meta_file(tmp_path).write_text(json.dumps(said))
    store = opened(tmp_path, 2)
    assert origins_in(store, 3) == [None] * 3
    store.commit([(2, of("tape", [3]))])
    assert store.verify(KEY).provenance == ProvenanceRows(tape=1, unknown=3)


def test_a_page_of_an_earlier_version_has_an_unknown_origin(tmp_path: Path) -> None:
    said = json.loads(messages.encode(of("tape", [0, 1])))
    del said["origin"]
    old = messages.decode(json.dumps(said).encode(), CandlePage)
    store = opened(tmp_path)
    store.commit([(1, of("tape", [0, 1, 2]))])
    store.commit([(2, old)])
    assert origins_in(store, 3) == [None, None, "tape"]


def test_repair_keeps_the_origin_of_the_rows_it_keeps(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, of("audited", [0, 1, 2, 3])), (2, of("tape", [4, 5]))])
    store.checkpoint()
    lines = data_file(tmp_path).read_text().splitlines(keepends=True)
    lines[2] = "nonsense\n"
    data_file(tmp_path).write_text("".join(lines))
    store = opened(tmp_path, 2)
    assert store.repair(KEY).rows_kept == 5
    assert origins_in(store, 6) == ["audited", None, "audited", "audited", "tape", "tape"]


def test_coverage_of_a_part_names_the_origins_of_that_part() -> None:
    found = Provenance(exchange=[Range(0, 100)], tape=[Range(100, 200)], audited=[Range(300, 400)])
    assert provenance.clipped(found, Range(50, 350)) == Provenance(
        exchange=[Range(50, 100)], tape=[Range(100, 200)], audited=[Range(300, 350)]
    )
    assert provenance.within(found, [Range(10, 20), Range(150, 310)]) == Provenance(
        exchange=[Range(10, 20)], tape=[Range(150, 200)], audited=[Range(300, 310)]
    )
