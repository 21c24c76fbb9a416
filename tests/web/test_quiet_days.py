"""Complete days of a key on which nothing traded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.messages import Coverage
from tickwire.model.ranges import Range, clip, merge
from tickwire.model.subjects import Key
from tickwire.model.times import DAY_MS
from tickwire.web.coverage import row_of_key
from tickwire.web.quiet_days import QuietDays

pytestmark = pytest.mark.pure

HOUR = 3_600_000
DAYS = 30
SINCE = 20_000 * DAY_MS
PART = Range(SINCE, SINCE + DAYS * DAY_MS)
KEY = Key("okx", "XYZ/USDT", "1h")


class Held:
    """A key whose hours are known or not, each with a row or not; answers as `cache.coverage` does."""

    def __init__(self, rows: set[int], verified: list[Range]) -> None:
        self.rows, self.verified, self.asked = rows, verified, 0

    def coverage(self, part: Range = PART) -> Coverage:
        within = clip(self.verified, part)
        rows = len([at for at in self.rows if part.since <= at < part.until])
        known = sum(each.until - each.since for each in within) // HOUR
        return Coverage(
            **KEY._asdict(), rows=rows, first=min(self.rows, default=None), last=max(self.rows, default=None),
            verified=within, holes=max(0, known - rows),
        )  # fmt: skip

    async def ask(self, _key: Key, part: Range) -> Coverage:
        self.asked += 1
        return self.coverage(part)


def held(quiet: set[int], unknown: set[int], sparse: set[int]) -> Held:
    """Some days are quiet, some are not known, others have rows: all, or one."""
    verified = merge(Range(SINCE + d * DAY_MS, SINCE + (d + 1) * DAY_MS) for d in range(DAYS) if d not in unknown)
    rows = {
        SINCE + day * DAY_MS + hour * HOUR
        for day in range(DAYS)
        if day not in quiet | unknown
        for hour in (range(5, 6) if day in sparse else range(24))
    }
    return Held(rows, verified)


some_days = st.sets(st.integers(0, DAYS - 1))


@given(some_days, some_days, some_days)
async def test_they_are_those_without_rows_and_no_others(quiet: set[int], unknown: set[int], sparse: set[int]) -> None:
    source = held(quiet, unknown, sparse)
    days = QuietDays(source.ask)
    expected = {SINCE + day * DAY_MS for day in quiet - unknown}
    found, asked = await days.of(source.coverage(), PART, 1000)
    assert (found, asked) == (expected, source.asked)
    # What is known once is not asked again.
    assert await days.of(source.coverage(), PART, 1000) == (expected, 0)
    states = [each.state for each in row_of_key(source.coverage(), SINCE, DAYS, PART.until, found).cells]
    for day, state in enumerate(states):
        if source.rows:
            assert state == ("unknown" if day in unknown else "quiet" if day in quiet else "complete")


async def test_a_key_without_holes_costs_no_request_and_the_rest_comes_later() -> None:
    full = held(set(), set(), set())
    assert await QuietDays(full.ask).of(full.coverage(), PART, 1000) == (set(), 0)
    source = held({3, 17}, set(), set())
    days, found, readings = QuietDays(source.ask), set[int](), 0
    while len(found) < 2:
        found, asked = await days.of(source.coverage(), PART, 3)
        assert asked <= 3
        readings += 1
    assert readings > 1
    assert found == {SINCE + 3 * DAY_MS, SINCE + 17 * DAY_MS}
