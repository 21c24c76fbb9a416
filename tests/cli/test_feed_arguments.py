"""Which feeds the arguments of a command name, and which arguments are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tickwire.cli import arguments
from tickwire.errors import BadRequest, UnsupportedTimeframe
from tickwire.model.feeds import Feed

pytestmark = pytest.mark.pure


def test_every_combination_of_names_is_a_feed() -> None:
    assert arguments.feeds("candle", "binance,okx", "BTC/USDT", "1m,1h") == [
        Feed("candle", "binance", "BTC/USDT", "1m"),
        Feed("candle", "binance", "BTC/USDT", "1h"),
        Feed("candle", "okx", "BTC/USDT", "1m"),
        Feed("candle", "okx", "BTC/USDT", "1h"),
    ]
    assert arguments.feeds("trade", "binance", "A/B,C/D", None) == [
        Feed("trade", "binance", "A/B"),
        Feed("trade", "binance", "C/D"),
    ]


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("trades", "binance", "A/B", None), "did you mean trade?"),
        (("Candle", "binance", "A/B", None), "did you mean candle?"),
        (("xyz", "binance", "A/B", None), "trade, book, ticker, candle"),
        (("candle", "binance", "A/B", None), "such as 1m"),
        (("trade", "binance", "A/B", "1m"), "leave it out"),
        (("trade", "Binance", "A/B", None), "binance"),
        (("trade", "binance,", "A/B", None), "single commas"),
        (("trade", "binance", "", None), "single commas"),
    ],
)
def test_a_feed_that_cannot_be_meant_is_refused_with_the_remedy(words: tuple[Any, ...], remedy: str) -> None:
    with pytest.raises(BadRequest) as refused:
        arguments.feeds(*words)
    assert remedy in str(refused.value)


def test_a_timeframe_that_is_none_is_refused() -> None:
    with pytest.raises(UnsupportedTimeframe):
        arguments.feeds("candle", "binance", "A/B", "1x")
