"""Half-open ranges against the plainest model there is: sets of integers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.ranges import Range, clip, covers, labelled, merge, remove, subtract

pytestmark = pytest.mark.pure

one = st.builds(Range, st.integers(0, 40), st.integers(0, 40))
many = st.lists(one, max_size=8)


def instants(ranges: list[Range]) -> set[int]:
    return {instant for since, until in ranges for instant in range(since, until)}


@given(many)
def test_merged_ranges_are_the_same_instants_ascending_disjoint_and_apart(ranges: list[Range]) -> None:
    merged = merge(ranges)
    assert instants(merged) == instants(ranges)
    assert all(r.since < r.until for r in merged)
    assert all(a.until < b.since for a, b in itertools.pairwise(merged))


@given(one, many)
def test_what_is_missing_is_the_whole_without_the_known(whole: Range, known: list[Range]) -> None:
    missing = subtract(whole, known)
    assert instants(missing) == instants([whole]) - instants(known)
    assert missing == merge(missing)
    assert covers(known, whole) == (not missing)


@given(many, one)
def test_removing_and_clipping_split_the_ranges_in_two(ranges: list[Range], part: Range) -> None:
    assert instants(remove(ranges, part)) == instants(ranges) - instants([part])
    assert instants(clip(ranges, part)) == instants(ranges) & instants([part])


@given(st.lists(st.tuples(one, st.sampled_from("abc")), max_size=8))
def test_labelled_ranges_have_each_time_once_with_all_its_labels(given: list[tuple[Range, str]]) -> None:
    found = labelled(given)
    assert all(a.until <= b.since and a.since < a.until for (a, _), (b, _) in itertools.pairwise(found))
    assert all(a.until < b.since or one != other for (a, one), (b, other) in itertools.pairwise(found))
    for at in range(41):
        expected = list(dict.fromkeys(label for span, label in given if at in range(*span)))
        assert [label for span, labels in found if at in range(*span) for label in labels] == expected
