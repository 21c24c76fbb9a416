"""Gate's instruments and rows: trades, levels, candles, tickers, descriptions. No I/O.

Source of the fields: "Gate API v4", "Spot WebSocket v4" and "Futures WebSocket v4" as of 2025, and published frames of
2026. Sizes of contracts are texts where Gate writes them so to clients that send `X-Gate-Size-Decimal: 1`: ccxt does.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tickwire.simulator.market import day
from tickwire.simulator.market.book import Side
from tickwire.simulator.market.candles import Row
from tickwire.simulator.market.contracts import contract, window_volume
from tickwire.simulator.market.decimal_texts import short
from tickwire.simulator.market.exchange import Exchange, Instrument, Terms
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import TradeRow, amount_step, levels, listed_at, number, price_step, trade_rows

SPOT, SETTLES = "spot", ("usdt", "btc")
INTERVALS = {"1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1h", "2h": "2h", "4h": "4h", "8h": "8h",
             "1d": "1d", "7d": "1w"}  # fmt: skip
"""Gate's intervals, by the timeframe each stands for. Those below a minute are not simulated."""
WEEK_OPENS_MS = 3 * 86_400_000
""""`7d` means every 7d since unix 0": on Thursday, so long after other weeks."""
_SIZES = {"BTC": Decimal("0.0001"), "ETH": Decimal("0.01")}
"""`quanto_multiplier` of linear contracts; 1 of all others."""
_INVERSE = Terms(Decimal(1), inverse=True)
_FUNDING_S = 28_800


def listed(exchange: Exchange, kind: str) -> list[Instrument]:
    """Return the spot markets, or the perpetual contracts by their settlement currency: `usdt`, `btc`."""
    markets = list(exchange.instruments.values())
    if kind == SPOT:
        return markets
    if kind == "btc":
        made = [contract(exchange, each, _INVERSE) for each in markets if each.base == "BTC"]
    else:
        made = [contract(exchange, each, Terms(_SIZES.get(each.base, Decimal(1)), inverse=False)) for each in markets]
    return [each for each in made if each is not None]


def instrument(exchange: Exchange, kind: str, name: str) -> Instrument | None:
    """Return the instrument with Gate's name: `BTC_USDT`, inverse `BTC_USD`."""
    return next((each for each in listed(exchange, kind) if name_of(each) == name), None)


def name_of(found: Instrument) -> str:
    """Return Gate's name of an instrument."""
    return f"{found.base}_{found.quote}"


def _fraction(row: TradeRow) -> str:
    """Return a time with six decimals of a millisecond; the market has none, so its id gives some."""
    return f"{row.timestamp}.{row.id % 1_000:03d}000"


def _seconds(ms: int) -> Any:
    return number(f"{ms // 1000}.{ms % 1000:03d}")


def live_trades(found: Instrument, trades: Trades) -> list[dict[str, Any]]:
    """Return trades as sockets have them, oldest first."""
    name, rows = name_of(found), trade_rows(found, trades)
    if found.terms is None:
        return [
            {"id": row.id, "id_market": row.id, "create_time": row.timestamp // 1000, "create_time_ms": _fraction(row),
             "side": "sell" if row.sell else "buy", "currency_pair": name, "amount": row.amount, "price": row.price,
             "range": f"{row.id}-{row.id}", "stock": found.base, "money": found.quote, "trade_mode": 0}
            for row in rows
        ]  # fmt: skip
    return [
        {"size": _signed(row), "id": row.id, "create_time": row.timestamp // 1000, "create_time_ms": row.timestamp,
         "price": row.price, "contract": name}
        for row in rows
    ]  # fmt: skip


def past_trades(found: Instrument, trades: Trades) -> list[dict[str, Any]]:
    """Return trades as REST has them, oldest first."""
    name, rows = name_of(found), trade_rows(found, trades)
    if found.terms is None:
        return [
            {"id": str(row.id), "create_time": str(row.timestamp // 1000), "create_time_ms": _fraction(row),
             "currency_pair": name, "side": "sell" if row.sell else "buy", "amount": row.amount, "price": row.price,
             "sequence_id": str(row.id)}
            for row in rows
        ]  # fmt: skip
    return [
        {"id": row.id, "create_time": _seconds(row.timestamp), "create_time_ms": _seconds(row.timestamp),
         "contract": name, "size": _signed(row), "price": row.price}
        for row in rows
    ]  # fmt: skip


def _signed(row: TradeRow) -> str:
    return f"-{row.amount}" if row.sell else row.amount


def sides(found: Instrument, bids: Side, asks: Side) -> tuple[list[Any], list[Any]]:
    """Return bids and asks: [price, amount] of spot markets, {"p", "s"} of contracts."""
    pairs = levels(found, bids), levels(found, asks)
    if found.terms is None:
        return pairs
    bid_levels, ask_levels = ([{"p": price, "s": size} for price, size in side] for side in pairs)
    return bid_levels, ask_levels


def _quote(found: Instrument, row: Row) -> str:
    """Return the volume of a candle in quote currency."""
    if found.terms is None:
        return short(row[7])
    return short(row[5] if found.terms.inverse else f"{Decimal(row[7]) * found.terms.size:f}")


def past_candle(found: Instrument, row: Row, now: int) -> Any:
    """Return a candle as REST has it: a list for spot markets, an object for contracts."""
    opened, high, low, close = (short(row[place]) for place in range(1, 5))
    at = int(row[0]) // 1000
    if found.terms is None:
        closed = "true" if int(row[6]) < now else "false"
        return [str(at), _quote(found, row), close, high, low, opened, short(row[5]), closed]
    return {"o": opened, "v": int(Decimal(row[5])), "t": at, "c": close, "l": low, "h": high,
            "sum": _quote(found, row)}  # fmt: skip


def live_candle(found: Instrument, name: str, row: Row, *, closed: bool) -> Any:
    """Return a candle of the subscription `name` as sockets have it."""
    opened, high, low, close = (short(row[place]) for place in range(1, 5))
    at, spot = int(row[0]) // 1000, found.terms is None
    prices = {"c": close, "h": high, "l": low, "o": opened, "n": name}
    if spot:
        return {"t": str(at), "v": _quote(found, row), **prices, "a": short(row[5]), "w": closed}
    return {"t": at, "v": int(Decimal(row[5])), **prices, "a": _quote(found, row)}


def ticker(found: Instrument, now: int, *, rest: bool) -> dict[str, Any]:
    """Return a ticker. Those of contracts have the best prices by REST alone."""
    last, best = day.window(found, now), day.best(found, now)
    opened, close = Decimal(last.open), Decimal(last.close)
    change = f"{(close - opened) / opened * 100 if opened else Decimal(0):.4f}"
    price, high, low = short(last.close), short(last.high), short(last.low)
    if found.terms is None:
        return {"currency_pair": name_of(found), "last": price, "lowest_ask": short(best.ask),
                "highest_bid": short(best.bid), "change_percentage": change, "base_volume": short(last.volume),
                "quote_volume": short(last.quote), "high_24h": high, "low_24h": low}  # fmt: skip
    base = f"{window_volume(found, now - day.DAY_MS + 1, now + 1):f}"
    quote = last.volume if found.terms.inverse else f"{Decimal(last.quote) * found.terms.size:f}"
    settled = base if found.terms.inverse else quote
    whole = {name: str(int(Decimal(value))) for name, value in
             (("volume_24h", last.volume), ("volume_24h_base", base), ("volume_24h_quote", quote),
              ("volume_24h_settle", settled))}  # fmt: skip
    best_prices = {"lowest_ask": short(best.ask), "highest_bid": short(best.bid)} if rest else {}
    return {"contract": name_of(found), "last": price, "change_percentage": change, "total_size": "153482780", **whole,
            "mark_price": price, "funding_rate": "0.0001", "funding_rate_indicative": "0.0001", "index_price": price,
            "quanto_base_rate": "", "low_24h": low, "high_24h": high, **best_prices}  # fmt: skip


def best_prices(found: Instrument, now: int, update: int) -> dict[str, Any]:
    """Return the best prices and sizes (`book_ticker`)."""
    best = day.best(found, now)
    return {"t": now, "u": update, "s": name_of(found), "b": short(best.bid), "B": short(best.bid_size),
            "a": short(best.ask), "A": short(best.ask_size)}  # fmt: skip


def described(found: Instrument, now: int) -> dict[str, Any]:
    """Return what `spot/currency_pairs` or `futures/{settle}/contracts` says about an instrument."""
    name, listed_s, units = name_of(found), listed_at(found) // 1000, found.units
    if found.terms is None:
        return {"id": name, "base": found.base, "base_name": found.base, "quote": found.quote,
                "quote_name": found.quote, "fee": "0.2", "min_base_amount": amount_step(found),
                "min_quote_amount": "3", "max_quote_amount": "5000000", "amount_precision": units.amount_decimals,
                "precision": units.price_decimals, "trade_status": "tradable", "sell_start": listed_s,
                "buy_start": listed_s, "delisting_time": 0, "type": "normal",
                "trade_url": f"https://www.gate.com/trade/{name}", "st_tag": False}  # fmt: skip
    price, inverse = short(day.window(found, now).close), found.terms.inverse
    next_s = now // 1000 // _FUNDING_S * _FUNDING_S + _FUNDING_S
    return {"name": name, "type": "inverse" if inverse else "direct",
            "quanto_multiplier": "0" if inverse else f"{found.terms.size}", "ref_discount_rate": "0",
            "order_price_deviate": "0.2", "maintenance_rate": "0.004", "mark_type": "index", "last_price": price,
            "mark_price": price, "index_price": price, "funding_rate_indicative": "0.0001",
            "mark_price_round": price_step(found), "funding_offset": 0, "in_delisting": False,
            "risk_limit_base": "1000000", "interest_rate": "0.0003", "order_price_round": price_step(found),
            "order_size_min": amount_step(found), "enable_decimal": False, "ref_rebate_rate": "0.2",
            "funding_interval": _FUNDING_S, "risk_limit_step": "1000000", "leverage_min": "1", "leverage_max": "100",
            "risk_limit_max": "8000000", "maker_fee_rate": "-0.00025", "taker_fee_rate": "0.00075",
            "funding_rate": "0.0001", "order_size_max": "1000000", "funding_next_apply": next_s, "short_users": 977,
            "config_change_time": listed_s, "trade_size": 28_530_850_594, "position_size": 5_223_816,
            "long_users": 455, "funding_impact_value": "60000", "orders_limit": 50, "trade_id": 10_851_092,
            "orderbook_id": 2_129_638_396, "enable_bonus": True, "enable_credit": True, "create_time": listed_s,
            "funding_cap_ratio": "0.75", "status": "trading", "launch_time": listed_s}  # fmt: skip
