"""Bybit's instruments and rows: trades, levels, candles, tickers, descriptions. No I/O.

Source of the fields: Bybit's documentation of its API v5, as of 2025, and the recorded messages that
tests/simulator/test_bybit.py compares with. Prices and sizes of trades and books have all decimals of their steps;
those of candles have no zeros at their end.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tickwire.simulator.market import day
from tickwire.simulator.market.candles import Row
from tickwire.simulator.market.contracts import contract, volume_of, window_volume
from tickwire.simulator.market.decimal_texts import short
from tickwire.simulator.market.exchange import Exchange, Instrument, Terms
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import amount_step, fixed, listed_at, price_step, trade_rows, uuid_of

CATEGORIES = ("spot", "linear", "inverse")
INTERVALS = {"1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h",
             "360": "6h", "720": "12h", "D": "1d", "W": "1w", "M": "1M"}  # fmt: skip
"""Bybit's intervals, by the timeframe each stands for."""
_USD_CONTRACT = Terms(Decimal(1), inverse=True)
_HOUR_MS = 3_600_000
_FUNDING_MS = 8 * _HOUR_MS


def instruments(exchange: Exchange, category: str) -> list[Instrument]:
    """Return the instruments of a category. A linear contract is in base currency, as its spot market is."""
    markets = exchange.instruments.values()
    if category == "inverse":
        made = (contract(exchange, each, _USD_CONTRACT) for each in markets)
        return [each for each in made if each is not None]
    return [each for each in markets if category == "spot" or (each.quote == "USDT" and each.history is not None)]


def instrument(exchange: Exchange, category: str, symbol: str) -> Instrument | None:
    """Return the instrument with Bybit's symbol: `BTCUSDT`, inverse `BTCUSD`."""
    return next((each for each in instruments(exchange, category) if each.id == symbol), None)


def _prices(found: Instrument, *texts: str) -> list[str]:
    """Return prices with the decimals of the tick."""
    decimals = found.units.price_decimals
    return [f"{Decimal(text):.{decimals}f}" for text in texts]


def trades(category: str, found: Instrument, trades: Trades) -> list[tuple[str, str, str, str, int]]:
    """Return (id, price, size, side, time) of trades. Ids of contracts have no order; those of spot markets count."""
    return [
        (f"229{row.id:016d}" if category == "spot" else uuid_of(f"{category} {found.id}", row.id), row.price,
         row.amount, "Sell" if row.sell else "Buy", row.timestamp)
        for row in trade_rows(found, trades, fixed)
    ]  # fmt: skip


def _turnover(found: Instrument, row: Row, now: int) -> str:
    """Return the turnover of a candle: in quote currency, of inverse contracts in base currency."""
    return short(row[7] if found.terms is None else f"{volume_of(found, row, now):.8f}")


def candle(found: Instrument, row: Row, now: int) -> list[str]:
    """Return [open time, open, high, low, close, volume, turnover]."""
    return [str(row[0]), *(short(row[place]) for place in range(1, 6)), _turnover(found, row, now)]


def ticker(category: str, found: Instrument, now: int) -> dict[str, str]:
    """Return all fields of a ticker, as REST has them."""
    last, best = day.window(found, now), day.best(found, now)
    hour = found.candles.window(now - _HOUR_MS, now + 1, now)
    before, close = Decimal(last.open), Decimal(last.close)
    change = f"{(close - before) / before if before else Decimal(0):.6f}"
    price, opened, high, low, bid, ask, hour_ago = _prices(
        found, last.close, last.open, last.high, last.low, best.bid, best.ask, hour.open if hour else last.close
    )
    sides = {"bid1Price": bid, "bid1Size": short(best.bid_size), "ask1Price": ask, "ask1Size": short(best.ask_size)}
    day_ago = now - day.DAY_MS
    turnover = last.quote if found.terms is None else f"{window_volume(found, day_ago + 1, now + 1):.8f}"
    sums = {"turnover24h": short(turnover), "volume24h": short(last.volume)}
    if category == "spot":
        return {"symbol": found.id, "lastPrice": price, "highPrice24h": high, "lowPrice24h": low,
                "prevPrice24h": opened, **sums, "price24hPcnt": change, "usdIndexPrice": price, **sides}  # fmt: skip
    return {"symbol": found.id, "tickDirection": "PlusTick" if close >= before else "MinusTick",
            "price24hPcnt": change, "lastPrice": price, "prevPrice24h": opened, "highPrice24h": high,
            "lowPrice24h": low, "prevPrice1h": hour_ago, "markPrice": price, "indexPrice": price,
            "openInterest": "1000", "openInterestValue": "1000", **sums,
            "nextFundingTime": str(now // _FUNDING_MS * _FUNDING_MS + _FUNDING_MS), "fundingRate": "0.0001",
            **sides}  # fmt: skip


def described(category: str, found: Instrument) -> dict[str, Any]:
    """Return what `instruments-info` says about an instrument."""
    lot = amount_step(found)
    described: dict[str, Any] = {"symbol": found.id, "baseCoin": found.base, "quoteCoin": found.quote}
    if category == "spot":
        sizes = {"basePrecision": lot, "quotePrecision": "0.00000001", "minOrderQty": lot, "maxOrderQty": "1000000",
                 "minOrderAmt": "1", "maxOrderAmt": "4000000"}  # fmt: skip
        return described | {"innovation": "0", "status": "Trading", "marginTrading": "none", "lotSizeFilter": sizes,
                            "priceFilter": {"tickSize": price_step(found)}}  # fmt: skip
    inverse = found.terms is not None
    sizes = {"maxOrderQty": "1000000", "minOrderQty": lot, "qtyStep": lot, "postOnlyMaxOrderQty": "1000000",
             "maxMktOrderQty": "500000"}  # fmt: skip
    return described | {
        "contractType": "InversePerpetual" if inverse else "LinearPerpetual", "status": "Trading",
        "launchTime": str(listed_at(found)), "deliveryTime": "0", "deliveryFeeRate": "",
        "priceScale": str(found.units.price_decimals),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": price_step(found), "maxPrice": "1999999.80", "tickSize": price_step(found)},
        "lotSizeFilter": sizes if inverse else sizes | {"minNotionalValue": "5"},
        "unifiedMarginTrade": True, "fundingInterval": 480, "settleCoin": found.base if inverse else found.quote,
    }  # fmt: skip
