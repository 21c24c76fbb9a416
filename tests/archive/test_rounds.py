"""Rounds: every message is in one, each trade once; a round that is written again has the same parts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.archive.rounds import Position, Round, TapeEntry, feed_of_subject
from tickwire.archive.stream_archive import longest_round_s
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.feeds import Trade, Trades

pytestmark = pytest.mark.pure

SYMBOLS = ("BTC/USDT", "ETH/USDT")
START = 1_790_000_000_000
HANDOVER = "tape.handover.TRADES-0"


def subject(symbol: str) -> str:
    return f"tape.trade.0.binance.{symbol.replace('/', '-')}"


def entry(sequence: int, symbol: str, previous: int | None, rows: int, until: int | None = None) -> TapeEntry:
    trades = [
        Trade(id=f"{sequence}-{n}", timestamp=START + sequence, side=None, price=1.0, amount=1.0) for n in range(rows)
    ]
    message = Trades(exchange="binance", symbol=symbol, trades=trades, received=START + sequence, until=until)
    return TapeEntry(sequence, subject(symbol), messages.encode(message), previous, START + sequence)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[TapeEntry], set[int]]:
    """Messages of a stream in order, and those of them that expired before they were read."""
    last = dict.fromkeys(SYMBOLS, 0)
    found: list[TapeEntry] = []
    for sequence in range(1, draw(st.integers(1, 30)) + 1):
        kind = draw(st.sampled_from([*SYMBOLS, "handover"]))
        if kind == "handover":
            found.append(TapeEntry(sequence, HANDOVER, b"{}", None, START))
            continue
        found.append(entry(sequence, kind, last[kind], draw(st.integers(0, 4)), START + sequence))
        last[kind] = sequence
    begin = draw(st.integers(0, len(found)))
    return found, set(range(begin + 1, begin + 1 + draw(st.integers(0, 5))))


def written(round_: Round) -> list[tuple[str, Any, list[Any]]]:
    """Path, metadata and rows of each part."""
    return [(part.path, part.meta, part.rows.to_pylist()) for part in round_.parts.parts(round_.last)]


def rounds_of(entries: list[TapeEntry], most: int) -> list[Round]:
    """All rounds of a stream; the last one ends with it."""
    made = [Round(Position(1), most)]
    for each in entries:
        while not made[-1].take(each):
            made.append(Round(made[-1].position(1), most))
    return made


@given(streams(), st.integers(1, 10))
def test_each_message_that_is_read_is_in_one_round_and_each_trade_in_one_part(
    stream: tuple[list[TapeEntry], set[int]], most: int
) -> None:
    entries, expired = stream
    read = [each for each in entries if each.sequence not in expired]
    rounds = rounds_of(read, most)
    assert [(each.done, each.last) for each in rounds[1:]] == [
        (before.last, each.last) for before, each in pairwise(rounds)
    ]
    ids = [row["id"] for each in rounds for _, _, rows in written(each) for row in rows]
    truth = [trade.id or "" for each in read if each.subject != HANDOVER for trade in decoded(each).trades]
    assert sorted(ids) == sorted(truth)
    # The round that exceeds the limit does so by one message.
    assert all(each.parts.rows < most + 4 for each in rounds)


def positions(rounds: list[Round]) -> Iterator[tuple[Position, Round]]:
    """Each round and where it began."""
    position = Position(1)
    for each in rounds:
        yield position, each
        position = each.position(1)


def decoded(each: TapeEntry) -> Trades:
    return messages.decode(each.data, Trades)


@given(streams(), st.integers(1, 10))
def test_a_round_that_is_written_again_has_the_same_parts(stream: tuple[list[TapeEntry], set[int]], most: int) -> None:
    entries, expired = stream
    read = [each for each in entries if each.sequence not in expired]
    for position, before in positions(rounds_of(read, most)):
        again = Round(position, most, before.last)
        for each in read:
            if each.sequence > before.done and not again.take(each):
                break
        assert again.last == before.last
        assert written(again) == written(before)


@given(streams(), st.integers(1, 10))
def test_messages_that_expired_unread_are_gaps_of_their_feed(
    stream: tuple[list[TapeEntry], set[int]], most: int
) -> None:
    entries, expired = stream
    read = [each for each in entries if each.sequence not in expired]
    rounds = rounds_of(read, most)
    first = read[0].sequence if read else 0
    for symbol in SYMBOLS:
        own = [each.sequence for each in entries if each.subject == subject(symbol)]
        lost = [each for each in own if each in expired and each > first]
        later = [each for each in own if each not in expired and lost and each > max(lost)]
        metas = [meta for each in rounds for _, meta, _ in written(each) if meta.symbol == symbol]
        if lost and own[0] in expired:
            # Nothing of it was read before, so it begins with its next message, or behind a gap.
            assert all(not meta.continues or meta.gaps for meta in metas[:1])
            continue
        # Until a later message comes, nothing shows what is missing.
        assert any(meta.gaps for meta in metas) == bool(lost and later)


def test_a_feed_that_was_quiet_before_the_first_start_begins_with_its_next_message() -> None:
    """The archive started when the tape had lost its first messages, and this feed was quiet for long."""
    first = Round(Position(1), 1)
    assert first.take(entry(1000, "BTC/USDT", 999, 1))
    later = Round(first.position(1), 1)
    assert later.take(entry(1001, "ETH/USDT", 500, 1))
    ((_, meta, _),) = written(later)
    assert (meta.continues, meta.gaps) == (False, [])


def test_a_round_whose_middle_expired_before_it_is_written_again_notes_that() -> None:
    entries = [entry(1, "BTC/USDT", 0, 1), entry(2, "BTC/USDT", 1, 1), entry(3, "BTC/USDT", 2, 1)]
    again = Round(Position(1), 100, 3)
    assert again.take(entries[0])
    assert again.take(entries[2])
    ((_, meta, rows),) = written(again)
    assert [row["id"] for row in rows] == ["1-0", "3-0"]
    ((gap,),) = (meta.gaps,)
    assert (gap.until, gap.before_id) == (START + 3, "3-0")


def test_a_message_that_cannot_be_read_is_a_gap_of_its_feed_and_the_round_goes_on() -> None:
    round_ = Round(Position(1), 100)
    assert round_.take(entry(1, "BTC/USDT", 0, 2))
    assert round_.take(TapeEntry(2, subject("BTC/USDT"), b"{", 1, START + 2))
    # Trades of another feed than the subject's, and a subject of no feed.
    assert round_.take(TapeEntry(3, subject("ETH/USDT"), entry(3, "BTC/USDT", 0, 1).data, 0, START + 3))
    assert round_.take(TapeEntry(4, "tape.trade.0.binance", b"{}", 0, START + 4))
    assert round_.take(entry(5, "BTC/USDT", 2, 1))
    assert [each.entry.sequence for each in round_.unreadable] == [2, 3, 4]
    found = {meta.symbol: (len(rows), [gap.reason for gap in meta.gaps]) for _, meta, rows in written(round_)}
    reason = "a message of the tape cannot be read"
    assert found == {"BTC/USDT": (3, [reason]), "ETH/USDT": (0, [reason])}


def test_messages_that_cannot_be_read_end_a_round_as_rows_do() -> None:
    """A newer version has written all of them: neither memory nor the metadata of a part may grow with their number."""
    round_ = Round(Position(1, done=10, begin=1), 50)
    entries = [TapeEntry(at, subject(SYMBOLS[0]), b"x" * 100_000, at - 1, START + at) for at in range(11, 200)]
    taken = [each for each in entries if round_.take(each)]
    assert (len(taken), round_.last) == (50, 60)
    assert sum(len(each.entry.data) for each in round_.unreadable) <= 50 * 100
    [part] = round_.parts.parts(round_.last)
    assert [each.reason for each in part.meta.gaps] == ["a message of the tape cannot be read"]


def test_a_round_ends_long_before_its_messages_expire() -> None:
    assert longest_round_s(10, 86_400.0) == 600
    assert longest_round_s(10, 300.0) == 100
    assert longest_round_s(10, None) == longest_round_s(10, 0.0) == 600


@pytest.mark.parametrize("wrong", ["tape.trade.binance.BTC-USDT", "md.trade.0.binance.BTC-USDT", "tape.trade.0.b"])
def test_a_subject_that_is_not_one_of_a_partition_is_refused(wrong: str) -> None:
    assert feed_of_subject(subject("BTC/USDT")) == ArchivedFeed("trade", "binance", "BTC/USDT")
    with pytest.raises(BadRequest):
        feed_of_subject(wrong)
