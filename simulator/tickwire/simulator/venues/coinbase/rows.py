"""Coinbase's products and rows: trades, levels, candles, tickers, descriptions. No I/O.

Source of the fields: Coinbase's documentation of Advanced Trade, "Public" endpoints and "WebSocket Channels", and the
recorded messages that tests/venues/coinbase/ compares with. Numbers are texts; times are ISO 8601 in microseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tickwire.simulator.market import day
from tickwire.simulator.market.book import Side
from tickwire.simulator.market.candles import Row
from tickwire.simulator.market.decimal_texts import short
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import amount_step, fixed, price_step, trade_rows

GRANULARITIES = {"ONE_MINUTE": "1m", "FIVE_MINUTE": "5m", "FIFTEEN_MINUTE": "15m", "THIRTY_MINUTE": "30m",
                 "ONE_HOUR": "1h", "TWO_HOUR": "2h", "FOUR_HOUR": "4h", "SIX_HOUR": "6h", "ONE_DAY": "1d"}  # fmt: skip
"""Coinbase's granularities, by the timeframe each stands for."""


class Product:
    """A product: an instrument, and the name by which Coinbase calls it. `alias` is the product whose book it has."""

    def __init__(self, of: Instrument, quote: str) -> None:
        self.of, self.quote = of, quote
        self.id = f"{of.base}-{quote}"
        self.alias = f"{of.base}-USD" if quote == "USDC" else ""


def products(exchange: Exchange) -> list[Product]:
    """Return the products: each market in USDT as one in USD, one in USDC with the same book, and one in USDT."""
    markets = [each for each in exchange.instruments.values() if each.quote == "USDT"]
    return [Product(each, quote) for each in markets for quote in ("USD", "USDC", "USDT")]


def product(exchange: Exchange, id_: str) -> Product | None:
    """Return the product with an id such as `BTC-USD`."""
    return next((each for each in products(exchange) if each.id == id_), None)


def instrument(exchange: Exchange, symbol: str) -> Instrument | None:
    """Return the instrument of a market by ccxt's symbol: `BTC/USD`."""
    found = product(exchange, symbol.replace("/", "-"))
    return None if found is None else found.of


def iso(time: int) -> str:
    """Return a time (ms) as text."""
    return f"{datetime.fromtimestamp(time // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{time % 1000:03d}000Z"


def trades(id_: str, found: Instrument, trades: Trades) -> list[dict[str, str]]:
    """Return trades of a product, oldest first. `side` is that of the maker."""
    return [
        {"trade_id": str(row.id), "product_id": id_, "price": row.price, "size": row.amount,
         "time": iso(row.timestamp), "side": "BUY" if row.sell else "SELL"}
        for row in trade_rows(found, trades)
    ]  # fmt: skip


def levels(found: Instrument, side: Side) -> list[tuple[str, str]]:
    """Return (price, size) of each level without trailing zeros; size "0" removes a level."""
    prices = fixed(side[0], found.units.price_decimals)
    sizes = fixed(side[1], found.units.amount_decimals)
    return [(short(price), short(size)) for price, size in zip(prices, sizes, strict=True)]


def candle(row: Row) -> dict[str, str]:
    """Return a candle; its time is in seconds, its volume in base currency."""
    opened, high, low, close, volume = (short(each) for each in row[1:6])
    return {"start": str(int(row[0]) // 1000), "low": low, "high": high, "open": opened, "close": close,
            "volume": volume}  # fmt: skip


def ticker(id_: str, found: Instrument, now: int) -> dict[str, str]:
    """Return a ticker of the channel `ticker`."""
    last, best = day.window(found, now), day.best(found, now)
    return {"type": "ticker", "product_id": id_, "price": short(last.close), "volume_24_h": short(last.volume),
            "low_24_h": short(last.low), "high_24_h": short(last.high), "low_52_w": short(last.low),
            "high_52_w": short(last.high), "price_percent_chg_24_h": _change(last.open, last.close),
            "best_bid": short(best.bid), "best_bid_quantity": short(best.bid_size), "best_ask": short(best.ask),
            "best_ask_quantity": short(best.ask_size)}  # fmt: skip


def _change(opened: str, close: str) -> str:
    before = Decimal(opened)
    return f"{(Decimal(close) - before) / before * 100 if before else Decimal(0):.14f}"


def described(found: Product, now: int) -> dict[str, Any]:
    """Return what `products` says about a product."""
    of, last = found.of, day.window(found.of, now)
    volume = Decimal(last.volume)
    return {
        "product_id": found.id, "price": short(last.close),
        "price_percentage_change_24h": _change(last.open, last.close), "volume_24h": short(last.volume),
        "volume_percentage_change_24h": "0", "base_increment": amount_step(of), "quote_increment": price_step(of),
        "quote_min_size": "1", "quote_max_size": "150000000", "base_min_size": amount_step(of),
        "base_max_size": "3400", "base_name": of.base, "quote_name": found.quote, "watched": False,
        "is_disabled": False, "new": False, "status": "online", "cancel_only": False, "limit_only": False,
        "post_only": False, "trading_disabled": False, "auction_mode": False, "product_type": "SPOT",
        "quote_currency_id": found.quote, "base_currency_id": of.base, "fcm_trading_session_details": None,
        "mid_market_price": "", "alias": found.alias,
        "alias_to": [f"{of.base}-USDC"] if found.quote == "USD" else [], "base_display_symbol": of.base,
        "quote_display_symbol": "USD" if found.quote == "USDC" else found.quote, "view_only": False,
        "price_increment": price_step(of), "display_name": found.id, "product_venue": "CBE",
        "approximate_quote_24h_volume": f"{volume * Decimal(last.close):.2f}", "new_at": "2023-01-01T00:00:00Z",
        "market_cap": "", "base_cbrn": "", "quote_cbrn": "", "product_cbrn": "", "icon_color": "", "icon_url": "",
        "display_name_overwrite": "", "is_alpha_testing": False, "about_description": "", "best_bid_price": "",
        "best_ask_price": "",
    }  # fmt: skip
