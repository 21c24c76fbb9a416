"""Numbers are checked where they enter: NaN, Infinity, negative ones and nonsense go no further, the others do."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.trading import ANY_TIME, START, Rest, row, trade
from tickwire.errors import BadRequest, InternalError
from tickwire.exchange.past_trades import PageRequest, PastTrades, Unanswered
from tickwire.model import messages, numbers
from tickwire.model.feeds import Candle, Feed, Trade, Trades
from tickwire.streamer.subscriptions.unified_mapper import Mapper
from tickwire.venues import binance
from tickwire.venues.profile import TradeFacts

pytestmark = pytest.mark.pure

NO_NUMBERS: list[Any] = [
    *("NaN", "nan", "Infinity", "-Infinity", math.nan, math.inf),
    *(-1, "-0.5", 1e300, None, "x", [], {}),
]


@pytest.mark.parametrize("said", [*NO_NUMBERS, 0, "0"])
def test_what_cannot_be_a_price_is_refused(said: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        numbers.price(said)


@pytest.mark.parametrize("said", NO_NUMBERS)
def test_what_cannot_be_an_amount_is_refused(said: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        numbers.amount(said)


def test_a_combination_alone_may_trade_at_zero_or_below() -> None:
    assert numbers.price("-12.5", "BTC-FS-27MAR26_PERP") == -12.5
    assert numbers.price(0, "BTC-FS-27MAR26_PERP") == 0.0
    for said in ("NaN", math.inf, -1e300):
        with pytest.raises(ValueError, match="a price of"):
            numbers.price(said, "BTC-FS-27MAR26_PERP")


@given(st.floats(min_value=1e-300, max_value=numbers.LARGEST), st.floats(min_value=0, max_value=numbers.LARGEST))
def test_every_other_number_is_taken_as_it_is_and_products_stay_finite(price: float, amount: float) -> None:
    assert numbers.price(str(price)) == numbers.price(price) == price
    assert numbers.amount(amount) == amount
    assert math.isfinite(price * amount * price)


AGGREGATE = '{"e":"aggTrade","E":1,"s":"BTCUSDT","a":1,"p":"%s","q":"%s","f":1,"l":1,"T":1,"m":true}'
DEPTH = '{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["%s","%s"]],"a":[]}'
KLINE = (
    '{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":0,"T":1,"s":"BTCUSDT","i":"1m","f":1,"L":1,"o":"%s","c":"1","h":"1",'
    '"l":"1","v":"%s","n":1,"x":false,"q":"1"}}'
)
DAY = (
    '{"e":"24hrMiniTicker","E":1,"s":"BTCUSDT","c":"%s","o":"1","h":"1","l":"1","v":"%s","q":"1"}'
)  # fmt: skip
BEST = '{"u":1,"s":"BTCUSDT","b":"%s","B":"%s","a":"2","A":"1"}'


@pytest.mark.parametrize("frame", [AGGREGATE, AGGREGATE.replace("aggTrade", "trade").replace('"a":1', '"t":1'), DEPTH,
                                   KLINE, DAY, BEST])  # fmt: skip
@pytest.mark.parametrize("said", ["NaN", "Infinity", "-Infinity", "-1", "1e999", "1e300"])
def test_a_decoder_refuses_a_frame_with_what_is_no_number(frame: str, said: str) -> None:
    assert binance.decode(frame % ("1", "1")) is not None
    for values in ((said, "1"), ("1", said)):
        with pytest.raises(msgspec.DecodeError):
            binance.decode(frame % values)


def unified(price: Any, amount: Any = 1.0, **more: Any) -> dict[str, Any]:
    """A trade as ccxt describes it."""
    return {"id": "1", "timestamp": 1, "symbol": "BTC/USDT", "side": "buy", "price": price, "amount": amount} | more


@pytest.mark.parametrize("said", NO_NUMBERS)
def test_of_ccxt_s_trades_only_the_bad_one_is_refused(said: Any) -> None:
    told: list[str] = []
    mapper = Mapper(Feed("trade", "okx", "BTC/USDT"), told.append)
    found = [unified(1.0, id="1"), unified(said, id="2"), unified(1.0, said, id="3"), unified(2.0, id="4")]
    assert [each.id for each in mapper.new(found)] == ["1", "4"]
    assert len(told) == 2


@pytest.mark.parametrize("said", NO_NUMBERS)
def test_of_ccxt_s_candles_only_the_bad_one_is_refused(said: Any) -> None:
    told: list[str] = []
    mapper = Mapper(Feed("candle", "okx", "BTC/USDT", "1m"), told.append)
    mapper.new([[0, 1, 1, 1, 1, 1]])
    made: list[Candle] = list(mapper.new([[0, 1, 1, 1, 1, 1], [60_000, 1, said, 1, 1, 1], [120_000, 2, 2, 2, 2, 2]]))
    assert [each.timestamp for each in made] == [0, 120_000]
    assert len(told) == 1


async def test_of_a_page_only_the_bad_trade_is_refused() -> None:
    told: list[str] = []
    rest = Rest([])
    rest.script = [[row(trade(1)), {**row(trade(2)), "price": math.nan}, row(trade(3))]]
    page = await PastTrades(rest, TradeFacts()).fetch("BTC/USDT", PageRequest(START, None), ANY_TIME, told.append)
    assert page == [trade(1), trade(3)]
    assert len(told) == 1


async def test_a_page_of_nothing_but_bad_trades_is_no_empty_page() -> None:
    rest = Rest([])
    rest.script = [[{**row(trade(2)), "price": "Infinity"}]] * 2
    with pytest.raises(Unanswered, match="cannot be read"):
        await PastTrades(rest, TradeFacts()).fetch("BTC/USDT", PageRequest(START, None), ANY_TIME, print)


@pytest.mark.parametrize("said", [math.nan, math.inf])
def test_no_message_is_encoded_that_nobody_can_decode(said: float) -> None:
    bad = Trade(id=None, timestamp=1, side=None, price=said, amount=1.0)
    with pytest.raises(InternalError, match="price"):
        messages.encode(Trades(exchange="binance", symbol="BTC/USDT", trades=[bad], received=1))
    good = Trades(exchange="binance", symbol="BTC/USDT", trades=[msgspec.structs.replace(bad, price=1.0)], received=1)
    assert messages.decode(messages.encode(good), Trades) == good


@pytest.mark.parametrize("said", [math.nan, math.inf])
def test_nulls_that_are_known_hide_no_number_that_is_none(said: float) -> None:
    bad = Trade(id="1", timestamp=1, side="buy", price=said, amount=1.0)
    message = Trades(exchange="binance", symbol="BTC/USDT", trades=[bad], received=1, until=1)
    # The gap is null.
    with pytest.raises(InternalError, match="price"):
        messages.encode(message, 1)


@pytest.mark.parametrize("said", ["1e300", "-1e300", "null", '"1"'])
@pytest.mark.parametrize("name", ["price", "amount"])
def test_a_trade_of_the_tape_whose_sums_would_not_be_finite_is_not_read(name: str, said: str) -> None:
    one = {"id": None, "timestamp": 1, "side": None, "price": 1, "amount": 1, name: json.loads(said)}
    data = json.dumps({"exchange": "binance", "symbol": "BTC/USDT", "received": 1, "trades": [one]})
    with pytest.raises(BadRequest, match=name):
        messages.decode(data.encode(), Trades)
