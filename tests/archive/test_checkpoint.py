"""Where an owner goes on: at the checkpoint, behind the files if there is none, at the stream's end if it lost more."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.archive.checkpoint import Archived, taken_over
from tickwire.model.messages import ArchiveCheckpoint

pytestmark = pytest.mark.pure

CREATED, NOW = 1_790_000_000_000, 1_790_000_100_000
ENTRY = ArchiveCheckpoint(stream=CREATED, generation=CREATED, done=50, writing=70, begin=3, holes=[(10, 12)])
sequences = st.integers(0, 200)


def test_the_checkpoint_of_the_stream_is_taken_as_it_is() -> None:
    for last in (70, 100):
        assert taken_over(ENTRY, CREATED, last, Archived(), NOW) == (ENTRY, "")


def test_a_stream_that_was_created_anew_begins_at_its_beginning() -> None:
    found, warning = taken_over(ENTRY, CREATED + 5, 100, Archived(), NOW)
    assert (found, warning) == (ArchiveCheckpoint(stream=CREATED + 5, generation=CREATED + 5), "")


def test_a_stream_that_lost_its_end_goes_on_there_under_another_generation() -> None:
    found, warning = taken_over(ENTRY, CREATED, 40, Archived(), NOW)
    assert found == msgspec.structs.replace(ENTRY, generation=NOW, done=40, writing=40)
    assert "41 to 70" in warning


def test_a_round_whose_messages_were_lost_is_not_written_again_under_its_name() -> None:
    found, warning = taken_over(ENTRY, CREATED, 60, Archived(), NOW)
    assert found == msgspec.structs.replace(ENTRY, generation=NOW, writing=50)
    assert "61 to 70" in warning


def test_without_a_checkpoint_the_files_show_how_far_the_stream_is_archived() -> None:
    found, warning = taken_over(ArchiveCheckpoint(), CREATED, 100, Archived(CREATED, 60), NOW)
    assert (found.generation, found.done, found.begin) == (CREATED, 60, 61)
    assert warning


def test_another_root_has_nothing_of_what_came_before_so_feeds_are_followed_anew() -> None:
    entry = msgspec.structs.replace(ENTRY, root="one")
    assert taken_over(entry, CREATED, 100, Archived(), NOW, "one") == (entry, "")
    found, warning = taken_over(entry, CREATED, 100, Archived(), NOW, "other")
    assert found == msgspec.structs.replace(entry, generation=NOW, begin=51, root="other")
    assert "another root" in warning
    # Earlier versions did not say.
    assert taken_over(ENTRY, CREATED, 100, Archived(), NOW, "one") == (entry, "")


@given(st.booleans(), sequences, sequences, sequences, st.integers(0, 3))
def test_no_name_of_a_part_is_used_for_other_messages_again(
    known: bool, done: int, last: int, archived: int, later: int
) -> None:
    entry = msgspec.structs.replace(ENTRY, stream=CREATED if known else 0, done=done, writing=done)
    files = Archived(CREATED + later, max(archived, 1))
    found, _ = taken_over(entry, CREATED, last, files, NOW)
    assert found.done <= max(last, 0)
    assert found.writing >= found.done
    used = (entry.generation, entry.done) if known else files
    # Sequences after `done` are new ones of their generation.
    assert found.generation > used[0] or found.done >= used[1]
