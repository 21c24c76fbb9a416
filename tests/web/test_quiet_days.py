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

DAYS = 30
SINCE = 20_000 * DAY_MS
PART = Range(SINCE, SINCE + DAYS * DAY_MS)
KEY = Key("okx", "XYZ/USDT", "1h")


class Held:
    """A key whose days are known or not, quiet or not; answers as `cache.coverage` does."""

    def __init__(self, quiet: set[int], unknown: set[int]) -> None:
        self.quiet, self.unknown = quiet, unknown
        self.asked: list[Range] = []

    def coverage(self, part: Range = PART, *, quiet: bool = False) -> Coverage:
        return Coverage(
            **KEY._asdict(), first=SINCE, last=PART.until - 1,
            verified=clip(days({*range(DAYS)} - self.unknown), part),
            quiet=clip(days(self.quiet - self.unknown), part) if quiet else [],
        )  # fmt: skip

    async def ask(self, _key: Key, part: Range) -> Coverage:
        self.asked.append(part)
        return self.coverage(part, quiet=True)


def days(numbers: set[int]) -> list[Range]:
    return merge(Range(SINCE + day * DAY_MS, SINCE + (day + 1) * DAY_MS) for day in numbers)


some_days = st.sets(st.integers(0, DAYS - 1))


@given(some_days, some_days)
async def test_they_are_those_without_trades_by_one_request_and_no_day_is_asked_for_twice(
    quiet: set[int], unknown: set[int]
) -> None:
    source = Held(quiet, unknown)
    found = QuietDays(source.ask)
    assert await found.of(source.coverage(), PART, ask=False) == (set(), False)
    expected = {SINCE + day * DAY_MS for day in quiet - unknown}
    known = {*range(DAYS)} - unknown
    assert await found.of(source.coverage(), PART, ask=True) == (expected, bool(known))
    assert await found.of(source.coverage(), PART, ask=True) == (expected, False)
    states = [each.state for each in row_of_key(source.coverage(), SINCE, DAYS, PART.until, expected).cells]
    for day, state in enumerate(states):
        assert state == ("unknown" if day in unknown else "quiet" if day in quiet else "complete")
    # Those that become known later are asked for alone.
    source.unknown, before = set(), len(source.asked)
    await found.of(source.coverage(), PART, ask=True)
    later = source.asked[before:]
    assert later == ([Range(SINCE + min(unknown) * DAY_MS, SINCE + (max(unknown) + 1) * DAY_MS)] if unknown else [])
