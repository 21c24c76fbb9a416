"""Pages end where the tape goes on, also of a day whose stream was created anew: by any clock, closed or not."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_files.taped import BEGIN, DATE, DAY, FEED, GENERATION, HOUR, message, unchecked, write_round
from tickwire.archive_files import days
from tickwire.archive_files.added import write_page
from tickwire.archive_files.layout import Through
from tickwire.archive_files.pages import chunks
from tickwire.archive_files.root import FolderRoot, Root
from tickwire.model.feeds import Trade
from tickwire.model.messages.archive_writing import TradePage
from tickwire.model.messages.archived_trades import ArchivedTradesRequest

pytestmark = pytest.mark.pure


class Drawn(NamedTuple):
    """A round: so many messages after a step in the sequences, received at an hour by some clock.

    `wiped`: the stream was created anew before it. `closed`: the day is closed after it. `added`: then with rows of
    the venue's history.
    """

    messages: int
    step: int
    received: int
    wiped: bool
    closed: bool
    added: bool


ROUNDS = st.lists(
    st.builds(Drawn, st.integers(1, 3), st.integers(0, 9), st.integers(0, 40), *[st.booleans()] * 3),
    min_size=1,
    max_size=6,
)


def page(root: Root, through: Through, limit: int, begin: int) -> list[str]:
    """The ids of the rows of all pages from a time on."""
    found, cursor = list[str](), None
    while True:
        request = ArchivedTradesRequest(
            exchange=FEED.exchange, symbol=FEED.symbol, since=begin, limit=limit, cursor=cursor
        )
        for each in chunks(root, request, through):
            found += pa.ipc.open_stream(each.data).read_all().column("id").to_pylist()
            cursor = each.cursor
        if cursor is None:
            return found


def added(at: int) -> TradePage:
    trade = Trade(id=f"h{at}", timestamp=at, side="buy", price=1.0, amount=1.0)
    return TradePage(
        exchange=FEED.exchange, symbol=FEED.symbol, source="history", since=at, until=at, received=at, trades=[trade]
    )


@settings(max_examples=60, deadline=None)
@given(ROUNDS, st.data())
def test_a_page_has_the_rows_up_to_its_end_and_no_others(rounds: Sequence[Drawn], data: st.DataObject) -> None:
    generation, sequence, time, rows, ends = GENERATION, 0, BEGIN, list[tuple[Through, str]](), list[Through]()
    with tempfile.TemporaryDirectory() as folder:
        root = FolderRoot(Path(folder))
        for each in rounds:
            if each.wiped:
                generation, sequence = generation + 1, 0
            done, taped, previous = sequence, [], sequence
            sequence += each.step
            for _ in range(each.messages):
                time, sequence = time + 1000, sequence + 1
                received = BEGIN - 20 * HOUR + each.received * HOUR
                taped.append((message(time, time + 1, until=None, received=received), sequence, previous))
                previous = sequence
                rows += [(Through(generation, sequence), str(at)) for at in (time, time + 1)]
            write_round(root, taped, sequence, done=done, generation=generation)
            ends.append(Through(generation, sequence))
            if each.closed and each.added:
                write_page(root, added(time + 500), unchecked)
            if each.closed:
                days.close_day(root, FEED.on(DATE), None, unchecked)
        through, limit = data.draw(st.sampled_from(ends)), data.draw(st.sampled_from([1, 3, 200_000]))
        begin = data.draw(st.sampled_from([BEGIN, (BEGIN + time) // 2, BEGIN + DAY]))
        found = [each for each in page(root, through, limit, begin) if not each.startswith("h")]
        assert found == [id_ for at, id_ in rows if at <= through and int(id_) >= begin]
