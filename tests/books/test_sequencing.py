"""Every numbering of books against dropped, repeated and reordered deltas: a wrong book is always an error."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.feeds import Level
from tickwire.streamer.books.checksum import BookChecksum
from tickwire.streamer.books.orderbook import OrderBook, difference
from tickwire.streamer.books.out_of_step import OutOfStep
from tickwire.venues.dialect import BookSnapshot, Diff
from tickwire.venues.profile import BookFacts

pytestmark = pytest.mark.pure

CHAIN = BookFacts(deltas=True, snapshot="socket", sequence="chain")
STEPS = BookFacts(deltas=True, snapshot="socket", sequence="steps")
RISING = BookFacts(deltas=True, snapshot="socket", sequence="rising")
COUNTED = BookFacts(deltas=True, snapshot="socket", sequence=None, checksum_levels=3)
WHOLE = BookFacts(deltas=True, snapshot="every message", sequence=None)

_amounts = st.sampled_from([0.0, 0.0, 0.5, 1.0, 7.0])
_bids = st.lists(st.tuples(st.integers(1, 40).map(lambda n: n / 100), _amounts), max_size=6)
_asks = st.lists(st.tuples(st.integers(100, 140).map(lambda n: n / 100), _amounts), max_size=6)
_changes = st.lists(st.tuples(_bids, _asks), min_size=1, max_size=20)
_sent = st.lists(st.sampled_from(["sent", "sent", "sent", "dropped", "twice", "swapped"]), min_size=20, max_size=20)


def as_sent(frames: Sequence[Diff], ways: Sequence[str]) -> list[Diff]:
    """What arrives: some frames are missing, some come twice, some change places with the one after."""
    arrived: list[Diff] = []
    held: Diff | None = None
    for frame, way in zip(frames, ways, strict=False):
        if way == "swapped" and held is None:
            held = frame
            continue
        if way != "dropped":
            arrived += [frame] * (2 if way == "twice" else 1)
        if held is not None:
            arrived.append(held)
            held = None
    return arrived if held is None else [*arrived, held]


def frames(rule: BookFacts, changes: Sequence[tuple[list[Level], list[Level]]], jumps: Sequence[int]) -> list[Diff]:
    """The changes after update 10, as a venue of this rule numbers them."""
    found, last = [], 10
    for (bids, asks), jump in zip(changes, jumps, strict=False):
        previous, last = last, last + (1 if rule is STEPS else jump)
        named = previous if rule is CHAIN else None
        found.append(Diff(timestamp=last, bids=bids, asks=asks, last=last, previous=named))
    return found


def states(changes: Sequence[Diff]) -> dict[int, Any]:
    """The true book as of each update, by a dict of prices."""
    sides: tuple[dict[float, float], dict[float, float]] = ({}, {})
    found: dict[int, Any] = {10: ([], [])}
    for change in changes:
        for side, levels in zip(sides, (change.bids, change.asks), strict=True):
            side.update(levels)
        assert change.last is not None
        found[change.last] = (
            sorted(((p, a) for p, a in sides[0].items() if a), reverse=True),
            sorted((p, a) for p, a in sides[1].items() if a),
        )
    return found


@pytest.mark.parametrize("rule", [CHAIN, STEPS], ids=["chain", "steps"])
@given(changes=_changes, ways=_sent, jumps=st.lists(st.integers(1, 9), min_size=20, max_size=20))
def test_a_book_that_goes_on_is_the_venues_whatever_was_lost(
    rule: BookFacts, changes: list[tuple[list[Level], list[Level]]], ways: list[str], jumps: list[int]
) -> None:
    """After each frame the book equals the true one of its update, or an error has said that it does not."""
    sent = frames(rule, changes, jumps)
    truth = states(sent)
    book = OrderBook.sent(BookSnapshot(timestamp=0, bids=[], asks=[], sequence=10), rule)
    arriving = as_sent(sent, ways)
    before = 10
    for frame in arriving:
        try:
            moved = book.apply(frame)
        except OutOfStep:
            # Right: this frame is not the next one, nor one that the book has just had.
            follows = next((each for each in sent if (each.last or 0) > before), None)
            assert frame is not follows
            return
        assert book.whole() == truth[book.sequence]
        assert moved == (book.sequence != before)
        before = book.sequence
    if not {"dropped", "swapped"} & set(ways[: len(sent)]):
        assert book.sequence == sent[-1].last


@pytest.mark.parametrize("rule", [CHAIN, STEPS], ids=["chain", "steps"])
@given(count=st.integers(2, 15), lost=st.integers(0, 13))
def test_each_lost_change_is_noticed_with_the_next(rule: BookFacts, count: int, lost: int) -> None:
    lost = lost % (count - 1)
    sent = frames(rule, [([(0.5, 1.0)], [])] * count, [3] * count)
    book = OrderBook.sent(BookSnapshot(timestamp=0, bids=[], asks=[], sequence=10), rule)
    for frame in sent[:lost]:
        assert book.apply(frame)
    with pytest.raises(OutOfStep, match="follows"):
        book.apply(sent[lost + 1])


def test_a_sign_of_life_of_a_quiet_channel_changes_nothing() -> None:
    """OKX, "Order book channel": without changes for 60 s an empty one comes, with prevSeqId equal to seqId."""
    book = OrderBook.sent(BookSnapshot(timestamp=0, bids=[(1.0, 1.0)], asks=[], sequence=10), CHAIN)
    assert not book.apply(Diff(timestamp=1, bids=[], asks=[], last=10, previous=10))
    assert book.apply(Diff(timestamp=2, bids=[(1.0, 2.0)], asks=[], last=12, previous=10))


def test_a_chain_that_begins_anew_with_a_smaller_number_goes_on() -> None:
    """OKX, "Order book channel": after maintenance seqId may be smaller than prevSeqId, once."""
    book = OrderBook.sent(BookSnapshot(timestamp=0, bids=[], asks=[], sequence=15), CHAIN)
    assert book.apply(Diff(timestamp=1, bids=[(1.0, 2.0)], asks=[], last=3, previous=15))
    assert book.apply(Diff(timestamp=2, bids=[(1.0, 3.0)], asks=[], last=5, previous=3))
    assert (book.sequence, book.whole()) == (5, ([(1.0, 3.0)], []))


def test_numbers_that_only_rise_show_disorder() -> None:
    book = OrderBook.sent(BookSnapshot(timestamp=0, bids=[], asks=[], sequence=10), RISING)
    assert book.apply(Diff(timestamp=1, bids=[(1.0, 2.0)], asks=[], last=17))
    assert not book.apply(Diff(timestamp=1, bids=[(1.0, 2.0)], asks=[], last=17))
    with pytest.raises(OutOfStep, match="went back from 17 to 12"):
        book.apply(Diff(timestamp=1, bids=[(1.0, 1.0)], asks=[], last=12))


@pytest.mark.parametrize("rule", [CHAIN, STEPS, RISING])
def test_a_snapshot_or_a_change_without_its_number_is_no_base(rule: BookFacts) -> None:
    with pytest.raises(OutOfStep, match="without a number"):
        OrderBook.sent(BookSnapshot(timestamp=0, bids=[], asks=[]), rule)
    with pytest.raises(OutOfStep, match="without a number"):
        OrderBook(1, [], [], facts=rule).apply(Diff(timestamp=0, bids=[], asks=[]))


@given(bids=_bids, asks=_asks, changes=_changes, depth=st.integers(1, 5))
def test_levels_beyond_those_that_the_venue_keeps_current_are_dropped(
    bids: list[Level], asks: list[Level], changes: list[tuple[list[Level], list[Level]]], depth: int
) -> None:
    """The venue of the test sends the changes of its best levels only, and says nothing of those that fall out."""
    facts = BookFacts(deltas=True, snapshot="socket", sequence="steps", depth=depth)
    kept: tuple[dict[float, float], dict[float, float]] = (dict(bids), dict(asks))

    def best() -> tuple[list[Level], list[Level]]:
        here = [sorted((level for level in side.items() if level[1]), reverse=not n) for n, side in enumerate(kept)]
        return here[0][:depth], here[1][:depth]

    book = OrderBook.sent(BookSnapshot(timestamp=0, bids=best()[0], asks=best()[1], sequence=0), facts)
    for number, (bid_change, ask_change) in enumerate(changes, start=1):
        before = best()
        for side, change in zip(kept, (bid_change, ask_change), strict=True):
            side.update(change)
        after = best()
        sent = [
            [(p, a) for p, a in new if (p, a) not in old] + [(p, 0.0) for p, _ in old if not side.get(p)]
            for old, new, side in zip(before, after, kept, strict=True)
        ]
        book.apply(Diff(timestamp=number, bids=sent[0], asks=sent[1], last=number))
        assert book.whole() == after


@given(first=st.tuples(_bids, _asks), second=st.tuples(_bids, _asks))
def test_the_difference_of_two_whole_books_leads_from_one_to_the_other(first: Any, second: Any) -> None:
    old, new = (
        OrderBook.sent(BookSnapshot(timestamp=n, bids=bids, asks=asks), WHOLE, count=n)
        for n, (bids, asks) in enumerate((first, second), start=4)
    )
    change = difference(old, new)
    assert (change.first, change.last) == (5, 5)
    assert old.apply(change)
    assert old.whole() == new.whole()


# ---- checksums. The venue of these tests sums what it wrote of the three best levels: CRC-32, bids first.


def checksum(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int:
    return zlib.crc32("|".join(f"{price}:{amount}" for price, amount in [*bids, *asks]).encode())


def written(levels: Sequence[tuple[str, str]]) -> tuple[list[Level], list[tuple[str, str]]]:
    return [(float(price), float(amount)) for price, amount in levels], list(levels)


def test_a_checksum_is_made_of_what_the_venue_wrote() -> None:
    bids, bid_texts = written([("1.10", "2.000"), ("1.00", "1.0"), ("0.90", "3.0"), ("0.80", "9.0")])
    asks, ask_texts = written([("1.20", "0.10")])
    known = zlib.crc32(b"1.10:2.000|1.00:1.0|0.90:3.0|1.20:0.10")
    snapshot = BookSnapshot(timestamp=0, bids=bids, asks=asks, checksum=known, texts=(bid_texts, ask_texts))
    book = OrderBook.sent(snapshot, COUNTED, BookChecksum(checksum, 3), count=7)
    change, texts = written([("1.10", "0.000"), ("1.05", "4.0")])
    known = zlib.crc32(b"1.05:4.0|1.00:1.0|0.90:3.0|1.20:0.10")
    assert book.apply(Diff(timestamp=1, bids=change, asks=[], checksum=known, texts=(texts, [])))
    assert book.sequence == 8
    with pytest.raises(OutOfStep, match=f"the checksum of the book is {known}, not 5"):
        book.apply(Diff(timestamp=1, bids=[], asks=[], checksum=5, texts=([], [])))


def test_a_snapshot_with_another_checksum_is_no_base() -> None:
    with pytest.raises(OutOfStep, match="checksum"):
        OrderBook.sent(
            BookSnapshot(timestamp=0, bids=[(1.0, 1.0)], asks=[], checksum=1, texts=([("1", "1")], [])),
            COUNTED,
            BookChecksum(checksum, 3),
        )
    with pytest.raises(OutOfStep, match="without the texts"):
        OrderBook.sent(BookSnapshot(timestamp=0, bids=[], asks=[], checksum=1), COUNTED, BookChecksum(checksum, 3))


@given(changes=st.lists(st.tuples(_bids, _asks), min_size=2, max_size=20), lost=st.integers(0, 18))
def test_a_lost_change_that_the_best_levels_show_is_noticed_by_the_checksum(
    changes: list[tuple[list[Level], list[Level]]], lost: int
) -> None:
    """As long as no error is raised, the best levels are the venue's."""
    sides: tuple[dict[float, float], dict[float, float]] = ({}, {})
    book = OrderBook.sent(
        BookSnapshot(timestamp=0, bids=[], asks=[], texts=([], [])), COUNTED, BookChecksum(checksum, 3)
    )
    for number, change in enumerate(changes):
        for side, levels in zip(sides, change, strict=True):
            side.update(levels)
        true = [
            sorted((level for level in side.items() if level[1]), reverse=not n)[:3] for n, side in enumerate(sides)
        ]
        if number == lost:
            continue
        texts = tuple([(repr(p), repr(a)) for p, a in side] for side in change)
        sums = [[(repr(p), repr(a)) for p, a in side] for side in true]
        diff = Diff(timestamp=0, bids=change[0], asks=change[1], checksum=checksum(*sums), texts=texts)  # type: ignore[arg-type]
        try:
            book.apply(diff)
        except OutOfStep:
            assert lost < number
            return
        assert book.top(3) == (true[0], true[1])
