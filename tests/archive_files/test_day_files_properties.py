"""Any tape in any rounds: each row is read once and in order, and days are certified as the tape itself tells."""

from __future__ import annotations

import datetime
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from archive_files.taped import BEGIN, DAY, FEED, GENERATION, HOUR, Taped, message, times_of, unchecked, write_round
from tickwire.archive_files import days, layout
from tickwire.archive_files.layout import ArchivedFeed, Sequences
from tickwire.archive_files.root import FolderRoot
from tickwire.model.feeds import Gap, Trades
from tickwire.model.messages.archive import Certificate

pytestmark = pytest.mark.pure

DAYS = 4
HOURS = DAYS * 24
OTHER = ArchivedFeed("trade", "kraken", "ETH/USD")


@dataclass(frozen=True)
class Sent:
    """A message of the tape, and what happens around it."""

    message: Trades
    hour: int
    """Before it everything of the feed is on the tape."""
    ends: bool
    """A round ends after it."""
    before: str
    """`lost`: the feed's message before it was never read. `wiped`: the stream was created anew before it."""

    @property
    def feed(self) -> ArchivedFeed:
        return ArchivedFeed("trade", self.message.exchange, self.message.symbol)


@st.composite
def tapes(draw: st.DrawFn) -> list[Sent]:
    """Messages of two feeds. All trades are on the hour, in order, but for gaps."""
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
        before = draw(st.sampled_from(["", "", "", "", "lost", "wiped"]))
        tape.append(Sent(sent, at[feed], draw(st.booleans()), before))
    return tape


class Truth:
    """What an archive of a tape must say, from its messages one after another, without any file."""

    def __init__(self) -> None:
        self.rows = {FEED: list[int](), OTHER: list[int]()}
        self.hours = {feed: [set[str]() for _ in range(HOURS)] for feed in self.rows}
        """Of each hour: `had`, `gap`, both, or nothing where it is not watched; `point`: a gap of a moment is in it."""
        self.known = dict[ArchivedFeed, int]()
        """Before this hour everything of a feed is on the tape, as its stream tells."""
        self.reached = dict[ArchivedFeed, int]()
        """The same, also of a stream that was wiped since."""
        self._written = dict[ArchivedFeed, int]()
        self._to_write = set[ArchivedFeed]()

    def take(self, sent: Sent, lost: bool) -> None:
        feed, hours = sent.feed, self.hours[sent.feed]
        begins = feed not in self.known
        trades = [trade.timestamp for trade in sent.message.trades]
        self.rows[feed] += trades
        since = self.known.get(feed, sent.hour)
        if lost:
            first = (trades[0] - BEGIN) // HOUR if trades else sent.hour
            # From the last hour that a file tells of; a lost trade may have the time of the first one, or of `until`.
            for hour in range(self._written[feed], first):
                # A day that was closed before knows of its hours.
                hours[hour] = {"maybe gap" if hour < self.known[feed] else "gap"} | hours[hour] & {"point"}
            if first < HOURS:
                hours[first] = (hours[first] & {"point"}) | ({"gap", "had"} if trades else {"point"})
            since = first
        for hour in range(since, sent.hour):
            hours[hour].add("gap" if sent.message.gap else "had")
        self.known[feed] = self.reached[feed] = sent.hour
        if begins or lost or trades or sent.message.gap:
            self._to_write.add(feed)

    def end_round(self) -> None:
        for feed in self._to_write:
            self._written[feed] = self.known[feed]
        self._to_write = set()

    def wipe(self) -> None:
        for feed, known in self.known.items():
            # No file tells of these hours, unless the day was closed since.
            for hour in range(self._written[feed], known):
                self.hours[feed][hour] = {"maybe"} | self.hours[feed][hour] & {"point"}
        self.known.clear()

    def conditions(self, feed: ArchivedFeed, number: int, rows: int) -> set[str]:
        """What a day of the feed with so many rows may be."""
        hours = self.hours[feed][number * 24 : number * 24 + 24]
        return {
            condition(
                [{{"maybe": one, "maybe gap": other}.get(state, state) for state in hour} - {""} for hour in hours],
                rows,
            )
            for one in ("", "had")
            for other in ("gap", "had")
        }


def condition(hours: list[set[str]], rows: int) -> str:
    """The condition of a day with so many rows."""
    if not rows and not any("had" in hour for hour in hours):
        return "missing"
    if not all(hour - {"point"} for hour in hours):
        return "partial"
    return "gaps" if any(hour & {"gap", "point"} for hour in hours) else "complete"


class Archiving:
    """An archive that follows a tape round by round."""

    def __init__(self, root: FolderRoot, truth: Truth) -> None:
        self.root, self.truth = root, truth
        self._generation, self._done, self._sequence = GENERATION, 0, 0
        self._last = dict[ArchivedFeed, int]()
        self._taken = list[Taped]()

    def take(self, sent: Sent) -> None:
        """Read a message."""
        feed = sent.feed
        if sent.before == "wiped" and not self._taken:
            self._generation, self._done, self._sequence = self._generation + 1, 0, 0
            self._last.clear()
            self.truth.wipe()
        is_first = all(each.symbol != feed.symbol for each, _, _ in self._taken)
        lost = sent.before == "lost" and is_first and feed in self._last and self._done > 0
        if lost:
            self._sequence += 1
            self._last[feed] = self._sequence
        self._sequence += 1
        self._taken.append((sent.message, self._sequence, self._last.get(feed, 0)))
        self._last[feed] = self._sequence
        self.truth.take(sent, lost)

    def end_round(self, times: int) -> None:
        """Write its parts, several times."""
        for _ in range(times):
            write_round(self.root, self._taken, self._sequence, done=self._done, generation=self._generation)
        self._done, self._taken = self._sequence, []
        self.truth.end_round()

    def close(self, feed: ArchivedFeed, number: int) -> Certificate:
        """Close a day of a feed, from what is known of it."""
        known = self.truth.reached.get(feed)
        day = feed.on(layout.date_of(BEGIN + number * DAY))
        return days.close_day(self.root, day, None if known is None else BEGIN + known * HOUR, unchecked)


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(tapes(), st.data())
def test_rows_are_read_once_and_days_are_certified_as_the_tape_tells(tape: list[Sent], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, truth = FolderRoot(Path(folder)), Truth()
        archiving = Archiving(root, truth)
        for number, sent in enumerate(tape, 1):
            archiving.take(sent)
            if sent.ends or number == len(tape):
                archiving.end_round(data.draw(st.integers(1, 2), label="times written"))
                if data.draw(st.booleans(), label="closed"):
                    # Days of which nothing more can come; one that could not be closed is closed after later ones.
                    for feed, reached in truth.reached.items():
                        for ended in data.draw(st.permutations(range(reached // 24)), label="order"):
                            archiving.close(feed, ended)
        for feed, rows in truth.rows.items():
            in_order = sorted(rows, key=lambda time: time // DAY)
            assert times_of(root, feed) == in_order
            since = data.draw(st.integers(BEGIN - 1, BEGIN + DAYS * DAY))
            until = data.draw(st.integers(since, BEGIN + DAYS * DAY))
            assert times_of(root, feed, since, until) == [time for time in in_order if since <= time < until]
            for number in data.draw(st.permutations(range(DAYS)), label="order"):
                made = archiving.close(feed, number)
                count = len([time for time in rows if (time - BEGIN) // DAY == number])
                assert made.rows == count
                assert made.condition in truth.conditions(feed, number, count), (feed, number)
                if made.file:
                    path = Path(folder) / feed.on(layout.date_of(BEGIN + number * DAY)).data
                    assert pq.read_metadata(path).num_rows == count
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
