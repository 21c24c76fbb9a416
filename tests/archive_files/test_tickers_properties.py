"""Any tickers in any rounds: each state is a row once, and a day is proven where messages followed each other."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_files.taped import BEGIN, DAY, GENERATION, HOUR, unchecked
from tickwire.archive_files import days
from tickwire.archive_files.certificate import gap_times
from tickwire.archive_files.layout import ArchivedFeed, begin_of
from tickwire.archive_files.parts import write_part
from tickwire.archive_files.root import FolderRoot
from tickwire.archive_files.ticker_rows import TickerRows
from tickwire.model.feeds import Ticker
from tickwire.model.messages.archive import Certificate
from tickwire.model.ranges import Range, clip, merge, subtract

pytestmark = pytest.mark.pure

FEED = ArchivedFeed("ticker", "binance", "BTC/USDT")


class Sent(NamedTuple):
    """A message `hours` after the one before. `lost`: another one expired unread before it; then the round may end."""

    hours: int
    kind: str
    lost: bool
    ends: bool


SENT = st.builds(
    Sent,
    st.integers(1, 20),
    st.sampled_from(["state", "state", "state", "interrupted", "repeated"]),
    st.sampled_from([False, False, False, True]),
    st.booleans(),
)


def ticker(at: int, number: int, kind: str) -> Ticker:
    return Ticker(
        exchange="binance",
        symbol="BTC/USDT",
        timestamp=at if number % 3 else None,
        received=at,
        last=100.0 + number,
        bid=None if number % 2 else 99.5,
        volume=1e9 / 3,
        conflated=number % 4,
        interrupted=kind == "interrupted",
        repeated=kind == "repeated",
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(SENT, min_size=1, max_size=10))
def test_each_state_is_a_row_and_days_are_proven_where_messages_followed_each_other(tape: list[Sent]) -> None:
    states, proven = list[Ticker](), list[Range]()
    at, sequence, last, is_cut = BEGIN, 0, 0, True
    with tempfile.TemporaryDirectory() as folder:
        root, rows = FolderRoot(Path(folder)), TickerRows(GENERATION, 0)
        done, before = 0, ""
        for number, sent in enumerate(tape):
            # A new owner, which repeats the last message, connects then.
            kind = "interrupted" if before == "repeated" and sent.kind == "state" else sent.kind
            message, before = ticker(at + sent.hours * HOUR, number, kind), kind
            if sent.lost and last:
                sequence += 1
            is_cut = is_cut or sent.lost or kind == "interrupted"
            sequence += 1
            in_round, expired = last > done, bool(sent.lost and last)
            prev = None if expired and not in_round else last
            rows.append(message, sequence, prev, "expired" if expired and in_round else "")
            last = sequence
            if sent.kind != "repeated":
                if states and not is_cut:
                    proven.append(Range(states[-1].received, message.received))
                states.append(message)
                at, is_cut = message.received, False
            if sent.ends or number == len(tape) - 1:
                for part in rows.parts(sequence):
                    write_part(root, part)
                done, rows = sequence, TickerRows(GENERATION, sequence)
        found = [row for batch in days.read_rows(root, FEED, 0, None) for row in batch.to_pylist()]
        assert [
            (round(row["timestamp"].timestamp() * 1000), row["last"], row["bid"], row["volume"], row["conflated"])
            for row in found
        ] == [(each.received, each.last, each.bid, each.volume, each.conflated) for each in states]
        for date in days.dates_of(root, FEED):
            made = days.close_day(root, FEED.on(date), None, unchecked)
            begin = begin_of(date)
            # Earlier days may have been removed: a file that continues none is taken for one that continues those.
            first = states[0].received if states else 0
            day = Range(max(begin, first), begin + DAY)
            assert clip(certified(made), day) == clip(merge(proven), day)


def certified(made: Certificate) -> list[Range]:
    """What a certificate says is proven."""
    gaps = [gap_times(each) for each in made.gaps]
    return merge(part for each in made.watched for part in subtract(each, gaps))


def test_a_message_that_repeats_the_last_one_of_another_streamer_is_no_row() -> None:
    rows = TickerRows(GENERATION, 5)
    rows.append(ticker(BEGIN - 100 * DAY, 1, "repeated"), 6, 3)
    assert list(rows.parts(6)) == []
    rows.append(ticker(BEGIN + HOUR, 2, "interrupted"), 7, 6)
    (part,) = rows.parts(7)
    assert part.rows.num_rows == 1
    assert part.meta.continues
    assert [each.reason.partition(":")[0] for each in part.meta.gaps] == ["the ticker was interrupted"]
