"""History and files of a venue in the archive: merged with the tape's rows, each once, and certified."""

from __future__ import annotations

import itertools
import random
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_files.taped import BEGIN, DATE, DAY, FEED, HOUR, message, rows_of, times_of, unchecked, write_round
from tickwire.archive_files import days, layout, merging
from tickwire.archive_files.added import write_page
from tickwire.archive_files.layout import Through
from tickwire.archive_files.pages import chunks
from tickwire.archive_files.reading import list_day
from tickwire.archive_files.removal import remove_day
from tickwire.archive_files.root import FolderRoot, Root
from tickwire.archive_files.schema import TRADES
from tickwire.errors import BadRequest, StorageError
from tickwire.model.feeds import Gap, Trade
from tickwire.model.messages.archive import AddedRange, ArchivedGap, Certificate
from tickwire.model.messages.archive_writing import TradePage
from tickwire.model.messages.archived_trades import ArchivedTradesRequest
from tickwire.model.ranges import Range

pytestmark = pytest.mark.actors

END = BEGIN + DAY
TODAY = FEED.on(DATE)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return FolderRoot(tmp_path)


def trade(time: int, id_: int | str | None = None, amount: float = 0.5) -> Trade:
    return Trade(id=str(time if id_ is None else id_), timestamp=time, side="buy", price=2.5, amount=amount)


def page(since: int, until: int, *trades: Trade, source: str = "history") -> TradePage:
    return TradePage(
        exchange=FEED.exchange,
        symbol=FEED.symbol,
        source=source,  # type: ignore[arg-type]
        since=since,
        until=until,
        received=END + HOUR,
        trades=list(trades),
    )


def add(root: Root, *pages: TradePage) -> None:
    for each in pages:
        write_page(root, each, unchecked)


def close(root: Root) -> Certificate:
    return days.close_day(root, TODAY, None, unchecked)


def interrupted_day(root: Root) -> None:
    """A day that is watched but for the gap between its second hour and its fourth."""
    gap = Gap(since=BEGIN + HOUR, until=BEGIN + 4 * HOUR, after_id="a", before_id="b", reason="cut")
    taped = [
        (message(until=BEGIN - 10), 1, 0),
        (message(BEGIN, BEGIN + HOUR, until=BEGIN + HOUR), 4, 1),
        (message(BEGIN + 4 * HOUR, END - 1, until=END, gap=gap), 7, 4),
        (message(END, until=END), 8, 7),
    ]
    write_round(root, taped, 8)


def test_history_fills_the_gap_of_a_day_that_is_certified_already(root: Root, tmp_path: Path) -> None:
    interrupted_day(root)
    before = close(root)
    assert (before.condition, before.version, len(before.gaps)) == ("gaps", 1, 1)
    between = [BEGIN + HOUR + 1, BEGIN + 2 * HOUR, BEGIN + 4 * HOUR - 1]
    # History begins and ends with rows that the tape has.
    rows = [trade(each) for each in [BEGIN + HOUR, *between, BEGIN + 4 * HOUR]]
    add(root, page(BEGIN + HOUR, BEGIN + 4 * HOUR + 1, *rows))
    assert days.days(root, FEED, BEGIN, END)[0].condition == "open"
    after = close(root)
    assert (after.condition, after.version, after.gaps) == ("complete", 2, [])
    assert (after.rows, after.live, after.history) == (7, 4, 3)
    assert after.added == [AddedRange(since=BEGIN + HOUR, until=BEGIN + 4 * HOUR + 1, source="history")]
    found = rows_of(root, until=END)
    assert [row["timestamp"] for row in found] == [BEGIN, BEGIN + HOUR, *between, BEGIN + 4 * HOUR, END - 1]
    assert [row["source"] for row in found] == ["live", "live", *["history"] * 3, "live", "live"]
    assert [row["sequence"] for row in found] == [4, 4, 0, 0, 0, 7, 7]
    assert sorted(path.name for path in (tmp_path / TODAY.folder).iterdir()) == ["data.parquet", "day.json"]
    assert close(root) == after
    # The same page again adds nothing.
    add(root, page(BEGIN + HOUR, BEGIN + 4 * HOUR + 1, *rows))
    again = close(root)
    assert (again.condition, again.rows, again.history) == ("complete", 7, 3)
    assert rows_of(root, until=END) == found


def test_history_of_a_part_of_a_gap_leaves_the_rest_of_it(root: Root) -> None:
    interrupted_day(root)
    add(root, page(BEGIN + HOUR, BEGIN + 2 * HOUR, trade(BEGIN + HOUR + 5)))
    made = close(root)
    assert (made.condition, made.rows) == ("gaps", 5)
    assert made.gaps == [ArchivedGap(since=BEGIN + 2 * HOUR - 1, until=BEGIN + 4 * HOUR + 1, reason="cut")]


def test_a_day_of_history_alone_is_complete_and_breaks_no_chain_of_the_tape(root: Root) -> None:
    add(root, page(BEGIN, BEGIN + HOUR, trade(BEGIN)), page(BEGIN + HOUR, END, trade(END - 5), source="file"))
    made = close(root)
    assert (made.condition, made.rows, made.live, made.history, made.imported) == ("complete", 2, 0, 1, 1)
    assert made.watched == [Range(BEGIN, END)]
    # The next day is followed from its second message on, whatever is known of the day before.
    following = FEED.on(layout.date_of(END))
    write_round(
        root, [(message(END + HOUR, until=END + HOUR), 2, 0), (message(END + 2 * HOUR, until=END + DAY), 3, 2)], 3
    )
    certified = days.close_day(root, following, END + DAY, unchecked)
    assert (certified.condition, certified.watched) == ("partial", [Range(END + HOUR, END + DAY)])


def test_rows_of_the_tape_that_come_after_history_take_its_place(root: Root) -> None:
    add(root, page(BEGIN, END, *[trade(BEGIN + each * HOUR) for each in range(24)]))
    assert close(root).history == 24
    write_round(
        root, [(message(until=BEGIN), 1, 0), (message(BEGIN + HOUR, BEGIN + 9 * HOUR, until=BEGIN + 9 * HOUR), 2, 1)], 2
    )
    made = close(root)
    # Of the time that the tape proves, the added rows that it does not have are dropped.
    assert times_of(root) == [BEGIN + each * HOUR for each in (1, *range(9, 24))]
    assert (made.condition, made.live, made.history) == ("complete", 2, 14)


def test_added_rows_that_prove_nothing_are_merged_with_what_the_tape_brings_later(root: Root) -> None:
    at = BEGIN + HOUR
    write_round(root, [(message(at, until=at), 1, 0)], 1)
    close(root)
    request = ArchivedTradesRequest(exchange=FEED.exchange, symbol=FEED.symbol, limit=1)
    *_, last = chunks(root, request, Through(0, 0))
    add(root, page(BEGIN, BEGIN, trade(at - 5), trade(at + 5)))
    assert (close(root).history, times_of(root)) == (2, [at - 5, at, at + 5])
    with pytest.raises(StorageError, match="got more rows while it was read"):
        list(chunks(root, msgspec.structs.replace(request, cursor=last.cursor), Through(0, 0)))
    # One of them comes over the tape, too.
    write_round(root, [(message(at + 5, at + 9), 2, 1)], 2, done=1)
    made = close(root)
    assert (made.live, made.history, times_of(root)) == (3, 1, [at - 5, at, at + 5, at + 9])


def test_parts_of_a_trade_that_the_tape_has_joined_are_not_added(root: Root) -> None:
    at = BEGIN + HOUR
    joined = message(at, until=at)
    joined.trades[0] = trade(at, 13, amount=3.0)
    write_round(root, [(joined, 1, 0)], 1)
    listed = [trade(at, 10, 9.0), trade(at, 11, 1.0), trade(at, 12, 1.0), trade(at, 13, 1.0), trade(at, 14, 1.0)]
    add(root, page(BEGIN, END, *listed), page(at, at, *listed[1:3]))
    close(root)
    assert [(row["id"], row["amount"]) for row in rows_of(root)] == [("10", 9.0), ("13", 3.0), ("14", 1.0)]


def test_a_reader_within_a_day_that_gets_rows_is_told(root: Root) -> None:
    interrupted_day(root)
    close(root)
    request = ArchivedTradesRequest(exchange=FEED.exchange, symbol=FEED.symbol, limit=1)
    *_, last = chunks(root, request, Through(0, 0))
    assert last.cursor is not None
    add(root, page(BEGIN, END, trade(BEGIN + 2 * HOUR)))
    close(root)
    with pytest.raises(StorageError, match="got more rows while it was read"):
        list(
            chunks(
                root,
                ArchivedTradesRequest(exchange=FEED.exchange, symbol=FEED.symbol, cursor=last.cursor),
                Through(0, 0),
            )
        )


def test_a_removed_day_is_whole_again_with_its_history(root: Root) -> None:
    interrupted_day(root)
    close(root)
    remove_day(root, TODAY, unchecked)
    add(root, page(BEGIN, END, trade(BEGIN + HOUR)))
    assert (made := close(root)).condition == "complete"
    assert (made.rows, made.gaps) == (1, [])


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (page(BEGIN, END + 1), "not within a day"),
        (page(BEGIN, END, trade(END)), "a trade of"),
        (page(BEGIN, END, trade(BEGIN + 5), trade(BEGIN)), "not in order"),
        (page(BEGIN, END, Trade(id=None, timestamp=BEGIN, side=None, price=1.0, amount=1.0)), "without an id"),
    ],
)
def test_a_page_that_cannot_be_merged_is_refused(root: Root, tmp_path: Path, refused: TradePage, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        write_page(root, refused, unchecked)
    assert not list(tmp_path.iterdir())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_tape_and_history_together_are_the_truth_row_by_row(seed: int) -> None:
    draw = random.Random(seed)
    times = sorted(BEGIN + draw.randrange(60) * draw.choice([1, 1000, DAY // 60]) for _ in range(draw.randrange(1, 60)))
    truth = [trade(time, number + 1) for number, time in enumerate(times)]
    # The tape has some runs of them, each followed by a gap.
    with tempfile.TemporaryDirectory() as folder:
        root, sequence, at = FolderRoot(Path(folder)), 0, 0
        while at < len(truth):
            skipped, taken = draw.choice([0, draw.randrange(8)]), draw.randrange(1, 9)
            run = truth[at + skipped : at + skipped + taken]
            if not run:
                break
            before = truth[at - 1] if at else None
            gap = Gap(
                since=before.timestamp if before else None,
                until=run[0].timestamp,
                after_id=before.id if before else None,
                before_id=run[0].id,
            )
            written = message(until=run[-1].timestamp, gap=gap if skipped else None)
            written.trades.extend(run)
            write_round(root, [(written, sequence + 1, sequence)], sequence + 1, done=sequence)
            sequence += 1
            at += skipped + taken
            if draw.random() < 0.2:
                close(root)
        # Pages that prove the day together, some sent twice, some overlapping, in any order.
        cuts = sorted({BEGIN, END, *(draw.choice(truth).timestamp for _ in range(draw.randrange(6)))})
        pages = []
        for since, until in itertools.pairwise(cuts):
            rows = [each for each in truth if since <= each.timestamp < until]
            while len(rows) > 5 and draw.random() < 0.5:
                # A page that proves nothing, such as the first of two with the trades of one millisecond.
                pages.append(page(since, since, *rows[:3]))
            pages.append(page(since, until, *rows))
        pages += draw.choices(pages, k=draw.randrange(3))
        draw.shuffle(pages)
        while pages:
            add(root, *pages[:2])
            pages = pages[2:]
            if draw.random() < 0.4:
                close(root)
        made = close(root)
        assert made.condition == "complete"
        found = rows_of(root)
        assert [(row["id"], row["timestamp"], row["amount"]) for row in found] == [
            (each.id, each.timestamp, each.amount) for each in truth
        ]
        assert not list_day(root, TODAY).has_parts


def test_rows_are_merged_in_windows_of_time(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "ROW_GROUP", 40)
    monkeypatch.setattr(merging, "BATCH_ROWS", 7)
    times = [BEGIN + each * 1000 for each in range(1000)]
    for sequence, first in enumerate(range(0, 1000, 50)):
        taped = (message(*times[first : first + 50 : 3], until=BEGIN - 10), sequence + 1, sequence)
        write_round(root, [taped], sequence + 1, done=sequence)
    for first in range(0, 1000, 25):
        add(root, page(times[first], times[first], *map(trade, times[first : first + 25])))
    add(root, page(BEGIN, END))
    listing = list_day(root, TODAY)
    tables = list(merging.merged_rows(root, listing.files, listing.added, [], TRADES))
    # A window has no more than the rows of the files that begin within it, and of the last ones before.
    assert max(each.num_rows for each in tables) <= 150
    close(root)
    assert times_of(root) == times
