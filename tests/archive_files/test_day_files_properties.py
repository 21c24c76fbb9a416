"""Any tape in any rounds: each row is read once and in order, and days are certified as the tape itself tells."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_files.taped import BEGIN, DAY, FEED, GENERATION, HOUR, message, times_of, unchecked, write_round
from tickwire.archive_files import days, layout
from tickwire.archive_files.layout import ArchivedFeed, Sequences
from tickwire.archive_files.root import FolderRoot
from tickwire.model.feeds import Gap, Trades

pytestmark = pytest.mark.pure

DAYS = 4
HOURS = DAYS * 24
OTHER = ArchivedFeed("trade", "kraken", "ETH/USD")


@st.composite
def tapes(draw: st.DrawFn) -> list[tuple[int, Trades, bool]]:
    """Messages of two feeds: the hour up to which the feed is then known, the message, whether a round ends after it.

    All trades are on the hour, in order, but for gaps.
    """
    at = {FEED: draw(st.integers(0, 30)), OTHER: draw(st.integers(0, 30))}
    tape = []
    for _ in range(draw(st.integers(1, 25))):
        feed = draw(st.sampled_from([FEED, FEED, OTHER]))
        begin, step = at[feed], draw(st.integers(0, 30))
        if begin + step > HOURS:
            continue
        is_gap = step > 0 and draw(st.integers(0, 3)) == 0
        hours = [] if is_gap else draw(st.lists(st.integers(begin, begin + step - 1), max_size=4)) if step else []
        until = BEGIN + (begin + step) * HOUR
        gap = Gap(since=BEGIN + begin * HOUR - 1, until=until, reason="outage") if is_gap else None
        sent = message(*(BEGIN + hour * HOUR for hour in sorted(hours)), feed=feed, until=until, gap=gap)
        at[feed] = begin + step
        tape.append((at[feed], sent, draw(st.booleans())))
    return tape


def condition(states: list[str], rows: int) -> str:
    """The condition of a day from what its hours are: had, in a gap, or not watched."""
    if not rows and "had" not in states:
        return "missing"
    if "not watched" in states:
        return "partial"
    return "gaps" if "gap" in states else "complete"


def close_ended(root: FolderRoot, known: dict[ArchivedFeed, int]) -> None:
    """Close the days of feeds that are known up to some hours."""
    for feed, reached in known.items():
        for number in range(reached // 24):
            day = feed.on(layout.date_of(BEGIN + number * DAY))
            days.close_day(root, day, BEGIN + reached * HOUR, unchecked)


@settings(max_examples=120, deadline=None)
@given(tapes(), st.data())
def test_rows_are_read_once_and_days_are_certified_as_the_tape_tells(
    tape: list[tuple[int, Trades, bool]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = FolderRoot(Path(folder))
        done, taken, last = 0, [], dict[ArchivedFeed, int]()
        truth = {FEED: list[int](), OTHER: list[int]()}
        states = {FEED: ["not watched"] * HOURS, OTHER: ["not watched"] * HOURS}
        known = dict[ArchivedFeed, int]()
        for sequence, (hour, sent, ends) in enumerate(tape, 1):
            feed = ArchivedFeed("trade", sent.exchange, sent.symbol)
            taken.append((sent, sequence, last.get(feed, 0)))
            last[feed] = sequence
            truth[feed] += [trade.timestamp for trade in sent.trades]
            for index in range(known.get(feed, hour), hour):
                states[feed][index] = "gap" if sent.gap else "had"
            known[feed] = hour
            if ends or sequence == len(tape):
                for _ in range(data.draw(st.integers(1, 2), label="times written")):
                    write_round(root, taken, sequence, done=done)
                done, taken = sequence, []
                # All that is read until now is written: days of which nothing more can come may be closed.
                if data.draw(st.booleans(), label="closed"):
                    close_ended(root, known)
        for feed, rows in truth.items():
            in_order = sorted(rows, key=lambda time: time // DAY)
            assert times_of(root, feed) == in_order
            since = data.draw(st.integers(BEGIN - 1, BEGIN + DAYS * DAY))
            until = data.draw(st.integers(since, BEGIN + DAYS * DAY))
            assert times_of(root, feed, since, until) == [time for time in in_order if since <= time < until]
            if feed not in known:
                continue
            for number in range(DAYS):
                day = feed.on(layout.date_of(BEGIN + number * DAY))
                made = days.close_day(root, day, BEGIN + known[feed] * HOUR, unchecked)
                count = len([time for time in rows if time // DAY == day.span.since // DAY])
                assert made.rows == count
                assert made.condition == condition(states[feed][number * 24 : number * 24 + 24], count), day
                if made.file:
                    assert pq.read_metadata(Path(folder) / day.data).num_rows == count
            assert times_of(root, feed) == in_order


@given(st.integers(0, 10**13 - 1), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_names_of_parts_are_read_back_and_sort_as_the_tape_does(generation: int, first: int, last: int) -> None:
    part = Sequences(generation, first, last)
    assert layout.sequences_of(part.part) == part
    other = Sequences(GENERATION, first // 2, last)
    assert (part.part < other.part) == (part < other)


@given(st.text(max_size=80), st.dates(datetime.date(1970, 1, 1), datetime.date(2199, 12, 31)))
def test_only_names_that_the_archive_makes_are_read_as_such(name: str, day: datetime.date) -> None:
    assert layout.sequences_of(name) is None
    assert layout.date_of_folder(f"date={day.isoformat()}") == day
    assert layout.date_of(layout.begin_of(day)) == day
    assert layout.date_of(layout.begin_of(day) - 1) == day - datetime.timedelta(days=1)
    assert layout.feed_of_folder(OTHER.folder) == OTHER
