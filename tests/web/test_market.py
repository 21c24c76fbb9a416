"""Chart, tape and book of a market, made of messages."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.feeds import BOOK_VALID_S, Book, Candle, FeedReport, Gap, State, Trade, Trades
from tickwire.model.messages import Row
from tickwire.model.ranges import Range, merge
from tickwire.web.market import DEPTH, LEVELS, MISSED, TRADES, LiveCandles, Tape, chart, depth, ladder, unit

pytestmark = pytest.mark.pure

MINUTE = 60_000
START = 28_333_333 * MINUTE
MINUTES = 30

minutes = st.sets(st.integers(0, MINUTES - 1))


def row(at: int) -> Row:
    return (START + at * MINUTE, 10.0 + at, 11.0 + at, 9.0 + at, 10.5 + at, 1.0)


def candle(at: int, *, closed: bool = True, complete: bool = True) -> Candle:
    return Candle(
        exchange="okx", symbol="BTC/USDT", timeframe="1m", timestamp=START + at * MINUTE,
        open=20.0 + at, high=21.0 + at, low=19.0 + at, close=20.5 + at, volume=2.0,
        closed=closed, complete=complete, trades=1, sequence=1,
    )  # fmt: skip


def trade(number: int) -> Trade:
    return Trade(id=str(number), timestamp=START + number, side="buy", price=float(number), amount=1.0)


def said(*numbers: int, source: str = "live", gap: Gap | None = None) -> Trades:
    trades = [trade(each) for each in numbers]
    return Trades(exchange="okx", symbol="BTC/USDT", trades=trades, received=START, source=source, gap=gap)  # type: ignore[arg-type]


@given(minutes, minutes)
def test_each_minute_is_a_candle_or_in_a_gap_and_the_cache_goes_before_the_feed(
    cached: set[int], live: set[int]
) -> None:
    missing = merge(Range(START + at * MINUTE, START + (at + 1) * MINUTE) for at in range(MINUTES) if at not in cached)
    found = chart("1m", [row(at) for at in sorted(cached)], missing, [candle(at) for at in sorted(live)])
    newest = max(cached, default=-1)
    shown = cached | {at for at in live if at > newest}
    assert found.times == [START + at * MINUTE for at in sorted(shown)]
    assert found.opens == [10.0 + at if at in cached else 20.0 + at for at in sorted(shown)]
    assert sum(each.until - each.since for each in found.gaps) == (MINUTES - len(shown)) * MINUTE
    for at in range(MINUTES):
        within = any(each.since <= START + at * MINUTE < each.until for each in found.gaps)
        assert within == (at not in shown)


def test_the_open_candle_and_those_that_were_not_wholly_observed_are_marked() -> None:
    live = [candle(5, complete=False), candle(6, closed=False)]
    found = chart("1m", [row(4)], [], live)
    assert (found.is_open, found.incomplete) == (True, [START + 5 * MINUTE])
    assert not chart("1m", [row(7)], [], live).is_open


def test_the_newest_live_candles_are_kept() -> None:
    kept = LiveCandles(most=3)
    for at in range(6):
        kept.take(candle(at, closed=False))
        kept.take(candle(at))
    assert [each.timestamp for each in kept.newest] == [START + at * MINUTE for at in (3, 4, 5)]
    assert all(each.closed for each in kept.newest)


@given(st.lists(st.integers(1, 70), max_size=6))
def test_the_tape_shows_the_newest_trades_in_their_order(sizes: list[int]) -> None:
    tape, number = Tape(), 0
    for size in sizes:
        tape.take(said(*range(number, number + size)))
        number += size
    assert [each.id for each in tape.rows] == [str(each) for each in range(number)][::-1][:TRADES]


def test_repaired_trades_and_gaps_are_marked_in_their_place() -> None:
    tape = Tape()
    tape.take(said(1))
    tape.take(said(5, 6, source="rest", gap=Gap(since=START + 1, until=START + 5, reason="too long ago")))
    tape.take(said(7))
    assert [(each.id, each.repaired, each.gap) for each in tape.rows] == [
        ("7", False, ""),
        ("6", True, ""),
        ("5", True, ""),
        (None, False, "too long ago"),
        ("1", False, ""),
    ]


def test_messages_that_the_tape_no_longer_had_are_a_gap_before_the_next_one() -> None:
    tape = Tape()
    tape.take(said(1))
    tape.missed()
    tape.take(said(9))
    assert [(each.id, each.gap) for each in tape.rows] == [("9", ""), (None, MISSED), ("1", "")]


def test_amounts_of_contracts_have_their_unit_in_words() -> None:
    linear = msgspec.structs.replace(said(1), symbol="BTC/USDT:USDT", multiplier=0.01)
    assert unit(said(1)) == ""
    assert unit(linear) == "contracts of 0.01 BTC"
    inverse = msgspec.structs.replace(linear, symbol="BTC/USD:BTC", multiplier=100.0, inverse=True)
    assert unit(inverse) == "contracts of 100 USD"
    assert unit(msgspec.structs.replace(linear, multiplier=None)) == "contracts of an unknown size"


levels = st.lists(st.tuples(st.floats(1, 1e6), st.floats(0.001, 1e6)), max_size=40)


@given(levels, levels)
def test_the_ladder_adds_up_from_the_best_level_on(
    bids: list[tuple[float, float]], asks: list[tuple[float, float]]
) -> None:
    book = Book(exchange="okx", symbol="BTC/USDT", state="live", timestamp=1, received=2, bids=bids, asks=asks)
    found = ladder(book, 0.0, report("live"))
    assert (found.live, found.why) == (True, "")
    for shown, side in ((found.bids, bids), (found.asks[::-1], asks)):
        assert [(each.price, each.amount) for each in shown] == side[:LEVELS]
        assert [each.total for each in shown] == pytest.approx(
            [sum(amount for _, amount in side[: at + 1]) for at in range(len(shown))]
        )
        assert all(0 <= each.share <= 1 for each in shown)
    assert not (bids or asks) or max(each.share for each in (*found.bids, *found.asks)) == 1


def report(state: State) -> FeedReport:
    return FeedReport(kind="book", exchange="okx", symbol="BTC/USDT", state=state)


@pytest.mark.parametrize(
    ("state", "reported", "heard_s", "why"),
    [
        ("live", report("resyncing"), 0.0, "the feed is resyncing"),
        ("resyncing", report("live"), 0.0, "the book is fetched again"),
        ("live", report("live"), BOOK_VALID_S + 1.0, f"nothing was heard of it for {BOOK_VALID_S + 1:.0f} s"),
        ("live", None, 0.0, "the feed does not run"),
    ],
)
def test_a_book_that_is_not_live_says_why(state: str, reported: FeedReport | None, heard_s: float, why: str) -> None:
    book = Book(exchange="okx", symbol="BTC/USDT", state=state, timestamp=1, received=2)  # type: ignore[arg-type]
    found = ladder(book, heard_s, reported)
    assert (found.live, found.why) == (False, why)
    assert ladder(None, 0.0, report("live")).why == "no book yet"


def test_the_depth_is_what_could_be_traded_up_to_each_price() -> None:
    bids, asks = [(100.0, 1.0), (99.0, 2.0), (97.0, 4.0)], [(101.0, 0.5), (102.0, 0.25)]
    book = Book(exchange="okx", symbol="BTC/USDT", state="live", timestamp=1, received=2, bids=bids, asks=asks)
    found = depth(book)
    assert found.bids == [(100.0, 1.0), (99.0, 3.0), (97.0, 7.0)]
    assert found.asks == [(101.0, 0.5), (102.0, 0.75)]
    assert depth(msgspec.structs.replace(book, bids=bids * 1000)).bids[-1][1] == pytest.approx(
        7.0 * DEPTH / 3, rel=0.02
    )
