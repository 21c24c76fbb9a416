"""OKX's forms of what happens on a market. No I/O.

Source of the fields: OKX's API documentation v5, "Order Book Trading, Market Data", as of 2025, and the parsers of
ccxt 4.5 (`okx`). Numbers are decimal texts without zeros at their end.
"""

from __future__ import annotations

import zlib
from decimal import Decimal
from itertools import chain, islice, zip_longest
from typing import Any

from tickwire.model import timeframes
from tickwire.simulator import tickers
from tickwire.simulator.aggregates import Aggregates
from tickwire.simulator.book import Book, Side
from tickwire.simulator.candles import Row, texts
from tickwire.simulator.contracts import DOLLARS, contract, window_volume
from tickwire.simulator.exchange import Exchange, Instrument, Terms
from tickwire.simulator.market import Ints, Trades

BARS = {"1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1H": "1h", "2H": "2h", "4H": "4h",
        "6Hutc": "6h", "12Hutc": "12h", "1Dutc": "1d", "1Wutc": "1w", "1Mutc": "1M"}  # fmt: skip
"""OKX's bars and what they are elsewhere."""
LOCAL_BARS = {bar.removesuffix("utc"): interval for bar, interval in BARS.items() if bar.endswith("utc")}
"""Those that open by Hong Kong's time."""
LOCAL_MS = 8 * 3_600_000
CHECKED = 25
"""Levels of a side that the checksum of a book is made of."""
LINEAR, INVERSE = Terms(Decimal("0.01"), inverse=False), Terms(Decimal(100), inverse=True)
"""Perpetual contracts, of every base currency alike: of 0.01 of it, settled in USDT, and of 100 USD, settled in it."""
LEVELS = 400
"""Levels of a side in the channel `books`."""


def instrument(exchange: Exchange, name: str) -> Instrument | None:
    """By OKX's name: `BTC-USDT`, `BTC-USDT-SWAP`, `BTC-USD-SWAP`."""
    market = name.removesuffix("-SWAP")
    terms = None if market == name else INVERSE if market.endswith(f"-{DOLLARS}") else LINEAR
    found = exchange.instrument(f"{market}T" if terms is INVERSE else market)
    if found is not None and terms is not None:
        found = contract(exchange, found, terms)
    return found if found is not None and name_of(found) == name else None


def swaps(exchange: Exchange) -> list[Instrument]:
    """The perpetual contracts."""
    made = (contract(exchange, each, terms) for each in exchange.instruments.values() for terms in (LINEAR, INVERSE))
    return [each for each in made if each is not None]


def name_of(instrument: Instrument) -> str:
    """OKX's name for it."""
    return f"{instrument.base}-{instrument.quote}" + ("-SWAP" if instrument.terms else "")


def numbers(values: Ints, decimals: int) -> list[str]:
    """Integers in units of 10**-decimals, as OKX writes them."""
    return [short(text) for text in texts(values, decimals)]


def short(number: Any) -> str:
    """A decimal text without zeros at its end."""
    text = str(number)
    return text.rstrip("0").rstrip(".") if "." in text else text


def trades(instrument: Instrument, found: Trades) -> list[dict[str, str]]:
    """Each by itself, as REST tells them, oldest first."""
    units, name = instrument.units, name_of(instrument)
    columns = zip(
        found.id.tolist(),
        numbers(found.price, units.price_decimals),
        numbers(found.amount, units.amount_decimals),
        found.timestamp.tolist(),
        found.sell.tolist(),
        strict=True,
    )
    return [
        {"instId": name, "tradeId": str(id_), "px": price, "sz": amount, "side": "sell" if sell else "buy",
         "ts": str(time), "source": "0"}
        for id_, price, amount, time, sell in columns
    ]  # fmt: skip


def matches(instrument: Instrument, found: Aggregates) -> list[dict[str, str]]:
    """As the channel `trades` tells them: what one taker's order did at one price is one, with the last one's id."""
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
    """[price, size, "0", orders] of each level; a size of 0 takes it away."""
    prices = numbers(side[0], instrument.units.price_decimals)
    sizes = numbers(side[1], instrument.units.amount_decimals)
    return [[price, size, "0", "0" if size == "0" else "1"] for price, size in zip(prices, sizes, strict=True)]


def top(book: Book, count: int) -> Book:
    """The best levels of a book."""
    (bid_prices, bid_sizes), (ask_prices, ask_sizes) = book.bids, book.asks
    return Book((bid_prices[:count], bid_sizes[:count]), (ask_prices[:count], ask_sizes[:count]))


def checksum(instrument: Instrument, book: Book) -> int:
    """CRC32, signed, of `bid:size:ask:size:…` of the best 25 levels ("Checksum" in the documentation)."""
    best = top(book, CHECKED)
    pairs = zip_longest(levels(instrument, best.bids), levels(instrument, best.asks), fillvalue=())
    text = ":".join(chain.from_iterable((*bid[:2], *ask[:2]) for bid, ask in pairs))
    value = zlib.crc32(text.encode())
    return value - 2**32 if value >= 2**31 else value


def local_candle(instrument: Instrument, interval: str, now: int) -> list[str] | None:
    """The open candle of a bar by Hong Kong's time, as `candle` gives it; None where nobody traded yet."""
    opened = timeframes.open_of(interval, now + LOCAL_MS) - LOCAL_MS
    found = instrument.candles.window(opened, now + 1, now)
    if found is None:
        return None
    values = [short(value) for value in (found.open, found.high, found.low, found.close, found.volume)]
    return [str(opened), *values, *_volumes(instrument, found.volume, found.quote, opened, now + 1), "0"]


def candle(instrument: Instrument, row: Row, now: int) -> list[str]:
    """[open time, open, high, low, close, volume, `volCcy`, `volCcyQuote`, closed].

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
    """The last 24 hours and the best prices."""
    day = tickers.day(instrument, now)
    names = {"last": "lastPrice", "lastSz": "lastQty", "askPx": "askPrice", "askSz": "askQty", "bidPx": "bidPrice",
             "bidSz": "bidQty", "open24h": "openPrice", "high24h": "highPrice", "low24h": "lowPrice",
             "volCcy24h": "quoteVolume", "vol24h": "volume",
             "sodUtc0": "openPrice", "sodUtc8": "openPrice"}  # fmt: skip
    said = {ours: short(day[theirs]) for ours, theirs in names.items()}
    return {"instType": "SWAP" if instrument.terms else "SPOT", "instId": name_of(instrument), **said, "ts": str(now)}
