"""A trade is recognized by its content where live and REST give it different ids."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.trading import START, trade, trades
from tickwire.exchange.ccxt_patches import exact_json
from tickwire.exchange.past_trades import PageRequest
from tickwire.model.feeds import Trade
from tickwire.streamer.trades.by_content import OrderingByContent
from tickwire.streamer.trades.content_identity import Identity
from tickwire.streamer.trades.ordering import PageResult
from tickwire.streamer.trades.repair_plan import next_request
from tickwire.venues.registry import profile_of

pytestmark = pytest.mark.pure


def foreign(some: list[Trade]) -> list[Trade]:
    """The same trades as REST tells them: by other ids."""
    return [msgspec.structs.replace(each, id=f"rest-{each.id}") for each in some]


def contents(some: list[Trade]) -> list[Trade]:
    """Trades but for their ids."""
    return [msgspec.structs.replace(each, id=None) for each in some]


@given(st.integers(-(10**40), 10**40))
def test_an_integer_keeps_every_digit(number: int) -> None:
    assert exact_json.loads(f'{{"id":{number}}}') == {"id": number}


@pytest.mark.parametrize("text", ["{", "", '{"a":NaN}', "[" * 3_000, '{"a":1e999}', '"\\ud800"', '{"a":' + "1" * 9_999])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        exact_json.loads(text)


def test_other_ids_by_rest_are_noticed_by_the_first_page_that_overlaps() -> None:
    order = OrderingByContent(trades(0, 20))
    order.interrupted()
    assert order.offer(trades(30, 35), 1) == []
    runs, answer = order.take_page(foreign(trades(15, 40)), 2, "no")
    assert answer is PageResult.COMPLETE
    assert [run.gap for run in runs] == [None] * len(runs)
    assert contents([each for run in runs for each in run.trades]) == contents(trades(20, 35))
    assert order.identity.by_id is False


def test_a_trade_that_comes_live_after_rest_told_it_by_another_id_is_one() -> None:
    """Nothing overlaps the page when it comes: it shows by the next live trade."""
    order = OrderingByContent(until=START)
    runs, _ = order.take_page(foreign(trades(1, 5)), 1, "no", START)
    assert len(runs) == 1
    assert order.resume() == []
    (run,) = order.offer([trade(4), trade(5)], 2)
    assert run.trades == [trade(5)]
    assert order.duplicates == 1


def alike(*ids: str, at: int = 0) -> list[Trade]:
    """Trades that differ in their ids alone."""
    return [Trade(id=each, timestamp=START + at, side="buy", price=1.0, amount=1.0) for each in ids]


def test_trades_that_say_the_same_are_as_many_as_there_were_where_ids_differ() -> None:
    order = OrderingByContent(alike("a", "b"), identity=Identity(False))
    order.interrupted()
    runs, _ = order.take_page(alike("1", "2", "3"), 1, "no")
    assert [each.id for run in runs for each in run.trades] == ["3"]


def test_trades_that_say_the_same_are_told_apart_by_shared_ids() -> None:
    order = OrderingByContent(alike("a"))
    order.interrupted()
    assert order.offer(alike("c"), 1) == []
    runs, answer = order.take_page(alike("a", "b", "c"), 1, "no")
    assert answer is PageResult.COMPLETE
    assert [each.id for run in runs for each in run.trades] == ["b", "c"]
    assert order.identity.by_id


def test_a_trade_that_the_feed_repeats_is_no_other_one_though_content_decides() -> None:
    order = OrderingByContent(identity=Identity(False))
    (run,) = order.offer([*alike("a"), *alike("a", "b"), *alike("a")], 1)
    assert [each.id for each in run.trades] == ["a", "b"]
    assert order.duplicates == 2
    order.interrupted()
    assert order.offer(alike("a", "b", "c"), 1) == []
    runs, _ = order.take_page(alike("1", "2", "3"), 1, "no")
    assert [each.id for run in runs for each in run.trades] == ["c"]


def test_trades_of_one_order_that_have_its_id_are_each_on_the_tape_live_and_by_rest() -> None:
    """Recorded at Crypto.com: four trades of one id, of which two say the same."""
    order = OrderingByContent(identity=Identity(True, unique=False))
    first, second, third = alike("x", "x", "x"), alike("y", "y", at=5), alike("z", at=9)
    assert [each.trades for each in order.offer(first, 1)] == [first]
    order.interrupted()
    assert order.offer(third, 2) == []
    runs, answer = order.take_page([*first, *second, *third], 3, "no", START)
    assert answer is PageResult.COMPLETE
    assert [each for run in runs for each in run.trades] == [*second, *third]
    assert [run.gap for run in runs] == [None] * len(runs)
    assert order.duplicates == 0


def test_declared_ids_are_never_doubted() -> None:
    order = OrderingByContent(trades(0, 20), identity=Identity(True))
    order.interrupted()
    order.take_page(foreign(trades(15, 20)), 2, "no")
    assert order.identity.by_id


@given(
    st.lists(st.integers(0, 700), min_size=12, max_size=60),
    st.integers(2, 10), st.integers(0, 8), st.integers(0, 6), st.booleans(),
)  # fmt: skip
def test_timestamps_in_whole_seconds_by_rest_lose_and_double_nothing(
    steps: list[int], before: int, lost: int, early: int, shared: bool
) -> None:
    """bitstamp: `date` by REST, `microtimestamp` live; and as if its ids were others, too. No two trades are equal."""
    market = [
        Trade(id=str(place), timestamp=START + 37 + sum(steps[: place + 1]), side="buy", price=1.0 + place, amount=1.0)
        for place in range(len(steps))
    ]
    rest = [
        msgspec.structs.replace(
            each, timestamp=each.timestamp // 1000 * 1000, id=each.id if shared else f"r{int(each.id or 0):05d}"
        )
        for each in market
    ]
    order = OrderingByContent(identity=Identity(shared, 1000))
    tape = [each for run in order.offer(market[:before], 1) for each in run.trades]
    order.interrupted()
    back = before + lost
    assert order.offer(market[back : back + early], 1) == []
    for _ in range(20):
        ask: PageRequest = next_request(order, 0, 1000)
        page = [each for each in rest if each.timestamp >= (ask.since or 0)]
        runs, answer = order.take_page(page[: back + early], 2, "no", ask.floor)
        assert all(run.gap is None for run in runs)
        tape += [each for run in runs for each in run.trades]
        if answer is PageResult.COMPLETE:
            break
    tape += [each for run in order.resume() for each in run.trades]
    tape += [each for run in order.offer(market[back + early :], 3) for each in run.trades]
    assert sorted(each.price for each in tape) == [each.price for each in market]


@given(st.lists(st.integers(0, 700), min_size=12, max_size=60), st.integers(2, 10), st.integers(1, 30))
def test_a_gap_before_a_trade_in_whole_seconds_contains_all_that_is_missing(
    steps: list[int], before: int, gone: int
) -> None:
    """bitget and bitstamp: what REST stamps with the beginning of a second may have happened at its end."""
    market = [
        Trade(id=str(place), timestamp=START + 37 + sum(steps[: place + 1]), side="buy", price=1.0 + place, amount=1.0)
        for place in range(len(steps))
    ]
    rest = [msgspec.structs.replace(each, timestamp=each.timestamp // 1000 * 1000) for each in market]
    order = OrderingByContent(identity=Identity(True, 1000))
    order.offer(market[:before], 1)
    order.interrupted()
    # REST does not go back far enough.
    page = rest[min(before + gone, len(rest) - 1) :]
    runs, _ = order.take_page(page, 2, "too old")
    missing = market[before : len(market) - len(page)]
    gaps = [run.gap for run in runs if run.gap is not None]
    assert len(gaps) <= 1
    for each in missing:
        # Of two trades within one ms either may be called the first.
        assert gaps
        assert (gaps[0].since or 0) <= each.timestamp <= (gaps[0].until or 0)


@pytest.mark.parametrize(("exchange", "shared"), [("htx", False), ("mexc", False), ("kucoin", False), ("okx", True),
                                                  ("coinbase", True), ("kraken", None), ("p2b", None)])  # fmt: skip
def test_what_is_known_of_ids_is_declared_and_nothing_else(exchange: str, shared: bool | None) -> None:
    assert profile_of(exchange).trades.ids_shared is shared
    assert math.isfinite(profile_of(exchange).trades.resolution_ms or 1)
