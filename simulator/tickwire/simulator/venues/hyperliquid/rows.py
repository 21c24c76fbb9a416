"""Hyperliquid's assets and rows: descriptions, trades, levels, candles, contexts. No I/O.

Source of the fields: Hyperliquid's API documentation, "Info endpoint" and "Websocket, Subscriptions", as of 2025, the
parsers of ccxt 4.5 (`hyperliquid`), and the recorded messages that tests/venues/hyperliquid compares with. Prices and
sizes are decimal texts without zeros at their end, but always with a decimal point: `110427.0`.

"Tick and lot size": prices have at most five significant figures and no more than `MAX_DECIMALS` - `szDecimals`
decimals, MAX_DECIMALS being 6 of perpetual contracts and 8 of spot markets; whole numbers are always allowed. Here the
figures are counted at the price of the market's first trade.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec import Struct

from tickwire.simulator.market import day
from tickwire.simulator.market.book import Book, Side
from tickwire.simulator.market.candle_pages import PageStyle
from tickwire.simulator.market.candles import DerivedCandles, Row
from tickwire.simulator.market.coarse import coarser
from tickwire.simulator.market.contracts import quoted
from tickwire.simulator.market.decimal_texts import short
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades, key_of
from tickwire.simulator.market.rows import TradeRow, numbers, trade_rows

WEEK_OPENS_MS = 3 * 86_400_000
"""Weeks open on Thursday, so long after other weeks: they are counted from the epoch."""
INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1w", "1M")
LEVELS = 20
"""Levels a side of a book."""
RECENT = 10
"""Past trades that REST and a new subscription have, newest first. Not documented."""
_FIGURES, _PERP_DECIMALS, _SPOT_DECIMALS = 5, 6, 8
_WRAPPED = ("BTC", "ETH", "SOL")
"""Spot tokens that are of Unit, and are named `UBTC`: see ccxt's `spotCurrencyMapping`."""
_ID_BITS = 50


class Asset(Struct, frozen=True):
    """A market by Hyperliquid's name of it, its coin: `BTC` a perpetual contract, `@3` a spot market."""

    coin: str
    found: Instrument
    is_spot: bool


def _listed(exchange: Exchange) -> list[Instrument]:
    """Return the markets that are quoted in USDT and have trades: here they are quoted in USDC."""
    markets = exchange.instruments.values()
    return [each for each in markets if each.quote == "USDT" and isinstance(each.candles, DerivedCandles)]


def _quoted(found: Instrument, most: int) -> Instrument:
    """Return a market in USDC with the decimals that prices may have."""
    assert found.history is not None
    first = found.history.by_id(found.history.first_id, found.history.first_id + 1)
    price = Decimal(int(first.price[0])).scaleb(-found.units.price_decimals)
    decimals = min(most - found.units.amount_decimals, _FIGURES - 1 - price.adjusted())
    return quoted(coarser(found, max(0, decimals)), "USDC")


def assets(exchange: Exchange, *, spot: bool) -> list[Asset]:
    """Return all spot markets or all perpetual contracts, in the order of their indices."""
    if spot:
        return [Asset(f"@{index}", _quoted(each, _SPOT_DECIMALS), True) for index, each in enumerate(_listed(exchange))]
    return [Asset(each.base, _quoted(each, _PERP_DECIMALS), False) for each in _listed(exchange)]


def asset(exchange: Exchange, coin: str) -> Asset | None:
    """Return the market with this coin."""
    for index, each in enumerate(_listed(exchange)):
        if coin == each.base:
            return Asset(coin, _quoted(each, _PERP_DECIMALS), False)
        if coin == f"@{index}":
            return Asset(coin, _quoted(each, _SPOT_DECIMALS), True)
    return None


def market(exchange: Exchange, symbol: str) -> Instrument | None:
    """Return the instrument of a market by ccxt's symbol: `BTC/USDC:USDC`, `BTC/USDC`."""
    pair, _, settle = symbol.partition(":")
    base, _, quote = pair.partition("/")
    most = _PERP_DECIMALS if settle else _SPOT_DECIMALS
    if quote != "USDC" or settle not in ("", "USDC"):
        return None
    return next((_quoted(each, most) for each in _listed(exchange) if each.base == base), None)


# ---- descriptions


def perp_meta(exchange: Exchange) -> dict[str, Any]:
    """Return `meta`: all perpetual contracts."""
    universe = [
        {"szDecimals": each.found.units.amount_decimals, "name": each.coin, "maxLeverage": 40, "marginTableId": 56}
        for each in assets(exchange, spot=False)
    ]
    return {"universe": universe, "marginTables": [], "collateralToken": 0}


def spot_meta(exchange: Exchange) -> dict[str, Any]:
    """Return `spotMeta`: the tokens, USDC first, and all spot markets, each of two tokens by their indices."""
    spot = assets(exchange, spot=True)
    tokens = [_token(0, "USDC", 8, None)]
    for index, each in enumerate(spot, 1):
        base = each.found.base
        wrapped = base in _WRAPPED
        name, full = (f"U{base}", f"Unit {base}") if wrapped else (base, None)
        tokens.append(_token(index, name, each.found.units.amount_decimals, full))
    universe = [
        {"tokens": [index + 1, 0], "name": each.coin, "index": index, "isCanonical": False}
        for index, each in enumerate(spot)
    ]
    return {"tokens": tokens, "universe": universe}


def _token(index: int, name: str, decimals: int, full_name: str | None) -> dict[str, Any]:
    return {"name": name, "szDecimals": decimals, "weiDecimals": 8, "index": index,
            "tokenId": f"0x{key_of(index, name):032x}", "isCanonical": index == 0, "evmContract": None,
            "fullName": full_name}  # fmt: skip


# ---- rows


def number(text: str | Decimal) -> str:
    """Return a decimal number as Hyperliquid writes it."""
    found = short(f"{text:f}" if isinstance(text, Decimal) else text)
    return found if "." in found else f"{found}.0"


def trades(asset: Asset, found: Trades) -> list[dict[str, Any]]:
    """Return trades, oldest first. The ids have no order; those of one taker have one hash."""
    takers = found.agg.tolist()
    return [_trade(asset.coin, row, taker) for row, taker in zip(trade_rows(asset.found, found), takers, strict=True)]


def _trade(coin: str, row: TradeRow, taker: int) -> dict[str, Any]:
    key, order = key_of(row.id, coin), key_of(taker, coin, "hash")
    users = [f"0x{key:040x}", f"0x{order:040x}"]
    return {"coin": coin, "side": "A" if row.sell else "B", "px": number(row.price), "sz": number(row.amount),
            "time": row.timestamp, "hash": f"0x{order:064x}", "tid": key % 2**_ID_BITS,
            "users": users[::-1] if row.sell else users}  # fmt: skip


def levels(asset: Asset, side: Side) -> list[dict[str, Any]]:
    """Return the levels of one side, each of one order."""
    prices = numbers(side[0], asset.found.units.price_decimals)
    sizes = numbers(side[1], asset.found.units.amount_decimals)
    return [{"px": number(price), "sz": number(size), "n": 1} for price, size in zip(prices, sizes, strict=True)]


def book(asset: Asset, found: Book, time: int) -> dict[str, Any]:
    """Return a whole book."""
    return {"coin": asset.coin, "time": time, "levels": [levels(asset, found.bids), levels(asset, found.asks)]}


def style(interval: str) -> PageStyle:
    """Return how a page of candles is made."""
    return PageStyle(opens_at=WEEK_OPENS_MS if interval == "1w" else 0)


def candle(asset: Asset, interval: str, row: Row) -> dict[str, Any]:
    """Return a candle; its volume is in base currency."""
    opened, high, low, close, volume = (number(str(row[place])) for place in range(1, 6))
    return {"t": row[0], "T": row[6], "s": asset.coin, "i": interval, "o": opened, "c": close, "h": high, "l": low,
            "v": volume, "n": row[8]}  # fmt: skip


def mid(asset: Asset, now: int) -> str:
    """Return the price between the best ones."""
    best = day.best(asset.found, now)
    return number((Decimal(best.bid) + Decimal(best.ask)) / 2)


def context(asset: Asset, now: int) -> dict[str, Any]:
    """Return an asset's context: mark price, mid price and the last 24 hours. There is no last price."""
    last, best = day.window(asset.found, now), day.best(asset.found, now)
    price, before = number(last.close), number(last.open)
    quote, base = number(last.quote), number(last.volume)
    if asset.is_spot:
        return {"prevDayPx": before, "dayNtlVlm": quote, "markPx": price, "midPx": mid(asset, now),
                "circulatingSupply": "1000000.0", "coin": asset.coin}  # fmt: skip
    return {"funding": "0.0000125", "openInterest": "1000.0", "prevDayPx": before, "dayNtlVlm": quote,
            "premium": "0.0", "oraclePx": price, "markPx": price, "midPx": mid(asset, now),
            "impactPxs": [number(best.bid), number(best.ask)], "dayBaseVlm": base}  # fmt: skip
