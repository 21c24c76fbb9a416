"""Rows in KuCoin's form: trades, levels, candles, tickers, descriptions. No I/O.

Source of the fields: KuCoin's documentation, "Spot Trading, Market Data" and "Public Channels", as of 2025, and the
recorded messages that tests/venues/kucoin compares with. Numbers are decimal texts without zeros at their end; those of
a market's snapshot are JSON numbers.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tickwire.model import timeframes
from tickwire.simulator.market import day as market_day
from tickwire.simulator.market.book import Side
from tickwire.simulator.market.candle_pages import PageStyle
from tickwire.simulator.market.candles import Row
from tickwire.simulator.market.decimal_texts import short
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import amount_step, levels, listed_at, number, price_step, trade_rows, uuid_of

INTERVALS = {"1min": "1m", "3min": "3m", "5min": "5m", "15min": "15m", "30min": "30m", "1hour": "1h", "2hour": "2h",
             "4hour": "4h", "6hour": "6h", "8hour": "8h", "12hour": "12h", "1day": "1d", "1week": "1w",
             "1month": "1M"}  # fmt: skip
"""KuCoin's intervals, by the timeframe each stands for."""
THURSDAY_MS = 3 * 86_400_000
"""From the opening of a week on Monday to that on Thursday, where weeks are counted from the epoch."""
_FIRST_ID = 11_067_996_000_000_000
_NS_PER_MS = 1_000_000


def name_of(found: Instrument) -> str:
    """Return KuCoin's name of an instrument: `BTC-USDT`."""
    return f"{found.base}-{found.quote}"


def instrument(exchange: Exchange, name: str) -> Instrument | None:
    """Return the instrument with KuCoin's name."""
    found = exchange.instrument(name)
    return found if found is not None and name_of(found) == name else None


def past_trades(found: Instrument, trades: Trades) -> list[dict[str, Any]]:
    """Return trades as REST has them, oldest first: without an id, their time a number of nanoseconds."""
    return [
        {"sequence": str(_FIRST_ID + row.id), "price": row.price, "size": row.amount,
         "side": "sell" if row.sell else "buy", "time": row.timestamp * _NS_PER_MS}
        for row in trade_rows(found, trades)
    ]  # fmt: skip


def live_trades(found: Instrument, trades: Trades) -> list[dict[str, str]]:
    """Return trades as the topic `/market/match` has them, oldest first, their time a text."""
    name = name_of(found)
    return [
        {"makerOrderId": _order_id(name, 2 * row.id), "price": row.price, "sequence": str(_FIRST_ID + row.id),
         "side": "sell" if row.sell else "buy", "size": row.amount, "symbol": name,
         "takerOrderId": _order_id(name, 2 * row.id + 1), "time": str(row.timestamp * _NS_PER_MS),
         "tradeId": str(_FIRST_ID + row.id), "type": "match"}
        for row in trade_rows(found, trades)
    ]  # fmt: skip


def _order_id(name: str, number: int) -> str:
    return uuid_of(name, number).replace("-", "")[:24]


def changed_levels(found: Instrument, side: Side, sequence: int) -> list[list[str]]:
    """Return [price, size, sequence] of each level that changed; size 0 removes a level."""
    return [[*level, str(sequence)] for level in levels(found, side)]


def style(interval: str) -> PageStyle:
    """Return how a page of candles is made."""
    return PageStyle(opens_at=THURSDAY_MS if interval == "1w" else 0, quiet=False)


def candle(row: Row) -> list[str]:
    """Return [open time in seconds, open, close, high, low, volume, turnover]."""
    opened, high, low, close, volume = (short(row[place]) for place in range(1, 6))
    return [str(int(row[0]) // 1000), opened, close, high, low, volume, short(row[7])]


def week(found: Instrument, now: int) -> list[str] | None:
    """Return the candle of the present week, as `candle` returns it; None before its first trade."""
    opened = timeframes.open_of("1w", now - THURSDAY_MS) + THURSDAY_MS
    so_far = found.candles.window(opened, now + 1, now)
    if so_far is None:
        return None
    texts = (so_far.open, so_far.close, so_far.high, so_far.low, so_far.volume, so_far.quote)
    return [str(opened // 1000), *(short(text) for text in texts)]


def _change(last: Decimal, opened: Decimal) -> tuple[str, str]:
    change = last - opened
    return f"{change / opened if opened else Decimal(0):.4f}", f"{change.normalize():f}"


def day(found: Instrument, now: int) -> dict[str, str]:
    """Return the last 24 hours and the best prices, as texts."""
    last, best = market_day.window(found, now), market_day.best(found, now)
    rate, change = _change(Decimal(last.close), Decimal(last.open))
    volume = Decimal(last.volume)
    average = f"{Decimal(last.quote) / volume if volume else Decimal(0):.8f}"
    return {"buy": short(best.bid), "sell": short(best.ask), "bestBidSize": short(best.bid_size),
            "bestAskSize": short(best.ask_size), "changeRate": rate, "changePrice": change, "high": short(last.high),
            "low": short(last.low), "vol": short(last.volume), "volValue": short(last.quote),
            "last": short(last.close), "size": short(market_day.last_amount(found, last)), "open": short(last.open),
            "averagePrice": short(average)}  # fmt: skip


_FEES = {"takerFeeRate": "0.001", "makerFeeRate": "0.001", "takerCoefficient": "1", "makerCoefficient": "1"}


def stats(found: Instrument, now: int) -> dict[str, Any]:
    """Return what "Get 24hr Stats" has."""
    fields = day(found, now)
    names = ("buy", "sell", "changeRate", "changePrice", "high", "low", "vol", "volValue", "last", "averagePrice")
    return {"time": now, "symbol": name_of(found), **{name: fields[name] for name in names}, **_FEES}


def all_tickers(found: Instrument, now: int) -> dict[str, Any]:
    """Return an instrument's part of "Get All Tickers"."""
    fields, sizes = stats(found, now), day(found, now)
    del fields["time"]
    return {"symbol": fields.pop("symbol"), "symbolName": name_of(found), **fields,
            "bestBidSize": sizes["bestBidSize"], "bestAskSize": sizes["bestAskSize"]}  # fmt: skip


def snapshot(found: Instrument, now: int) -> dict[str, Any]:
    """Return what the topic `/market/snapshot` has: numbers with more decimals than they need."""
    texts = day(found, now)
    fields: dict[str, Any] = {
        name: number(text if name in ("buy", "sell", "changeRate") else f"{Decimal(text):.20f}")
        for name, text in texts.items()
        if name not in ("last", "size", "bestBidSize", "bestAskSize", "averagePrice")
    }
    fields |= {
        "askSize": number(texts["bestAskSize"]), "averagePrice": number(texts["averagePrice"]),
        "baseCurrency": found.base, "bidSize": number(texts["bestBidSize"]), "board": 1,
        "close": number(texts["last"]), "datetime": now, "lastTradedPrice": number(texts["last"]), "mark": 0,
        "market": "USDS", "markets": ["USDS"], "quoteCurrency": found.quote, "sort": 100, "symbol": name_of(found),
        "symbolCode": name_of(found), "trading": True,
    }  # fmt: skip
    return dict(sorted(fields.items()))


def described(found: Instrument) -> dict[str, Any]:
    """Return what "Get All Symbols" says about an instrument."""
    name, lot = name_of(found), amount_step(found)
    return {
        "symbol": name, "name": name, "baseCurrency": found.base, "quoteCurrency": found.quote,
        "feeCurrency": found.quote, "market": "USDS", "baseMinSize": lot, "quoteMinSize": "0.1",
        "baseMaxSize": "10000000000", "quoteMaxSize": "99999999", "baseIncrement": lot,
        "quoteIncrement": "0.000001", "priceIncrement": price_step(found), "priceLimitRate": "0.1", "minFunds": "0.1",
        "isMarginEnabled": True, "enableTrading": True, "feeCategory": 1, "makerFeeCoefficient": "1.00",
        "takerFeeCoefficient": "1.00", "st": False, "callauctionIsEnabled": False, "callauctionPriceFloor": None,
        "callauctionPriceCeiling": None, "callauctionFirstStageStartTime": None,
        "callauctionSecondStageStartTime": None, "callauctionThirdStageStartTime": None,
        "tradingStartTime": listed_at(found) or None,
    }  # fmt: skip


def currency(code: str) -> dict[str, Any]:
    """Return what "Get All Currencies" says about a currency."""
    chain = {"chainName": code, "withdrawalMinSize": "0.001", "depositMinSize": "0.0002", "withdrawFeeRate": "0",
             "withdrawalMinFee": "0.0005", "isWithdrawEnabled": True, "isDepositEnabled": True, "confirms": 3,
             "preConfirms": 1, "contractAddress": "", "withdrawPrecision": 8, "maxWithdraw": None, "maxDeposit": None,
             "needTag": False, "chainId": code.lower()}  # fmt: skip
    return {"currency": code, "name": code, "fullName": code, "precision": 8, "confirms": None,
            "contractAddress": None, "isMarginEnabled": True, "isDebitEnabled": True, "chains": [chain]}  # fmt: skip
