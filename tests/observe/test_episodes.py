"""A failure that repeats is logged when it begins and when it ends."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.observe.episodes import Episode, Episodes, ReportThrottle

pytestmark = pytest.mark.pure


class Log:
    """What was said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.said.append(("warning", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.said.append(("info", event, fields))


@given(st.lists(st.booleans(), max_size=50))
def test_each_run_of_failures_has_one_line_at_its_beginning_and_one_at_its_end(turns: list[bool]) -> None:
    log = Log()
    episode = Episode(log, "it fails", subject="a")
    runs = 0
    for number, fails in enumerate(turns):
        runs += fails and not (number and turns[number - 1])
        if fails:
            episode.occurs(number=number)
        else:
            episode.ends()
        assert episode.lasts == fails
    begun = [fields for level, event, fields in log.said if (level, event) == ("warning", "it fails")]
    over = [fields for level, event, fields in log.said if (level, event) == ("info", "over: it fails")]
    assert len(begun) == runs
    assert len(over) == runs - (bool(turns) and turns[-1])
    assert sum(fields["times"] for fields in over) <= sum(turns)
    assert all(fields["subject"] == "a" for fields in begun + over)


def test_where_nobody_sees_its_end_it_is_over_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("tickwire.observe.episodes.time.monotonic", lambda: now)
    log = Log()
    episode = Episode(log, "it fails", quiet_s=10)
    for pause in (0, 9, 9, 11, 1, 30):
        now += pause
        episode.occurs()
    assert [fields.get("times_before") for _, _, fields in log.said] == [None, 3, 2]


def test_each_key_has_its_own_episode_and_the_oldest_is_forgotten() -> None:
    log = Log()
    episodes = Episodes(log, "it fails", most=2)
    for key in ("a", "a", "b", "a", "c", "b", "c", "a"):
        episodes.occurs(key, key=key)
    assert [fields["key"] for _, _, fields in log.said] == ["a", "b", "c", "a"]


@given(st.lists(st.floats(0, 3), max_size=50))
def test_reports_are_an_interval_apart_and_count_what_they_leave_out(pauses: list[float]) -> None:
    now = 1_000.0
    reported: list[tuple[float, str]] = []
    throttle = ReportThrottle(lambda reason: reported.append((now, reason)), interval_s=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tickwire.observe.episodes.time.monotonic", lambda: now)
        for pause in pauses:
            now += pause
            throttle.add("unreadable")
        # More than the interval, whatever the sums of floats lose.
        now += 1.5
        throttle.add("last")
    times = [at for at, _ in reported]
    assert all(later - earlier >= 1.0 for earlier, later in itertools.pairwise(times))
    counted = sum(1 + int(text.partition("(and ")[2].partition(" ")[0] or 0) for _, text in reported)
    assert counted == len(pauses) + 1
