"""Converts messages to points in line protocol. Pure.

InfluxDB identifies a point by measurement, tags and time: a point written twice exists once, and two points that are
alike there would become one. So the time of a point, in nanoseconds, is the exchange's millisecond plus a number that
is the same whenever the point is built again and differs from its neighbours': for trades the running number of the
trade in its feed, for other points the sequence of the message on the tape, both modulo a million.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from influxdb_client.client.write.point import Point
from influxdb_client.domain.write_precision import WritePrecision

from tickwire.model.feeds import Book, Candle, Gap, Level, Trade, Trades
from tickwire.model.messages import SinkTotals
from tickwire.sink import totals
from tickwire.sink.totals import class_of
from tickwire.venues.units import stated

MS = 1_000_000
"""Nanoseconds in a millisecond."""
Fields = dict[str, Any]


def of_trades(message: Trades, sequence: int, before: SinkTotals) -> tuple[list[str], SinkTotals]:
    """The points of a message of trades at `sequence` of the tape, and the feed's totals after it.

    `trades`: one point for each, tagged by side. `trade_sizes`: one point for each size class in the message, with the
    amounts of quote currency bought and sold by takers, and their running difference. `gaps`: missing trades.
    Fields in quote currency are left out if the value of the trades in quote currency is not known.
    """
    tags = {"exchange": message.exchange, "symbol": message.symbol}
    quotes = totals.quotes_of(message)
    worth: Sequence[float | None] = [None] * len(message.trades) if quotes is None else quotes
    lines = [
        _trade(trade, quote, tags, number, message.source)
        for number, (trade, quote) in enumerate(zip(message.trades, worth, strict=True), start=before.count)
    ]
    if message.gap is not None:
        lines.append(of_gap(message.gap, tags, message.received, sequence))
    after = totals.after(before, message, quotes, sequence)
    if quotes:
        lines += _sizes(message.trades, quotes, tags, _unique(message.trades[-1].timestamp, sequence), after)
    return lines, after


def _trade(trade: Trade, quote: float | None, tags: Fields, number: int, source: str) -> str:
    fields: Fields = {"price": trade.price, "amount": trade.amount, "quote": quote}
    fields |= {"id": trade.id, "source": source}
    return _line("trades", tags | {"side": trade.side or "unknown"}, fields, _unique(trade.timestamp, number))


def _sizes(
    trades: Sequence[Trade], quotes: Sequence[float], tags: Fields, time: int, after: SinkTotals
) -> Iterator[str]:
    classes: dict[str, list[tuple[str | None, float]]] = {}
    for trade, quote in zip(trades, quotes, strict=True):
        classes.setdefault(class_of(quote), []).append((trade.side, quote))
    for name, those in classes.items():
        fields = {
            "trades": len(those),
            "volume": sum((quote for _, quote in those), 0.0),
            "buy": sum((quote for side, quote in those if side == "buy"), 0.0),
            "sell": sum((quote for side, quote in those if side == "sell"), 0.0),
            "cvd": after.cvd[name],
        }
        yield _line("trade_sizes", tags | {"size": name}, fields, time)


def of_gap(missing: Gap, tags: Fields, received: int, sequence: int) -> str:
    """A point of `gaps`, at the start of the gap if that is known."""
    time = _unique(received if missing.since is None else missing.since, sequence)
    return _line("gaps", tags, msgspec.structs.asdict(missing), time)


def of_book(book: Book, sequence: int) -> str:
    """A point of `books`: the best prices, and the amounts within the published depth.

    `imbalance` is (B - A) / (B + A), from -1 to 1, where B and A are the amounts of the sides, each level's divided by
    its rank (1 for the best). While a book resyncs, only `live` is written.
    """
    fields: Fields = {"live": book.state == "live"}
    if book.bids and book.asks:
        (bid, bid_amount), (ask, ask_amount) = book.bids[0], book.asks[0]
        fields |= {"bid": bid, "bid_amount": bid_amount, "ask": ask, "ask_amount": ask_amount}
        fields |= {"spread": ask - bid, "mid": (bid + ask) / 2}
        fields |= {"bid_depth": _depth(book.bids), "ask_depth": _depth(book.asks)}
        fields |= {"imbalance": imbalance(book.bids, book.asks)}
    time = _unique(book.received if book.timestamp is None else book.timestamp, sequence)
    return _line("books", {"exchange": book.exchange, "symbol": book.symbol}, fields, time)


def imbalance(bids: Sequence[Level], asks: Sequence[Level]) -> float:
    """See `of_book`; 0 if both sides are empty."""
    bid, ask = (sum(amount / rank for rank, (_, amount) in enumerate(side, 1)) for side in (bids, asks))
    return (bid - ask) / (bid + ask) if bid + ask else 0.0


def _depth(levels: Sequence[Level]) -> float:
    return sum(amount for _, amount in levels)


def of_candle(candle: Candle) -> str | None:
    """A point of `candles` at the candle's open time; None while the candle is open.

    The volume is in base currency; it is left out if it is in another or an unknown unit.
    """
    if not candle.closed:
        return None
    tags = {"exchange": candle.exchange, "symbol": candle.symbol, "timeframe": candle.timeframe}
    fields: Fields = {name: float(getattr(candle, name)) for name in ("open", "high", "low", "close", "volume")}
    if stated(candle.symbol, candle.volume_unit) != "base":
        fields["volume"] = None
    fields |= {"trades": candle.trades, "complete": candle.complete}
    return _line("candles", tags, fields, candle.timestamp * MS)


def _unique(timestamp: int, number: int) -> int:
    return timestamp * MS + number % MS


def _line(measurement: str, tags: Fields, fields: Fields, time: int) -> str:
    """A line; fields that are None are left out."""
    point = {"measurement": measurement, "tags": tags, "fields": fields, "time": time}
    line: str = Point.from_dict(point, WritePrecision.NS).to_line_protocol()
    return line
