"""Crypto.com's instruments and rows: trades, levels, candles, tickers, descriptions. No I/O.

Source of the fields: the answers that ccxt 4.5.90 quotes in its class, and the recorded messages that
tests/venues/cryptocom compares with. Numbers are texts. Trades of one order have one id, `d`, as recorded.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from tickwire.simulator.market import day
from tickwire.simulator.market.book import Side
from tickwire.simulator.market.candles import DerivedCandles, Row
from tickwire.simulator.market.contracts import quoted
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import amount_step, fixed, levels, price_step

INTERVALS = {each: each for each in ("1m", "5m", "15m", "30m", "1h", "4h", "6h", "12h", "1M")} | {
    "1D": "1d", "7D": "1w", "14D": "2w"}  # fmt: skip
"""Crypto.com's timeframes, by ccxt's."""
_PERPETUAL, _SETTLED = "USD-PERP", "USD"
_FIRST_ID = 4_611_686_018_000_000_000


def instruments(exchange: Exchange) -> dict[str, Instrument]:
    """Return the spot markets, then the perpetuals, by Crypto.com's names: `BTC_USDT`, `BTCUSD-PERP`."""
    markets = [each for each in exchange.instruments.values() if isinstance(each.candles, DerivedCandles)]
    spot = {f"{each.base}_{each.quote}": each for each in markets}
    perpetuals = {f"{each.base}{_PERPETUAL}": quoted(each, _SETTLED) for each in markets if each.quote == "USDT"}
    return {name: replace(each, intervals=tuple(INTERVALS.values())) for name, each in {**spot, **perpetuals}.items()}


def market(exchange: Exchange, symbol: str) -> Instrument | None:
    """Return the market with ccxt's symbol: `BTC/USDT`, `BTC/USD:USD`."""
    pair, _, settle = symbol.partition(":")
    base = pair.partition("/")[0]
    name = pair.replace("/", "_") if not settle else f"{base}{_PERPETUAL}" if pair == f"{base}/{settle}" else ""
    return instruments(exchange).get(name)


def trades(name: str, found: Instrument, picked: Trades) -> list[dict[str, Any]]:
    """Return trades as the channel has them, oldest first."""
    columns = zip(
        picked.agg.tolist(),
        picked.timestamp.tolist(),
        fixed(picked.price, found.units.price_decimals),
        fixed(picked.amount, found.units.amount_decimals),
        picked.sell.tolist(),
        strict=True,
    )
    return [
        {"d": str(_FIRST_ID + order), "t": time, "p": price, "q": amount, "s": "SELL" if sell else "BUY", "i": name}
        for order, time, price, amount, sell in columns
    ]


def side(found: Instrument, of: Side) -> list[list[str]]:
    """Return [price, amount, number of orders] of each level; amount 0 removes it."""
    return [[price, amount, "0" if amount == "0" else "1"] for price, amount in levels(found, of)]


def candle(row: Row) -> dict[str, Any]:
    """Return a candle."""
    opened, high, low, close, volume = row[1:6]
    return {"o": opened, "h": high, "l": low, "c": close, "v": volume, "t": row[0]}


def ticker(name: str, found: Instrument, now: int) -> dict[str, Any]:
    """Return a ticker: `a` is the last price, `b` and `k` the best ones, `c` the change of a day."""
    last, best = day.window(found, now), day.best(found, now)
    opened, close = Decimal(last.open), Decimal(last.close)
    change = (close - opened) / opened if opened else Decimal(0)
    return {"h": last.high, "l": last.low, "a": last.close, "c": f"{change:.4f}", "b": best.bid, "bs": best.bid_size,
            "k": best.ask, "ks": best.ask_size, "i": name, "v": last.volume, "vv": last.quote,
            "oi": "1000" if name.endswith(_PERPETUAL) else "0", "t": now}  # fmt: skip


def described(name: str, found: Instrument) -> dict[str, Any]:
    """Return what `get-instruments` says about an instrument."""
    is_spot = not name.endswith(_PERPETUAL)
    own: dict[str, Any] = {} if is_spot else {"underlying_symbol": f"{found.base}USD-INDEX", "contract_size": "1"}
    return {
        "symbol": name, "inst_type": "CCY_PAIR" if is_spot else "PERPETUAL_SWAP",
        "display_name": f"{found.base}/{found.quote}" if is_spot else f"{found.base}USD Perpetual",
        "base_ccy": found.base, "quote_ccy": found.quote, "quote_decimals": found.units.price_decimals,
        "quantity_decimals": found.units.amount_decimals, "price_tick_size": price_step(found),
        "qty_tick_size": amount_step(found), "max_leverage": "50", "tradable": True, "expiry_timestamp_ms": 0,
        "beta_product": False, **own, "margin_buy_enabled": False, "margin_sell_enabled": is_spot,
    }  # fmt: skip
