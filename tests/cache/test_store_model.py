"""Any pages in any batches, with splices, checkpoints and crashes between them: each row is that of its last page."""

from __future__ import annotations

import csv

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.stored import KEY, MINUTE, data_file, opened, row_at
from tickwire.model.messages import CandlePage, Origin
from tickwire.model.ranges import Range, merge

pytestmark = pytest.mark.pure

ORIGINS: tuple[Origin | None, ...] = (None, "exchange", "tape", "audited")


@st.composite
def pages(draw: st.DrawFn) -> list[CandlePage]:
    """Pages of one-minute candles, each with a closing price of its own."""
    found = []
    for number in range(draw(st.integers(1, 10))):
        since, length = draw(st.integers(0, 12)), draw(st.integers(1, 6))
        minutes = sorted(draw(st.sets(st.integers(since, since + length - 1))))
        page = CandlePage(
            **KEY._asdict(),
            since=since * MINUTE,
            until=(since + length) * MINUTE,
            rows=[row_at(minute, 1.0 + number / 100) for minute in minutes],
            origin=draw(st.sampled_from(ORIGINS)),
        )
        if page.origin == "audited" and draw(st.booleans()):
            page = msgspec.structs.replace(page, settled=draw(st.integers(since, since + length)) * MINUTE)
        found.append(page)
    return found


def after(rows: dict[int, float], page: CandlePage) -> dict[int, float]:
    """The closing prices by time once a page is stored: of an audited one, what it has not is removed."""
    if page.origin == "audited":
        final = page.until if page.settled is None else page.settled
        rows = {at: close for at, close in rows.items() if not page.since <= at < final}
    return rows | {row[0]: row[4] for row in page.rows}


@settings(max_examples=60)
@given(pages(), st.data())
def test_each_row_is_that_of_its_last_page_through_splices_and_crashes(
    tmp_path_factory: pytest.TempPathFactory, taken: list[CandlePage], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    store, epoch, done = opened(folder), 1, 0
    crashes = 2
    while done < len(taken):
        until = data.draw(st.integers(done + 1, len(taken)), "a batch ends")
        result = store.commit([(number + 1, taken[number]) for number in range(done, until)])
        assert result.rejected == []
        done = until
        what = data.draw(st.sampled_from(["nothing", "nothing", "flush", "checkpoint", "crash"]))
        if what == "flush":
            store.flush()
        elif what == "checkpoint":
            store.checkpoint()
        elif what == "crash" and crashes:
            # What is not in the checkpoint comes again.
            crashes, epoch = crashes - 1, epoch + 1
            store = opened(folder, epoch)
            done = store.position
    store.flush()
    rows: dict[int, float] = {}
    for page in taken:
        rows = after(rows, page)
    with data_file(folder).open(newline="") as lines:
        assert {int(line["dates"]): float(line["closes"]) for line in csv.DictReader(lines)} == rows
    found = store.coverage(KEY)
    assert found.rows == len(rows)
    if all(each.settled is None for each in taken):
        assert list(found.verified) == merge(Range(each.since, each.until) for each in taken)
