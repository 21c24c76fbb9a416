"""Rows of the cache against rebuilt ones: what differs, what may be compared, and what is noted of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.stored import KEY, MINUTE, opened, page, row_at
from tickwire.cache import provenance, rebuilt_rows
from tickwire.cache.archive_audit import Postponed
from tickwire.cache.archive_comparison import day_of
from tickwire.cache.audit_index import AuditIndex
from tickwire.cache.key_facts import KeyFacts
from tickwire.cache.rebuilt_rows import Rebuilt
from tickwire.cache.store import Store
from tickwire.errors import BadRequest
from tickwire.model import timeframes
from tickwire.model.messages import Provenance, Row
from tickwire.model.ranges import Range, merge, subtract
from tickwire.venues.units import kind_by_symbol

pytestmark = pytest.mark.pure

DAY = 86_400_000


def stored(folder: Path, *pages: tuple[Any, list[int]]) -> Store:
    """A store that has pages of these origins and minutes."""
    store = opened(folder)
    for sequence, (origin, minutes) in enumerate(pages, 1):
        store.commit([(sequence, msgspec.structs.replace(page(minutes), origin=origin))])
        store.flush()
    return store


def minutes(first: int, end: int) -> Range:
    return Range(first * MINUTE, end * MINUTE)


def found(store: Store) -> Provenance:
    return store.coverage(KEY).provenance


def test_equal_rows_are_archived_and_rows_of_the_tape_are_left_to_their_audit(tmp_path: Path) -> None:
    store = stored(tmp_path, ("exchange", [*range(10)]), ("tape", [*range(10, 20)]), ("audited", [*range(20, 30)]))
    rows = [row_at(minute) for minute in range(30)]
    said = rebuilt_rows.compare(KEY, store, Rebuilt(rows, [minutes(5, 25)]))
    assert (said.ranges, said.rows, said.differences) == ([minutes(5, 10), minutes(20, 25)], 10, [])
    assert (found(store).archived, found(store).disputed) == ([minutes(5, 10), minutes(20, 25)], [])
    # Also after a restart.
    assert found(opened(tmp_path, 2)).archived == [minutes(5, 10), minutes(20, 25)]


def test_a_row_that_differs_is_audited_first_and_disputed_after(tmp_path: Path) -> None:
    store = stored(tmp_path, ("exchange", [*range(10)]))
    rows: list[Row] = [row_at(minute) for minute in range(10)]
    rows[3] = (*rows[3][:4], 9.0, rows[3][5])
    del rows[7]
    said = rebuilt_rows.compare(KEY, store, Rebuilt(rows, [minutes(0, 10)]))
    assert [(each.timestamp // MINUTE, each.field) for each in said.differences][:2] == [(3, "close"), (7, "open")]
    assert said.unaudited == [minutes(3, 4), minutes(7, 8)]
    assert found(store).archived == subtract(minutes(0, 10), said.unaudited)
    assert found(store).disputed == []
    store.commit([(9, msgspec.structs.replace(page([*range(2, 9)]), origin="audited"))])
    store.flush()
    assert found(store).archived == [minutes(0, 2), minutes(9, 10)]
    said = rebuilt_rows.compare(KEY, store, Rebuilt(rows, [minutes(0, 10)]))
    assert (said.unaudited, found(store).archived) == ([], [minutes(0, 10)])
    assert found(store).disputed == [minutes(3, 4), minutes(7, 8)]
    assert store.read(KEY, 0, 10 * MINUTE).closes.tolist() == [row_at(minute)[4] for minute in range(10)]
    verified = store.verify(KEY).provenance
    assert verified is not None
    assert (verified.archived, verified.disputed) == (10, 2)


@pytest.mark.parametrize("rebuilt", [{"volume_unit": "unknown"}, {"inverse": True}])
def test_volumes_are_compared_only_where_both_are_sums_in_base_currency(
    tmp_path: Path, rebuilt: dict[str, Any]
) -> None:
    store = stored(tmp_path, ("audited", [0, 1]))
    rows: list[Row] = [(*row_at(minute)[:5], 77.0) for minute in range(2)]
    assert rebuilt_rows.compare(KEY, store, Rebuilt(rows, [minutes(0, 2)], **rebuilt)).differences == []
    assert len(rebuilt_rows.compare(KEY, store, Rebuilt(rows, [minutes(0, 2)])).differences) == 2


def test_a_minute_without_a_trade_may_have_a_row_of_volume_0(tmp_path: Path) -> None:
    rows = [row_at(0), (MINUTE, 1.0, 1.0, 1.0, 1.0, 0.0), row_at(2)]
    assert rebuilt_rows.differences(rows, [rows[0], rows[2]], volumes=True) == []
    missing = rebuilt_rows.differences([rows[0]], [rows[0], rows[2]], volumes=False)
    assert [(each.field, each.cached, each.rebuilt) for each in missing] == [
        (name, None, value) for name, value in zip(("open", "high", "low", "close"), rows[2][1:5], strict=True)
    ]


VALUES = st.integers(1, 5).map(float)


@given(st.data())
def test_every_difference_is_found_and_nothing_else(data: st.DataObject) -> None:
    values = st.tuples(VALUES, VALUES, VALUES, VALUES, VALUES)
    rows: list[Row] = [(minute * MINUTE, *data.draw(values)) for minute in range(6)]
    changed, truth = list(rows), set()
    for _ in range(data.draw(st.integers(0, 4))):
        row, column = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 5))
        fields = list(changed[row])
        fields[column] = data.draw(VALUES)
        changed[row] = tuple(fields)  # type: ignore[assignment]
    names = ("open", "high", "low", "close", "volume")
    truth = {
        (one[0], names[at - 1]) for one, other in zip(rows, changed, strict=True) for at in range(1, 6)
        if one[at] != other[at]
    }  # fmt: skip
    said = rebuilt_rows.differences(rows, changed, volumes=True)
    assert {(each.timestamp, each.field) for each in said} == truth
    assert len(said) == len(truth)


@given(
    st.sampled_from(["1m", "1h", "8h", "1d", "3d", "1w", "1M"]),
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 100)), max_size=3),
    st.sampled_from([DAY, DAY // 4]),
)
def test_windows_cut_ranges_without_a_rest_between_candles(
    timeframe: str, parts: list[tuple[int, int]], length: int
) -> None:
    grid = timeframes.grid(timeframe)
    first = grid.ceil_open(19_875 * DAY)
    wanted = merge(Range(grid.advance(first, at), grid.advance(first, at + count)) for at, count in parts)
    cut = rebuilt_rows.windows(grid, wanted, length)
    assert merge(cut) == wanted
    for each in cut:
        assert grid.opens(each.since)
        assert grid.opens(each.until)
        assert each.until == grid.next_open(each.since) or each.until - each.since <= length


COMPARED = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9), st.booleans()), max_size=12)


@given(COMPARED)
def test_the_last_comparison_of_a_minute_counts_until_a_page_covers_it(steps: list[tuple[int, int, bool]]) -> None:
    state = Provenance()
    truth: dict[int, bool] = {}
    for since, count, is_page in steps:
        span = minutes(since, since + count)
        own = range(since, since + count)
        if is_page:
            covering = msgspec.structs.replace(page([*own]), origin="audited")
            state = provenance.after(state, [covering], lambda _: ())
            for minute in own:
                truth.pop(minute, None)
        else:
            state = provenance.compared(state, [span], [minutes(since, since + 1)])
            truth |= {minute: minute == since for minute in own}
    for name, wanted in (("archived", truth), ("disputed", [each for each in truth if truth[each]])):
        assert getattr(state, name) == merge(minutes(each, each + 1) for each in wanted)


def test_many_differences_of_a_day_are_one_range_and_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [minutes(2 * each, 2 * each + 1) for each in range(50)]
    assert provenance.compared(Provenance(), [minutes(0, 1440)], many).disputed == [minutes(0, 99)]
    monkeypatch.setattr(provenance, "MOST_RANGES", 10)
    state = Provenance()
    for day in range(30):
        state = provenance.compared(
            state, [minutes(day * 1440, day * 1440 + 1440)], [minutes(day * 1440 + 5, day * 1440 + 6)]
        )
    assert len(state.disputed) <= 10
    # None that differs is said to be equal.
    (archived,) = state.archived
    assert archived.until == 30 * 1440 * MINUTE
    assert state.disputed == [minutes(day * 1440 + 5, day * 1440 + 6) for day in range(30 - len(state.disputed), 30)]
    assert archived.since > (30 - len(state.disputed) - 1) * 1440 * MINUTE + 5 * MINUTE


def test_an_index_knows_what_is_due_and_reads_no_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, ("exchange", [0, 1]), ("tape", [2, 3])).checkpoint()
    store = opened(tmp_path, 2)
    index = AuditIndex(store)
    index.refresh()
    known = index.keys[KEY]
    assert (known.uncompared, known.facts.provenance.tape) == ([minutes(0, 2)], [minutes(2, 4)])
    assert known.due is not None
    assert list(index.due(known.due - 1)) == []
    assert [key for key, _ in index.due(known.due)] == [KEY]
    store.commit([(7, msgspec.structs.replace(page([2, 3]), origin="audited"))])
    store.flush()

    def unread(path: str) -> bytes:
        raise AssertionError(path)

    monkeypatch.setattr(store.folder, "read", unread)
    index.refresh()
    assert index.keys[KEY].facts.provenance == Provenance(exchange=[minutes(0, 2)], audited=[minutes(2, 4)])
    assert (index.keys[KEY].due, index.keys[KEY].uncompared) == (None, [minutes(0, 4)])
    index.refresh()


@pytest.mark.parametrize(("timeframe", "days"), [("1h", (9, 10)), ("1d", (9, 10)), ("1w", (4, 11)), ("1M", (0, 31))])
def test_candles_of_a_day_that_the_archive_has_anew_are_compared_again_as_a_whole(
    timeframe: str, days: tuple[int, int]
) -> None:
    """Day 4 of 1970 is a Monday."""
    key, whole = KEY._replace(timeframe=timeframe), Range(0, 59 * DAY)
    facts = KeyFacts(provenance=Provenance(exchange=[whole], archived=[whole]))
    again = rebuilt_rows.reopened(key, facts, Range(9 * DAY, 10 * DAY))
    first, end = days
    expected = [Range(first * DAY, end * DAY)]
    assert rebuilt_rows.uncompared([whole], again.provenance) == expected


def test_a_look_through_an_index_goes_on_while_another_refreshes_it(tmp_path: Path) -> None:
    stored(tmp_path, ("exchange", [0, 1])).checkpoint()
    store = opened(tmp_path, 2)
    index = AuditIndex(store)
    index.refresh()
    looking = iter(index.keys)
    other = KEY._replace(timeframe="5m")
    store.commit([(8, msgspec.structs.replace(page([0]), timeframe="5m"))])
    store.flush()
    index.refresh()
    assert list(looking) == [KEY]
    assert set(index.keys) == {KEY, other}


def test_a_window_whose_rows_cannot_be_audited_is_compared_ever_more_seldom() -> None:
    hour = 3_600_000
    now, waits, later = 0, [], None
    for _ in range(10):
        later = Postponed.after(later, now, [minutes(3, 5)])
        waits.append((later.until - now) // hour)
        assert not later.is_over(later.until - 1, [minutes(4, 9)])
        assert later.is_over(now, [minutes(2, 5)])
        now = later.until
        assert later.is_over(now, [])
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 128, 128]


def test_a_certificate_of_no_day_is_a_bad_message() -> None:
    assert day_of("2024-06-01") == Range(19_875 * DAY, 19_876 * DAY)
    for date in ("2024-13-01", "2024-02-30", "0000-00-00"):
        with pytest.raises(BadRequest, match="is no day"):
            day_of(date)


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [
        ("BTC/USDT", "spot"),
        ("BTC/USDT:USDT", "linear"),
        ("BTC/USD:BTC-260327", "inverse"),
        ("BTC/USD:BTC-260327-60000-C", None),
        ("BTC/USD:ETH", None),
    ],
)
def test_a_symbol_tells_the_kind_of_its_market(symbol: str, kind: str | None) -> None:
    assert kind_by_symbol(symbol) == kind
