"""What a replay makes of archived rows, in whatever chunks they come: the messages and the trades of the tape."""

from __future__ import annotations

import random
from typing import Literal

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.archive_files.pages import encoded
from tickwire.archive_files.schema import TRADES
from tickwire.client.archived import ItemRows, MessageRows
from tickwire.client.decoded import trades_of
from tickwire.client.missing import Missing
from tickwire.model.feeds import Feed, Gap, Trade, Trades
from tickwire.model.messages.archived_trades import ArchivedTrades
from tickwire.model.ranges import Range

pytestmark = pytest.mark.pure

FEED = Feed("trade", "binance", "BTC/USDT")
WORDS = st.sampled_from(["live", "rest", "file"])

SIDES: st.SearchStrategy[Literal["buy", "sell"] | None] = st.sampled_from(["buy", "sell", None])


@st.composite
def tapes(draw: st.DrawFn) -> list[tuple[int, str, list[Trade]]]:
    """Messages: a sequence, a source, and trades, some of which have neither id nor side."""
    found, at, number = [], 1_000, 0
    for sequence in sorted(draw(st.sets(st.integers(1, 99), max_size=12))):
        trades = []
        for _ in range(draw(st.integers(1, 4))):
            at, number = at + draw(st.sampled_from([0, 1, 50])), number + 1
            id_ = draw(st.sampled_from([None, str(number)]))
            trades.append(Trade(id=id_, timestamp=at, side=draw(SIDES), price=number / 7, amount=1.5))
        found.append((sequence, draw(WORDS), trades))
    return found


def chunks(tape: list[tuple[int, str, list[Trade]]], chance: random.Random) -> list[ArchivedTrades]:
    """The rows as an archive sends them, in several chunks."""
    rows = [
        {"timestamp": each.timestamp, "received": 7_000 + sequence, "id": each.id, "side": each.side,
         "price": each.price, "amount": each.amount, "source": source, "sequence": sequence}
        for sequence, source, trades in tape
        for each in trades
    ]  # fmt: skip
    cuts = sorted(chance.randint(0, len(rows)) for _ in range(3))
    parts = [rows[start:end] for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    return [
        ArchivedTrades(
            exchange="binance",
            symbol="BTC/USDT",
            rows=len(part),
            data=encoded(pa.RecordBatch.from_pylist(part, TRADES), TRADES),
            sequence=99,
        )
        for part in parts
        if part
    ]


@given(tapes(), st.randoms(use_true_random=False))
def test_rows_are_the_messages_that_they_came_in(
    tape: list[tuple[int, str, list[Trade]]], chance: random.Random
) -> None:
    rows = MessageRows(FEED, [])
    found = [each for chunk in chunks(tape, chance) for each in rows.take(chunk)] + rows.rest()
    assert [(each.sequence, trades_of(each)) for each in found] == [
        (
            sequence,
            Trades(
                exchange="binance",
                symbol="BTC/USDT",
                trades=trades,
                received=7_000 + sequence,
                source="live" if source == "live" else "rest",
            ),
        )
        for sequence, source, trades in tape
    ]


@given(tapes(), st.lists(st.integers(900, 2_500), max_size=4).map(sorted), st.randoms(use_true_random=False))
def test_trades_and_gaps_are_those_of_the_messages(
    tape: list[tuple[int, str, list[Trade]]], begins: list[int], chance: random.Random
) -> None:
    """Each gap comes before the message whose last trade is after its begin."""
    missing = [Missing(since, since + 10, "a test") for since in begins]
    items, messages = ItemRows(missing), MessageRows(FEED, missing)
    # A message that two chunks have is two for the items.
    whole = random.Random(0)
    whole.randint = lambda a, b: b  # type: ignore[method-assign]
    sent = chunks(tape, whole)
    found = [each for chunk in sent for each in items.take(chunk)] + items.rest()
    said = [trades_of(each) for chunk in sent for each in messages.take(chunk)]
    said += [trades_of(each) for each in messages.rest()]
    expected: list[Trade | Gap] = []
    for message in said:
        expected += [message.gap] if message.gap else message.trades
    assert found == expected
    cut = ItemRows(missing)
    again = [each for chunk in chunks(tape, chance) for each in cut.take(chunk)] + cut.rest()
    assert [each for each in again if isinstance(each, Trade)] == [each for _, _, trades in tape for each in trades]
    assert [each for each in again if isinstance(each, Gap)] == [each.as_gap for each in missing]


@given(st.randoms(use_true_random=False))
def test_added_trades_are_messages_of_one_time_with_gaps_between_them(chance: random.Random) -> None:
    """Those of a whole day have one receipt, and no sequence."""
    live, *added = [
        Trade(id=str(number), timestamp=time, side=None, price=1.0, amount=1.0)
        for number, time in enumerate((1_000, 2_000, 2_000, 2_010, 3_000))
    ]
    tape: list[tuple[int, str, list[Trade]]] = [(5, "live", [live]), (0, "file", added)]
    missing = [Missing(2_500, 2_600, "a test")]
    rows, items, sent = MessageRows(FEED, missing), ItemRows(missing), chunks(tape, chance)
    found = [each for chunk in sent for each in rows.take(chunk)] + rows.rest()
    said = [(each.sequence, trades_of(each)) for each in found]
    assert [(sequence, message.trades or message.gap) for sequence, message in said] == [
        (5, [live]),
        (5, added[:2]),
        (5, added[2:3]),
        (5, missing[0].as_gap),
        (5, added[3:]),
    ]
    assert [each for chunk in sent for each in items.take(chunk)] == [live, *added[:3], missing[0].as_gap, added[3]]


def test_a_day_that_was_removed_meanwhile_is_a_gap_in_its_place() -> None:
    """Unless it was known to be removed before."""
    first, second = (Trade(id=str(at), timestamp=at, side=None, price=1.0, amount=1.0) for at in (1_000, 9_000))
    removed, known = Range(2_000, 3_000), Missing(4_000, 5_000, "removed from the archive")
    before, after = chunks([(1, "live", [first])], random.Random(0)) + chunks([(2, "live", [second])], random.Random(0))
    sent = [before, msgspec.structs.replace(after, removed=[removed, Range(4_000, 5_000)])]
    gap = Missing(*removed, "removed from the archive").as_gap
    items, rows = ItemRows([known]), MessageRows(FEED, [known])
    assert [each for chunk in sent for each in items.take(chunk)] == [first, gap, known.as_gap, second]
    found = [trades_of(each) for chunk in sent for each in rows.take(chunk)]
    found += [trades_of(each) for each in rows.rest()]
    assert [each.gap or each.trades for each in found] == [[first], gap, known.as_gap, [second]]
