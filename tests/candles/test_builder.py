"""Candles from trades, against a naive group-by in decimals; closing, gaps, lateness, going on after a takeover."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.feeds import Candle, Feed, Gap, Trade, Trades
from tickwire.streamer.candles.builder import CandleBuilder, Ended, Late, candle_of, fold
from tickwire.streamer.candles.partial_candles import divides_a_day, grain_of

pytestmark = pytest.mark.pure

DAY = 1_700_006_400_000
"""The start of a day (UTC): 2023-11-15."""
LENGTHS = {"1s": 1_000, "1m": 60_000, "3m": 180_000, "1h": 3_600_000}
Values = tuple[float, float, float, float, float, int]
Said = list[tuple[str, Ended | Late]]


def trade(timestamp: int, price: float = 1.0, amount: float = 1.0) -> Trade:
    """A trade at a time after DAY, ms."""
    return Trade(id=None, timestamp=DAY + timestamp, side=None, price=price, amount=amount)


def message(*trades: Trade, gap: Gap | None = None, until: int | None = None) -> Trades:
    """A message of the tape; `until` is after DAY, ms."""
    return Trades(
        exchange="x",
        symbol="A/B",
        trades=list(trades),
        received=0,
        gap=gap,
        until=None if until is None else DAY + until,
    )


def missing(since: int | None, until: int | None) -> Gap:
    """A gap with bounds after DAY, ms."""
    return Gap(since=None if since is None else DAY + since, until=None if until is None else DAY + until)


def begun(*names: str) -> dict[str, CandleBuilder]:
    """Buildings that observe from DAY on, once something told them so."""
    return {name: CandleBuilder.begin(name, 0, DAY) for name in names}


def run(buildings: dict[str, CandleBuilder], *messages: Trades, sequence: int = 1) -> Said:
    """What messages with these sequences and the following make the buildings say."""
    said: Said = []
    for each in messages:
        said += fold(buildings, grain_of(buildings), sequence, each)
        sequence += 1
    return said


def values(ended: Ended) -> Values | None:
    """Open, high, low, close, volume, trades."""
    bar = ended.bar
    if bar is None:
        return None
    return (bar.open, bar.high, bar.low, bar.close, float(bar.volume), bar.trades)


def minutes(said: Said) -> list[tuple[int, int, Values | None, bool]]:
    """What ended, in minutes after DAY."""
    return [
        ((each.since - DAY) // 60_000, (each.until - DAY) // 60_000, values(each), each.complete)
        for _, each in said
        if isinstance(each, Ended)
    ]


START = message(until=0)
"""Says that the tape is complete up to DAY, so that DAY's first interval is observed."""


# ---- against a naive group-by


def naive(trades: Sequence[Trade]) -> Values:
    """A candle of trades, the volume summed as decimals."""
    prices = [each.price for each in trades]
    with localcontext() as context:
        context.prec = 300
        volume = float(sum(Decimal(repr(each.amount)) for each in trades))
    return prices[0], max(prices), min(prices), prices[-1], volume, len(trades)


amounts = st.decimals("0.00000001", "99999999", places=8).map(float) | st.floats(1e-18, 1e18)
ordered_trades = st.lists(
    st.builds(
        lambda step, price, amount: (step, price, amount),
        st.sampled_from([0, 1, 13, 400, 999, 1000, 5_003, 59_999, 60_000, 61_000, 500_000, 4_000_000]),
        st.decimals("0.001", "1000", places=3).map(float),
        amounts,
    ),
    max_size=60,
)


@st.composite
def tapes(draw: st.DrawFn, *, jitter: int = 0) -> list[Trades]:
    """Messages with trades in order (each up to `jitter` ms earlier than that), and how far they are complete."""
    at, tape, batch = 0, [], []
    for step, price, amount in draw(ordered_trades):
        at += step
        early = draw(st.integers(0, jitter)) if jitter else 0
        batch.append(trade(max(0, at - early), price, amount))
        if draw(st.booleans()):
            tape.append(message(*batch, until=draw(st.sampled_from([None, at]))))
            batch = []
            if draw(st.integers(0, 5)) == 0:
                at += draw(st.sampled_from([60_000, 200_000, 3_600_000]))
                tape.append(message(until=at))
    return [START, *tape, message(*batch)]


@given(tapes(), st.sets(st.sampled_from(sorted(LENGTHS)), min_size=1))
def test_candles_are_the_groups_of_their_trades(tape: list[Trades], names: set[str]) -> None:
    """Every interval that is over is told once, in order, without a hole; all of it complete."""
    buildings = begun(*names)
    said = run(buildings, *tape)
    assert not [each for _, each in said if isinstance(each, Late)]
    for name in names:
        ended = [each for timeframe, each in said if timeframe == name and isinstance(each, Ended)]
        groups: dict[int, list[Trade]] = {}
        for done in (each for sent in tape for each in sent.trades):
            groups.setdefault(done.timestamp - done.timestamp % LENGTHS[name], []).append(done)
        newest = max([*groups] + [sent.until for sent in tape if sent.until is not None])
        over = {opened: naive(group) for opened, group in groups.items() if opened + LENGTHS[name] <= newest}
        assert {each.since: values(each) for each in ended if each.bar is not None} == over
        edges = [each.since for each in ended] + [each.until for each in ended[-1:]]
        assert edges == sorted(set(edges))
        assert edges[:1] == ([DAY] if ended else [])
        assert all(a.until == b.since for a, b in pairwise(ended))
        assert all(each.complete for each in ended)
        last = buildings[name]
        if last.bar is not None:
            assert last.since is not None
            assert values(Ended(last.since, 0, last.bar, True)) == naive(groups[last.since])


@given(tapes(jitter=70_000), st.sampled_from(["1s", "1m", "3m"]))
def test_a_trade_of_an_interval_that_is_over_is_told_and_counted_nowhere(tape: list[Trades], name: str) -> None:
    """The naive way: what is earlier than the newest interval begun is late."""
    length, frontier = LENGTHS[name], DAY
    groups: dict[int, list[Trade]] = {}
    late: dict[tuple[int, int], int] = {}
    latest = -1
    for sent in tape:
        for done in sent.trades:
            opened = done.timestamp - done.timestamp % length
            if opened < frontier:
                # What follows the last trade has its price, up to the present interval.
                ends = max(opened + length, frontier) if opened >= latest else opened + length
                late[opened, ends] = late.get((opened, ends), 0) + 1
            else:
                frontier = opened
                groups.setdefault(opened, []).append(done)
            latest = max(latest, opened)
        if sent.until is not None:
            frontier = max(frontier, sent.until - sent.until % length)
    said = run(begun(name), *tape)
    built = {each.since: values(each) for _, each in said if isinstance(each, Ended) and each.bar is not None}
    assert built == {opened: naive(group) for opened, group in groups.items() if opened < frontier}
    told: dict[tuple[int, int], int] = {}
    for _, each in said:
        if isinstance(each, Late):
            told[each.since, each.until] = told.get((each.since, each.until), 0) + each.trades
    assert told == late


def candle(building: CandleBuilder, ended: Ended | None = None) -> Candle | None:
    """What is published of the open candle, or of one that has ended."""
    feed = Feed("candle", "x", "A/B", building.timeframe)
    if ended is not None:
        assert ended.bar is not None
        return candle_of(feed, ended.since, ended.bar, closed=True, complete=ended.complete)
    if building.bar is None:
        return None
    assert building.since is not None
    return candle_of(feed, building.since, building.bar, closed=False, complete=building.complete)


plain = st.decimals("0.00001", "9999", places=5).map(float)


@given(st.data(), st.sampled_from(["1s", "1m", "1h"]))
def test_whoever_takes_over_closes_the_same_candles(data: st.DataObject, name: str) -> None:
    """After any published message of a former owner, a new one that reads the tape tells what is still to be told."""
    tape = [
        Trades(
            exchange="x",
            symbol="A/B",
            trades=[
                Trade(id=None, timestamp=each.timestamp, side=None, price=each.price, amount=data.draw(plain))
                for each in sent.trades
            ],
            received=0,
            until=sent.until,
        )
        for sent in data.draw(tapes())
    ]
    building = CandleBuilder.begin(name, 0, DAY)
    published: list[tuple[Candle, int]] = []
    closed: list[Candle] = []
    for sequence, sent in enumerate(tape, 1):
        for _, each in fold({name: building}, grain_of([name]), sequence, sent):
            if isinstance(each, Ended) and each.bar is not None:
                made = candle(building, each)
                assert made is not None
                closed.append(made)
                published.append((made, len(closed)))
        made = candle(building)
        if made is not None:
            published.append((made, len(closed)))
    if not published:
        return
    last, told = data.draw(st.sampled_from(published))
    successor = CandleBuilder.resume(last)
    again = run({name: successor}, *tape)
    assert not [each for _, each in again if isinstance(each, Late)]
    rest = [candle(successor, each) for _, each in again if isinstance(each, Ended) and each.bar is not None]
    assert rest == closed[told:]
    assert candle(successor) == candle(building)


@given(st.data(), st.sampled_from(["1s", "1m", "3m"]))
def test_no_candle_that_lost_a_trade_in_a_gap_is_said_to_be_complete(data: st.DataObject, name: str) -> None:
    """A run of trades is taken away and a gap named instead: what is complete is right, and no interval is left out."""
    tape = [sent for sent in data.draw(tapes()) if sent.trades or sent is START]
    trades = [each for sent in tape for each in sent.trades]
    if len(trades) < 3:
        return
    start = data.draw(st.integers(1, len(trades) - 2))
    end = data.draw(st.integers(start + 1, len(trades) - 1))
    bounded = data.draw(st.booleans())
    gap: Gap | None = Gap(
        since=trades[start - 1].timestamp if bounded else None,
        until=trades[end].timestamp if bounded else None,
        after_id="1",
        before_id="2",
    )
    size = data.draw(st.integers(1, 9))
    before, after = trades[:start], trades[end:]
    messages = [START, *(message(*before[at : at + size]) for at in range(0, len(before), size))]
    if data.draw(st.booleans()):
        messages.append(message(gap=gap))
        gap = None
    messages += [message(*after[at : at + size], gap=None if at else gap) for at in range(0, len(after), size)]
    length = LENGTHS[name]
    ended = [each for _, each in run(begun(name), *messages) if isinstance(each, Ended)]
    groups: dict[int, list[Trade]] = {}
    for done in trades:
        groups.setdefault(done.timestamp - done.timestamp % length, []).append(done)
    for each in ended:
        if each.complete and each.bar is not None:
            assert values(each) == naive(groups[each.since])
        elif each.complete:
            assert not [opened for opened in groups if each.since <= opened < each.until]
    assert all(a.until == b.since for a, b in pairwise(ended))
    touched = range(
        trades[start - 1].timestamp - trades[start - 1].timestamp % length, trades[end].timestamp + 1, length
    )
    incomplete = {at for each in ended if not each.complete for at in range(each.since, each.until, length)}
    # Not more than what the gap touches.
    assert incomplete <= set(touched)


# ---- by hand


def test_a_minute_ends_with_the_first_trade_after_it() -> None:
    """The trade at the boundary itself is the next minute's."""
    said = run(begun("1m"), START, message(trade(0, 5.0), trade(59_999, 4.0, 0.5)), message(trade(60_000, 9.0)))
    assert minutes(said) == [(0, 1, (5.0, 5.0, 4.0, 4.0, 1.5, 2), True)]


def test_a_quiet_minute_ends_when_the_tape_says_that_it_is_complete() -> None:
    """Not a millisecond earlier."""
    buildings = begun("1m")
    assert run(buildings, START, message(trade(1_000)), message(until=59_999)) == []
    assert minutes(run(buildings, message(until=60_000), sequence=4)) == [(0, 1, (1.0, 1.0, 1.0, 1.0, 1.0, 1), True)]


def test_minutes_without_trades_are_observed_and_have_no_candle() -> None:
    """They are told together."""
    said = run(begun("1m"), START, message(trade(0)), message(trade(300_000)))
    assert minutes(said) == [(0, 1, (1.0, 1.0, 1.0, 1.0, 1.0, 1), True), (1, 5, None, True)]


def test_volumes_are_summed_as_the_decimals_they_are_written_as() -> None:
    """Ten times 0.1 is 1, which is not so for floats."""
    said = run(begun("1m"), START, message(*(trade(at, amount=0.1) for at in range(10))), message(until=60_000))
    assert minutes(said)[0][2] == (1.0, 1.0, 1.0, 1.0, 1.0, 10)
    assert sum([0.1] * 10) != 1.0


def test_the_minute_within_which_it_began_is_incomplete() -> None:
    """Even when the first trade is at the minute's very start: others may have been before it in that millisecond."""
    for first in (0, 30_000):
        building = CandleBuilder.begin("1m", 0, 0)
        said = run({"1m": building}, message(trade(first)), message(trade(60_000)), message(until=120_000))
        assert [complete for _, _, _, complete in minutes(said)] == [False, True]


def test_a_tape_complete_up_to_a_boundary_makes_the_next_minute_complete() -> None:
    """As the trade feed does after each minute of a quiet market."""
    building = CandleBuilder.begin("1m", 0, 0)
    said = run({"1m": building}, message(until=60_000), message(trade(70_000)), message(until=120_000))
    assert minutes(said) == [(1, 2, (1.0, 1.0, 1.0, 1.0, 1.0, 1), True)]


def test_trades_before_the_first_interval_are_not_counted_and_not_late() -> None:
    """They prove that the tape reaches back far enough."""
    said = run(begun("1m"), message(trade(-70_000), trade(-1)), message(trade(0, 7.0)), message(until=60_000))
    assert said[0][1] == Ended(DAY, DAY + 60_000, said[0][1].bar, True)  # type: ignore[union-attr]
    assert minutes(said) == [(0, 1, (7.0, 7.0, 7.0, 7.0, 1.0, 1), True)]


def test_a_message_read_twice_counts_once() -> None:
    """By its sequence."""
    buildings = begun("1m")
    run(buildings, START, message(trade(0)))
    run(buildings, START, message(trade(0)), message(trade(1)))
    assert buildings["1m"].bar is not None
    assert buildings["1m"].bar.trades == 2


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        # Within the minute; to the next one; over whole minutes, of which nothing is known.
        (missing(10_000, 20_000), [(0, 1, False), (1, 3, True)]),
        (missing(10_000, 70_000), [(0, 1, False), (1, 2, False)]),
        (missing(10_000, 200_000), [(0, 1, False), (1, 3, False), (3, 4, False)]),
        # From a boundary on, and up to one: exclusive bounds.
        (missing(59_999, 120_000), [(0, 1, True), (1, 2, False), (2, 3, True)]),
        (missing(59_998, 60_001), [(0, 1, False), (1, 2, False)]),
        # Where trades are named, others of their millisecond may be missing.
        (
            msgspec.structs.replace(missing(59_999, 120_000), after_id="1", before_id="2"),
            [(0, 1, False), (1, 2, False), (2, 3, False)],
        ),
        # Unknown bounds: from the open minute on, and up to the trade that follows (at 3:20).
        (missing(None, 70_000), [(0, 1, False), (1, 2, False), (2, 3, True)]),
        (missing(10_000, None), [(0, 1, False), (1, 3, False), (3, 4, False)]),
        (missing(None, None), [(0, 1, False), (1, 3, False), (3, 4, False)]),
    ],
)
def test_what_a_gap_touches_is_incomplete(gap: Gap, expected: list[tuple[int, int, bool]]) -> None:
    """After a trade at 0:05, before one at 3:20."""
    for together in (True, False):
        messages = [message(trade(200_000), gap=gap)] if together else [message(gap=gap), message(trade(200_000))]
        said = run(begun("1m"), START, message(trade(5_000)), *messages, message(until=240_000))
        told = [(since, until, complete) for since, until, _, complete in minutes(said)]
        assert told[: len(expected)] == expected
        assert all(complete for _, _, complete in told[len(expected) :])


def test_a_gap_without_end_lasts_until_the_next_trade_whatever_gap_comes_before_it() -> None:
    """From 0:10 on nothing is known."""
    gaps = message(gap=missing(10_000, None)), message(gap=missing(70_000, 130_000))
    said = run(begun("1m"), START, message(trade(5_000)), *gaps, message(trade(200_000)))
    assert [(since, until, complete) for since, until, _, complete in minutes(said)] == [
        (0, 1, False),
        (1, 2, False),
        (2, 3, False),
    ]


def test_a_gap_that_reaches_into_an_interval_that_is_over_is_late() -> None:
    """Somebody said that it was complete, and was wrong."""
    said = run(begun("1m"), START, message(trade(5_000)), message(until=180_000), message(gap=missing(70_000, 190_000)))
    assert said[-1] == ("1m", Late(DAY + 60_000, DAY + 180_000, 0))


def test_timeframes_that_divide_a_day_are_built() -> None:
    """Weeks, months and three days begin elsewhere than a day."""
    names = ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M", "7m"]
    assert [name for name in names if not divides_a_day(name)] == ["3d", "1w", "1M", "7m"]
    assert grain_of(["15m", "1h", "4h"]) == 900_000
    assert grain_of(["6h", "8h"]) == 7_200_000
