"""Candles of any tape, against a naive group-by in decimals; gaps, lateness and takeovers lose no trade unnoticed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candles.folded import DAY, LENGTHS, START, Values, begun, message, run, trade, values
from tickwire.model.feeds import Candle, Feed, Gap, Trade, Trades
from tickwire.streamer.candles.builder import CandleBuilder, Ended, Late, candle_of, fold
from tickwire.streamer.candles.partial_candles import grain_of

pytestmark = pytest.mark.pure


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
