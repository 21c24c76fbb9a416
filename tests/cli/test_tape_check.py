"""The demo's check of what it saw of a tape and of candles against the exchange's own."""

from __future__ import annotations

import pytest

from cli.feed_messages import NOON, candle, said, trade
from tickwire.cli.demo import verdict
from tickwire.model.feeds import Trade

pytestmark = pytest.mark.pure

TRUTH = [{"agg": 5 + n // 2, "price": 100.0 + n // 2, "amount": 0.5, "id": n, "timestamp": NOON} for n in range(8)]
"""Aggregate trades 5 to 8, of two raw trades of 0.5 each."""


def right(id_: int) -> Trade:
    return trade(id_, price=100.0 + id_ - 5, amount=1.0)


def test_all_trades_once_in_order_and_as_the_exchange_has_them_is_right() -> None:
    count = verdict.check_tape([said(right(5)), said(right(6), right(7), source="rest"), said(right(8))], TRUTH)
    assert count.right
    assert (count.first, count.last, count.trades, count.repaired) == (5, 8, 4, 2)
    assert "4 trades of binance BNB/USDT on the tape, ids 5 to 8: none missing, none twice" in count.summary


@pytest.mark.parametrize(
    ("ids", "missing", "twice"), [([5, 6, 8], 1, 0), ([5, 6, 6, 7], 0, 1), ([5, 7, 6, 8], 0, 1), ([5, 8], 2, 0)]
)
def test_what_is_missing_twice_or_out_of_order_is_counted(ids: list[int], missing: int, twice: int) -> None:
    count = verdict.check_tape([said(right(each)) for each in ids], TRUTH)
    assert not count.right
    assert (count.missing, count.twice, count.different) == (missing, twice, 0)


@pytest.mark.parametrize("wrong", [trade(6, price=101.5, amount=1.0), trade(6, price=101.0, amount=0.5), trade(9)])
def test_a_trade_that_the_exchange_has_otherwise_is_counted(wrong: Trade) -> None:
    assert verdict.check_tape([said(wrong)], TRUTH).different == 1


def test_nothing_at_all_is_not_right() -> None:
    assert not verdict.check_tape([], TRUTH).right


def test_candles_are_compared_with_the_exchanges_own() -> None:
    rows = [[NOON, 1, 4, 0.5, 2, 7], [NOON + 60_000, 1, 4, 0.5, 2, 7]]
    same, other, unknown = candle(), candle(NOON + 60_000, volume=7.1), candle(NOON + 120_000)
    assert verdict.unequal([same, other, unknown], rows) == [other, unknown]
