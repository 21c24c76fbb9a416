"""What Binance sends of contracts and not of spot markets."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tickwire.model.feeds import Trade
from tickwire.venues.binance import decode
from tickwire.venues.dialect import Decoded, NoTrade

pytestmark = pytest.mark.pure

# As seen by others on the public stream `btcusdt@trade` in 2026, `st` included.
TRADE = {"e": "trade", "E": 1785780046072, "T": 1785780046071, "s": "BTCUSDT", "t": 7950493455, "p": "63884.20",
         "q": "0.01", "X": "MARKET", "m": True, "st": 1}  # fmt: skip
# tardis-node's recorded frame of `btcusd_200925@ticker`: 1,967,607 contracts of 100 USD at 9,271.96 are 21,221.05 BTC.
DAY = {"e": "24hrTicker", "E": 1592265616654, "s": "BTCUSD_200925", "ps": "BTCUSD", "p": "72.9", "P": "0.773",
       "w": "9271.96027324", "c": "9504.9", "Q": "1", "o": "9432.0", "h": "9769.5", "l": "8621.4", "v": "1967607",
       "q": "21221.04648872", "O": 1592179200000, "C": 1592265616653, "F": 100191, "L": 173906, "n": 73715}  # fmt: skip


def decoded(frame: Any) -> Any:
    bare, combined = json.dumps(frame, separators=(",", ":")), {"stream": "x@y", "data": frame}
    found = decode(bare)
    assert decode(json.dumps(combined, separators=(",", ":"))) == found
    return found


def test_a_trade_of_the_order_book_is_a_trade() -> None:
    trade = Trade(id="7950493455", timestamp=1785780046071, side="sell", price=63884.2, amount=0.01)
    assert decoded(TRADE) == (Decoded("trade", "BTCUSDT", (trade,)),)


@pytest.mark.parametrize(
    "other",
    [
        {"X": "NA", "p": "0", "q": "0"},
        # About a tenth off the market's price, as reported.
        {"X": "INSURANCE_FUND", "p": "57495.78"},
        {"X": "ADL"},
        {"X": "UNHEARD_OF"},
    ],
)
def test_what_was_not_traded_in_the_order_book_is_no_trade_but_has_an_id(other: dict[str, str]) -> None:
    nothing = NoTrade(id="7950493455", timestamp=1785780046071)
    assert decoded(TRADE | other) == (Decoded("trade", "BTCUSDT", (nothing,)),)


def test_a_trade_of_the_market_without_a_price_is_malformed() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(json.dumps(TRADE | {"p": "0"}))


@pytest.mark.parametrize("symbol", ["BTCUSD_200925", "BTCUSD_PERP"])
@pytest.mark.parametrize("event", ["24hrTicker", "24hrMiniTicker"])
def test_the_volume_of_a_coin_m_ticker_is_in_base_currency(symbol: str, event: str) -> None:
    ((kind, market, (fields,), timeframe),) = decoded(DAY | {"e": event, "s": symbol})
    assert (kind, market, timeframe) == ("ticker", symbol, None)
    assert fields == {"timestamp": 1592265616654, "last": 9504.9, "open": 9432.0, "high": 9769.5, "low": 8621.4,
                      "volume": 21221.04648872}  # fmt: skip


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTCUSDT_260327", "BTCUSDC", "BNBBUSD"])
def test_the_volumes_of_other_tickers_are_in_base_and_quote_currency(symbol: str) -> None:
    # USD-M frames have `ps`, too, since both kinds share an infrastructure ("Individual Symbol Mini Ticker Stream").
    ((_, _, (fields,), _),) = decoded(DAY | {"s": symbol, "ps": "BTCUSDT"})
    assert (fields["volume"], fields["quote_volume"]) == (1967607, 21221.04648872)
