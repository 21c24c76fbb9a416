"""Messages that expired unread are a gap from the last trade before them to the first one after: nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from archive_files.taped import BEGIN, DATE, DAY, FEED, GENERATION, HOUR, Taped, message, unchecked, write_round
from tickwire.archive_files import days, pages, parts
from tickwire.archive_files.chained_rows import EXPIRED
from tickwire.archive_files.layout import Through
from tickwire.archive_files.root import FolderRoot
from tickwire.client.archived import ItemRows, MessageRows
from tickwire.client.missing import missing
from tickwire.model.feeds import Feed, Gap
from tickwire.model.messages.archived_trades import ArchivedTradesRequest
from tickwire.model.ranges import Range

pytestmark = pytest.mark.actors

LAST, NEXT = BEGIN + 2 * HOUR, BEGIN + 5 * HOUR
BEFORE: list[Taped] = [
    (message(until=BEGIN), 1, 0),
    (message(BEGIN + HOUR, until=BEGIN + HOUR), 2, 1),
    # What is declared complete lags behind the newest trade.
    (message(LAST - 1, LAST, until=BEGIN + HOUR), 3, 2),
]
AFTER: Taped = (message(NEXT, until=NEXT), 9, 8)


def written(root: FolderRoot, rounds: int) -> None:
    """A day whose messages 4 to 8 were never read."""
    *whole, (first, sequence, previous) = [*BEFORE, AFTER]
    if rounds == 1:
        # As `Round` has it within a round.
        rows = parts.PartRows(GENERATION, 0)
        for each in whole:
            rows.append(*each)
        rows.append(first, sequence, previous, EXPIRED)
        for part in rows.parts(sequence):
            parts.write_part(root, part)
    else:
        write_round(root, whole, 3)
        # The message before expired: it is in no round.
        write_round(root, [(first, sequence, None)], 9, done=3)


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("rounds", [1, 2])
def test_a_gap_begins_after_the_last_trade_that_is_there(tmp_path: Path, rounds: int, is_closed: bool) -> None:
    root = FolderRoot(tmp_path)
    written(root, rounds)
    if is_closed:
        days.close_day(root, FEED.on(DATE), BEGIN + DAY, unchecked)
    (day,) = days.days(root, FEED, BEGIN, BEGIN + DAY)
    (gap,) = day.gaps
    assert (gap.since, gap.after_id, gap.until, gap.before_id) == (LAST, str(LAST), NEXT, str(NEXT))
    # In a replay it is told between the two.
    request = ArchivedTradesRequest(exchange="binance", symbol="BTC/USDT", since=BEGIN, until=BEGIN + DAY)
    gaps = missing([day], Range(BEGIN, NEXT))
    items, taped = ItemRows(gaps), MessageRows(Feed("trade", "binance", "BTC/USDT"), gaps)
    found, told = list[object](), list[object]()
    for chunk in pages.chunks(root, request, Through(0, 0)):
        found += items.take(chunk)
        told += [each for said in taped.take(chunk) for each in said.message.trades or [said.message.gap]]  # type: ignore[attr-defined]
    found += items.rest()
    told += [each for said in taped.rest() for each in said.message.trades or [said.message.gap]]  # type: ignore[attr-defined]
    for each in (found, told):
        assert ["gap" if isinstance(item, Gap) else item.timestamp for item in each] == [  # type: ignore[attr-defined]
            BEGIN + HOUR, LAST - 1, LAST, "gap", NEXT,
        ]  # fmt: skip
