"""Deribit's instruments and rows: trades, levels, candles, tickers, descriptions. No I/O.

Source of the fields: Deribit's API documentation v2, "Market Data" and "Subscriptions", and the recorded messages that
tests/venues/deribit compares with. Numbers are JSON numbers with a decimal point.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec

from tickwire.simulator.market import day
from tickwire.simulator.market.book import FRAME_MS, Side, frame_of, last_update_id
from tickwire.simulator.market.candles import DerivedCandles, Row
from tickwire.simulator.market.contracts import contract, in_dollars, quoted, volume_of, window_volume
from tickwire.simulator.market.exchange import Exchange, Instrument, Terms
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import amount_step, levels, listed_at, price_step, trade_rows

RESOLUTIONS = {"1": "1m", "3": "3m", "5": "5m", "10": "10m", "15": "15m", "30": "30m", "60": "1h", "120": "2h",
               "180": "3h", "360": "6h", "720": "12h", "1D": "1d"}  # fmt: skip
"""Deribit's resolutions, by the timeframe each stands for."""
_INVERSE = {"BTC": Terms(Decimal(10), inverse=True), "ETH": Terms(Decimal(1), inverse=True)}
"""Inverse perpetuals: contracts of 10 USD (BTC) and 1 USD (ETH); amounts are in USD."""
_PERPETUAL = "-PERPETUAL"
_SETTLED = "USDC"
_NEVER = 32_503_708_800_000
"""The expiration of a perpetual."""


def instruments(exchange: Exchange) -> list[Instrument]:
    """Return the inverse perpetuals, then the linear ones; spot markets are not served."""
    markets = [each for each in exchange.instruments.values() if isinstance(each.candles, DerivedCandles)]
    made = (contract(exchange, each, _INVERSE[each.base]) for each in markets if each.base in _INVERSE)
    inverse = [in_dollars(each) for each in made if each is not None]
    linear = [quoted(each, _SETTLED) for each in markets if each.quote == "USDT"]
    return [replace(each, intervals=tuple(RESOLUTIONS.values())) for each in (*inverse, *linear)]


def instrument(exchange: Exchange, name: str) -> Instrument | None:
    """Return the instrument with Deribit's name: `BTC-PERPETUAL`, linear `BTC_USDC-PERPETUAL`."""
    return next((each for each in instruments(exchange) if name_of(each) == name), None)


def market(exchange: Exchange, symbol: str) -> Instrument | None:
    """Return the perpetual with ccxt's symbol: `BTC/USD:BTC`, `BTC/USDC:USDC`."""
    return next((each for each in instruments(exchange) if symbol in each.names and ":" in symbol), None)


def currency(found: Instrument) -> str:
    """Return the currency that an instrument is listed under: what it is settled in."""
    return found.base if found.terms else found.quote


def name_of(found: Instrument) -> str:
    """Return Deribit's name of an instrument."""
    return f"{found.base}{_PERPETUAL}" if found.terms else f"{found.base}_{found.quote}{_PERPETUAL}"


def number(text: Any) -> msgspec.Raw:
    """Return a decimal text as a JSON number with a decimal point."""
    digits = f"{Decimal(text).normalize():f}"
    return msgspec.Raw((digits if "." in digits else f"{digits}.0").encode())


def trade_id(found: Instrument, id_: int) -> str:
    """Return the id of a trade: unique per currency, so that those of one instrument have holes."""
    own = 3 * id_ + id_ * id_ % 3
    return str(own) if (found.base, found.terms is not None) == ("BTC", True) else f"{name_of(found)[:-10]}-{own}"


def trades(found: Instrument, rows: Trades, before: Decimal | None = None) -> list[dict[str, Any]]:
    """Return trades as REST and the channel have them, oldest first; `before` is the price before them."""
    size = found.terms.size if found.terms else Decimal(amount_step(found))
    made, direction, name = [], 0, name_of(found)
    for row in trade_rows(found, rows):
        price = Decimal(row.price)
        if before is not None and price != before:
            direction = 0 if price > before else 2
            tick = direction
        else:
            tick = direction + 1
        before, paid = price, number(price)
        made.append({
            "timestamp": row.timestamp, "price": paid, "amount": number(row.amount),
            "direction": "sell" if row.sell else "buy", "index_price": paid, "instrument_name": name,
            "trade_seq": row.id, "mark_price": paid, "tick_direction": tick,
            "contracts": number(Decimal(row.amount) / size), "trade_id": trade_id(found, row.id),
        })  # fmt: skip
    return made


def price_before(found: Instrument, id_: int) -> Decimal | None:
    """Return the price of the trade before one, if there is any."""
    assert found.history is not None
    rows = trade_rows(found, found.history.by_id(id_ - 1, id_)) if id_ > found.history.first_id else []
    return Decimal(rows[0].price) if rows else None


def side(found: Instrument, of: Side) -> list[list[Any]]:
    """Return [price, amount] of each level."""
    return [[number(price), number(amount)] for price, amount in levels(found, of)]


def changed(found: Instrument, before: Side, changes: Side) -> list[list[Any]]:
    """Return [action, price, amount] of each level that changed; amount 0 deletes it."""
    known = set(before[0].tolist())
    return [
        ["delete" if not raw else "change" if at in known else "new", price, amount]
        for at, raw, (price, amount) in zip(
            changes[0].tolist(), changes[1].tolist(), side(found, changes), strict=True
        )
    ]  # fmt: skip


def _base_volume(found: Instrument, row: Row, now: int) -> Any:
    return row[5] if found.terms is None else f"{volume_of(found, row, now):.8f}"


def candle(found: Instrument, row: Row, now: int) -> dict[str, Any]:
    """Return a candle as the channel has it: `volume` in base currency, `cost` in quote currency."""
    opened, high, low, close = map(number, row[1:5])
    return {"tick": row[0], "open": opened, "high": high, "low": low, "close": close,
            "volume": number(_base_volume(found, row, now)),
            "cost": number(row[7] if found.terms is None else row[5])}  # fmt: skip


def best(found: Instrument, now: int) -> dict[str, Any]:
    """Return the best price and amount of each side."""
    of = day.best(found, now)
    return {"best_ask_price": number(of.ask), "best_bid_price": number(of.bid),
            "best_ask_amount": number(of.ask_size), "best_bid_amount": number(of.bid_size)}  # fmt: skip


def ticker(found: Instrument, now: int) -> dict[str, Any]:
    """Return a ticker: `stats.volume` in base currency, `volume_usd` and `volume_notional` in quote currency."""
    last = day.window(found, now)
    close, opened = Decimal(last.close), Decimal(last.open)
    change = (close - opened) / opened * 100 if opened else Decimal(0)
    paid = number(close)
    base = last.volume if found.terms is None else f"{window_volume(found, now - day.DAY_MS + 1, now + 1):.8f}"
    quote = number(last.quote if found.terms is None else last.volume)
    stats = {"high": number(last.high), "low": number(last.low), "price_change": number(f"{change:.4f}"),
             "volume": number(base), "volume_usd": quote, "volume_notional": quote}  # fmt: skip
    return {
        "timestamp": now, "state": "open", "stats": stats, "index_price": paid, "instrument_name": name_of(found),
        "last_price": paid, "settlement_price": paid, "min_price": number(f"{close * Decimal('0.985'):.1f}"),
        "max_price": number(f"{close * Decimal('1.015'):.1f}"), "open_interest": number(1_000_000), "mark_price": paid,
        "interest_value": number("0.0028"), "estimated_delivery_price": paid, **best(found, now),
        "current_funding": number(0), "funding_8h": number("0.00001742"),
    }  # fmt: skip


def change_id(frame: int) -> int:
    """Return the id of the last change of the book in a frame."""
    return last_update_id(frame)


def frame_and_time(now: int) -> tuple[int, int]:
    """Return the frame of the book that is in force, and when it began (ms)."""
    return frame_of(now), frame_of(now) * FRAME_MS


def described(found: Instrument, place: int) -> dict[str, Any]:
    """Return what `get_instruments` says about an instrument."""
    inverse = found.terms is not None
    size = number(found.terms.size if found.terms else amount_step(found))
    lot, tick = Decimal(amount_step(found)), number(price_step(found))
    return {
        "price_index": f"{found.base}_{found.quote}".lower(), "kind": "future", "instrument_name": name_of(found),
        "max_leverage": 50, "maker_commission": number(0), "taker_commission": number("0.0005"),
        "instrument_type": "reversed" if inverse else "linear", "expiration_timestamp": _NEVER,
        "creation_timestamp": listed_at(found), "is_active": True, "tick_size": tick, "contract_size": size,
        "instrument_id": 124_972 + place, "min_trade_amount": number(lot),
        "future_type": "reversed" if inverse else "linear", "max_liquidation_commission": number("0.0075"),
        "block_trade_commission": number("0.00025"), "block_trade_min_trade_amount": 200_000,
        "block_trade_tick_size": number("0.01"), "settlement_currency": currency(found),
        "settlement_period": "perpetual", "base_currency": found.base, "counter_currency": found.quote,
        "quote_currency": found.quote, "tick_size_steps": [],
    }  # fmt: skip
