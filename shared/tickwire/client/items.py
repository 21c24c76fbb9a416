"""What the client yields: trades and gaps that name their market, and batches of items as DataFrames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import structs

from tickwire.model import feeds
from tickwire.model.feeds import Feed

if TYPE_CHECKING:
    from pandas import DataFrame

T = TypeVar("T")


class Trade(feeds.Trade, frozen=True, kw_only=True, gc=False, eq=False):
    """A trade and its market. It equals the trade as it is on the bus, which is of one market's subject."""

    exchange: str = ""
    symbol: str = ""

    def __eq__(self, other: object) -> bool:
        return _equal(self, other) if isinstance(other, feeds.Trade) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.id, self.timestamp))


class Gap(feeds.Gap, frozen=True, kw_only=True, eq=False):
    """What is missing of a feed: trades, or in a replay another `kind`. It equals the gap as it is on the bus."""

    exchange: str = ""
    symbol: str = ""
    kind: str = "trade"

    def __eq__(self, other: object) -> bool:
        return _equal(self, other) if isinstance(other, feeds.Gap) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.since, self.until))


NamedItem = Trade | Gap


def _equal(item: NamedItem, other: feeds.Trade | feeds.Gap) -> bool:
    """Whether two are the same. Of one without a market, such as on the bus, the rest counts."""
    if isinstance(other, Trade | Gap) and item.symbol and other.symbol:
        return bool(structs.astuple(item) == structs.astuple(other))
    base = feeds.Trade if isinstance(item, Trade) else feeds.Gap
    return all(bool(getattr(item, name) == getattr(other, name)) for name in base.__struct_fields__)


def named_trades(of: Feed, trades: Sequence[feeds.Trade]) -> list[Trade]:
    """Trades with their market."""
    exchange, symbol = of.exchange, of.symbol
    return [
        Trade(
            id=each.id,
            timestamp=each.timestamp,
            side=each.side,
            price=each.price,
            amount=each.amount,
            exchange=exchange,
            symbol=symbol,
        )
        for each in trades
    ]


def named_gap(of: Feed, gap: feeds.Gap) -> Gap:
    """A gap with its market."""
    return Gap(**structs.asdict(gap), exchange=of.exchange, symbol=of.symbol, kind=of.kind)


def named_item(of: Feed, item: feeds.Trade | feeds.Gap) -> NamedItem:
    """A trade or a gap with its market."""
    return named_trades(of, [item])[0] if isinstance(item, feeds.Trade) else named_gap(of, item)


class Batch(list[T]):
    """Several items of a stream; `frame()` is a DataFrame of them.

    `pandas.DataFrame(batch)` has one column of objects: pandas takes only dicts, tuples and dataclasses apart.
    """

    def frame(self) -> DataFrame:
        """See `tickwire.client.frame`."""
        return frame(self)


def frame(items: Sequence[Any]) -> DataFrame:
    """A DataFrame of trades, gaps, books, tickers or candles: a row for each, a column for each of their fields.

    Its DatetimeIndex `timestamp` (UTC) is the exchange's time; gaps and an empty list have a plain index. A book's
    levels are its best prices: the columns bid, bid_amount, ask and ask_amount. Items of several kinds have the columns
    of all.
    """
    import pandas

    found = pandas.DataFrame([_row(each) for each in items])
    if "timestamp" in found:
        found.index = pandas.DatetimeIndex(pandas.to_datetime(found.pop("timestamp"), unit="ms", utc=True)).as_unit(
            "ns"
        )
        found.index.name = "timestamp"
    return found


def _row(item: Any) -> dict[str, Any]:
    fields: dict[str, Any] = structs.asdict(item)
    if isinstance(item, feeds.Book):
        for side in ("bid", "ask"):
            levels = fields.pop(f"{side}s")
            fields[side], fields[f"{side}_amount"] = levels[0] if levels else (None, None)
    return fields
