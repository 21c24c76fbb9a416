"""Rows in OKX's form: trades, levels, candles, tickers. No I/O.

Source of the fields: OKX's API documentation v5, "Order Book Trading, Market Data", as of 2025, and the parsers of
ccxt 4.5 (`okx`). Numbers are decimal texts without zeros at their end.
"""

from __future__ import annotations

import zlib
from decimal import Decimal
from itertools import chain, islice, zip_longest

from tickwire.model import timeframes
from tickwire.simulator.market import day as market_day
from tickwire.simulator.market import rows as market_rows
from tickwire.simulator.market.aggregates import Aggregates
from tickwire.simulator.market.book import Book, Side
from tickwire.simulator.market.candles import Row
from tickwire.simulator.market.contracts import DOLLARS, contract, window_volume
from tickwire.simulator.market.decimal_texts import short
from tickwire.simulator.market.exchange import Exchange, Instrument, Terms
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import numbers, trade_rows

BARS = {"1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1H": "1h", "2H": "2h", "4H": "4h",
        "6Hutc": "6h", "12Hutc": "12h", "1Dutc": "1d", "1Wutc": "1w", "1Mutc": "1M"}  # fmt: skip
"""OKX's bars, by the timeframe each stands for."""
LOCAL_BARS = {bar.removesuffix("utc"): interval for bar, interval in BARS.items() if bar.endswith("utc")}
"""Bars that open by Hong Kong's time."""
LOCAL_MS = 8 * 3_600_000
CHECKED = 25
"""Levels a side that the checksum of a book covers."""
LINEAR, INVERSE = Terms(Decimal("0.01"), inverse=False), Terms(Decimal(100), inverse=True)
"""Perpetual contracts, the same for each base currency: 0.01 of it, settled in USDT; 100 USD, settled in it."""
LEVELS = 400
"""Levels a side in the channel `books`."""


def instrument(exchange: Exchange, name: str) -> Instrument | None:
    """Return the instrument with OKX's name: `BTC-USDT`, `BTC-USDT-SWAP`, `BTC-USD-SWAP`."""
    market = name.removesuffix("-SWAP")
    terms = None if market == name else INVERSE if market.endswith(f"-{DOLLARS}") else LINEAR
    found = exchange.instrument(f"{market}T" if terms is INVERSE else market)
    if found is not None and terms is not None:
        found = contract(exchange, found, terms)
    return found if found is not None and name_of(found) == name else None


def swaps(exchange: Exchange) -> list[Instrument]:
    """Return the perpetual contracts."""
    made = (contract(exchange, each, terms) for each in exchange.instruments.values() for terms in (LINEAR, INVERSE))
    return [each for each in made if each is not None]


def name_of(instrument: Instrument) -> str:
    """Return OKX's name of an instrument."""
    return f"{instrument.base}-{instrument.quote}" + ("-SWAP" if instrument.terms else "")


def trades(instrument: Instrument, found: Trades) -> list[dict[str, str]]:
    """Return single trades as REST has them, oldest first."""
    name = name_of(instrument)
    return [
        {"instId": name, "tradeId": str(row.id), "px": row.price, "sz": row.amount,
         "side": "sell" if row.sell else "buy", "ts": str(row.timestamp), "source": "0"}
        for row in trade_rows(instrument, found)
    ]  # fmt: skip


def matches(instrument: Instrument, found: Aggregates) -> list[dict[str, str]]:
    """Return trades as the channel `trades` has them: one for each taker order and price, with the last trade's id."""
    units, name = instrument.units, name_of(instrument)
    columns = zip(
        found.last_id.tolist(),
        (found.last_id - found.first_id + 1).tolist(),
        numbers(found.price, units.price_decimals),
        numbers(found.amount, units.amount_decimals),
        found.timestamp.tolist(),
        found.sell.tolist(),
        strict=True,
    )
    return [
        {"instId": name, "tradeId": str(id_), "px": price, "sz": amount, "side": "sell" if sell else "buy",
         "ts": str(time), "count": str(count), "source": "0", "seqId": id_}
        for id_, count, price, amount, time, sell in columns
    ]  # fmt: skip


def levels(instrument: Instrument, side: Side) -> list[list[str]]:
    """Return [price, size, "0", orders] of each level; size 0 removes a level."""
    return [[*level, "0", "0" if level[1] == "0" else "1"] for level in market_rows.levels(instrument, side)]


def checksum(instrument: Instrument, book: Book) -> int:
    """Return the signed CRC32 of `bid:size:ask:size:…` of the best 25 levels ("Checksum" in the documentation)."""
    best = market_rows.top(book, CHECKED)
    pairs = zip_longest(levels(instrument, best.bids), levels(instrument, best.asks), fillvalue=())
    text = ":".join(chain.from_iterable((*bid[:2], *ask[:2]) for bid, ask in pairs))
    value = zlib.crc32(text.encode())
    return value - 2**32 if value >= 2**31 else value


def local_candle(instrument: Instrument, interval: str, now: int) -> list[str] | None:
    """Return the open candle of a bar by Hong Kong's time, as `candle` returns it; None before its first trade."""
    opened = timeframes.open_of(interval, now + LOCAL_MS) - LOCAL_MS
    found = instrument.candles.window(opened, now + 1, now)
    if found is None:
        return None
    values = [short(value) for value in (found.open, found.high, found.low, found.close, found.volume)]
    return [str(opened), *values, *_volumes(instrument, found.volume, found.quote, opened, now + 1), "0"]


def candle(instrument: Instrument, row: Row, now: int) -> list[str]:
    """Return [open time, open, high, low, close, volume, `volCcy`, `volCcyQuote`, closed].

    The last two are in quote currency; of contracts, `volCcy` is in base currency.
    """
    values = [short(value) for value in islice(row, 1, 6)]
    volumes = _volumes(instrument, str(row[5]), str(row[7]), int(row[0]), min(int(row[6]), now) + 1)
    return [str(row[0]), *values, *volumes, "1" if int(row[6]) < now else "0"]


def _volumes(instrument: Instrument, volume: str, quote: str, since: int, until: int) -> list[str]:
    terms = instrument.terms
    if terms is None:
        return [short(quote)] * 2
    if terms.inverse:
        return [short(f"{window_volume(instrument, since, until):f}"), short(f"{Decimal(volume) * terms.size:f}")]
    return [short(f"{Decimal(each) * terms.size:f}") for each in (volume, quote)]


def ticker(instrument: Instrument, now: int) -> dict[str, str]:
    """Return a ticker: the last 24 hours and the best prices."""
    day, best = market_day.window(instrument, now), market_day.best(instrument, now)
    values = {"last": day.close, "lastSz": market_day.last_amount(instrument, day), "askPx": best.ask,
              "askSz": best.ask_size, "bidPx": best.bid, "bidSz": best.bid_size, "open24h": day.open,
              "high24h": day.high, "low24h": day.low, "volCcy24h": day.quote, "vol24h": day.volume,
              "sodUtc0": day.open, "sodUtc8": day.open}  # fmt: skip
    prices = {name: short(value) for name, value in values.items()}
    return {"instType": "SWAP" if instrument.terms else "SPOT", "instId": name_of(instrument), **prices, "ts": str(now)}
