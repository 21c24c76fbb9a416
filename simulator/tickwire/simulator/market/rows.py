"""What the rows of most venues are made of: numbers as short texts, levels, trades one by one, steps. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from tickwire.simulator.market.book import Book, Side
from tickwire.simulator.market.candles import Row
from tickwire.simulator.market.decimal_texts import short, texts
from tickwire.simulator.market.exchange import Instrument
from tickwire.simulator.market.generated import Ints, Trades, joined, key_of


class TradeRow(NamedTuple):
    """One trade, with numbers as texts; `sell` is true where the taker sold."""

    id: int
    timestamp: int
    price: str
    amount: str
    sell: bool


def by_taker(rows: Iterable[Any], trades: Trades) -> Iterator[list[Any]]:
    """Yield the rows of consecutive trades in lists, one for each taker."""
    for _, group in groupby(zip(trades.agg.tolist(), rows, strict=True), key=itemgetter(0)):
        yield [row for _, row in group]


def numbers(values: Ints, decimals: int) -> list[str]:
    """Return integers in units of 10**-decimals as decimal texts without trailing zeros."""
    return [short(text) for text in texts(values, decimals)]


def fixed(values: Ints, decimals: int) -> list[str]:
    """Return integers in units of 10**-decimals as decimal texts with exactly `decimals` decimals."""
    if decimals <= 0:
        return [str(value) for value in (values * 10**-decimals).tolist()]
    padded = [f"{value:0{decimals + 1}d}" for value in values.tolist()]
    return [f"{text[:-decimals]}.{text[-decimals:]}" for text in padded]


def number(text: str) -> msgspec.Raw:
    """Return a decimal text as a JSON number with exactly its digits, for venues that send numbers."""
    return msgspec.Raw(text.encode())


def trade_rows(
    instrument: Instrument, found: Trades, written: Callable[[Ints, int], list[str]] = numbers
) -> list[TradeRow]:
    """Return trades one by one, oldest first; `written`: `numbers` or `fixed`."""
    units = instrument.units
    columns = zip(
        found.id.tolist(),
        found.timestamp.tolist(),
        written(found.price, units.price_decimals),
        written(found.amount, units.amount_decimals),
        found.sell.tolist(),
        strict=True,
    )
    return [TradeRow(*row) for row in columns]


def fixed_levels(found: Instrument, side: Side) -> list[list[str]]:
    """Return [price, size] of each level, with all decimals; size "0" removes a level."""
    prices = fixed(side[0], found.units.price_decimals)
    sizes = fixed(side[1], found.units.amount_decimals)
    return [[price, size if amount else "0"]
            for price, size, amount in zip(prices, sizes, side[1].tolist(), strict=True)]  # fmt: skip


def top(book: Book, count: int) -> Book:
    """Return the best `count` levels of each side."""
    (bid_prices, bid_sizes), (ask_prices, ask_sizes) = book.bids, book.asks
    return Book((bid_prices[:count], bid_sizes[:count]), (ask_prices[:count], ask_sizes[:count]))


def levels(instrument: Instrument, side: Side) -> list[list[str]]:
    """Return [price, size] of each level; size 0 removes a level."""
    prices = numbers(side[0], instrument.units.price_decimals)
    sizes = numbers(side[1], instrument.units.amount_decimals)
    return [[price, size] for price, size in zip(prices, sizes, strict=True)]


def price_step(instrument: Instrument) -> str:
    """Return the tick as a decimal text."""
    units = instrument.units
    return f"{Decimal(units.price_step).scaleb(-units.price_decimals).normalize():f}"


def amount_step(instrument: Instrument) -> str:
    """Return the lot as a decimal text."""
    units = instrument.units
    return f"{Decimal(units.amount_step).scaleb(-units.amount_decimals).normalize():f}"


def listed_at(instrument: Instrument) -> int:
    """Return when the instrument was listed (ms); 0 where that is unknown."""
    return instrument.history.first_time if instrument.history else 0


def newest(by_id: Callable[[int, int], Trades], first: int, end: int, limit: int, holes: list[range]) -> Trades:
    """Return the last `limit` trades with ids in `[first, end)` that are in no hole, oldest first."""
    parts: list[Trades] = []
    for hole in [*sorted(holes, key=lambda hole: hole.stop, reverse=True), range(first, first)]:
        start = max(first, min(hole.stop, end), end - limit)
        if start < end:
            parts.insert(0, by_id(start, end))
            limit -= end - start
        end = min(end, max(hole.start, first))
        if limit <= 0:
            break
    return joined(parts)


def oldest(by_id: Callable[[int, int], Trades], first: int, end: int, limit: int, holes: list[range]) -> Trades:
    """Return the first `limit` trades with ids in `[first, end)` that are in no hole, oldest first."""
    parts: list[Trades] = []
    for hole in [*sorted(holes, key=lambda hole: hole.start), range(end, end)]:
        stop = min(end, max(hole.start, first), first + limit)
        if first < stop:
            parts.append(by_id(first, stop))
            limit -= stop - first
        first = max(first, min(hole.stop, end))
        if limit <= 0:
            break
    return joined(parts)


def traded(rows: list[Row]) -> list[Row]:
    """Return candles without those in which nothing was traded, for venues that have no rows of quiet intervals."""
    return [row for row in rows if row[8]]


def uuid_of(name: str, id_: int) -> str:
    """Return an opaque id (UUID) for a trade: the same for the same name and id, and without any order."""
    high, low = key_of(id_, name), key_of(id_, name, "low")
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
