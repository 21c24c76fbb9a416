"""Pages of closed candles on their way to the cache, and what became of them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tickwire.model.subjects import Exchange, Key, Symbol, Timeframe
from tickwire.model.times import Count, Sequence, Time

Row = tuple[Time, float, float, float, float, float]
"""Open time (ms), open, high, low, close, volume."""
VolumeUnit = Literal["base", "contracts", "quote", "unknown"]
"""The unit of a volume: base currency, contracts, quote currency, or unknown: as the exchange sends it."""
Origin = Literal["exchange", "tape", "audited"]
"""Where candles come from: the exchange's own rows; built from the trades on the tape; compared with the exchange's own
rows once these had settled, and equal or replaced by them."""


class CandlePage(Struct, frozen=True, kw_only=True):
    """`tape.ohlcv.<exchange>.<token>.<timeframe>`: closed candles to be cached.

    `rows` are all candles that open in `[since, until)`: no candle means no trade. `volume_unit` is the unit of their
    volumes; a page without it is from an earlier version, which mixed units on contract markets.

    The exchange may still revise candles that open at or after `settled`: they are stored, but not verified. Without
    `settled` all are final. `opens_at` is the open time of any candle of the key, if its candles do not open on the
    usual grid (days at midnight UTC, weeks on Monday, months on the first).

    `origin` is where the rows come from; unknown if absent, as in pages of earlier versions. Of an `audited` page the
    cache also removes rows of `[since, until)` that are not in it.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time
    until: Time
    rows: list[Row]
    source: Literal["rest", "live"] = "rest"
    volume_unit: VolumeUnit | None = None
    settled: Time | None = None
    opens_at: Time | None = None
    origin: Origin | None = None

    @property
    def key(self) -> Key:
        """The key of the page."""
        return Key(self.exchange, self.symbol, self.timeframe)


class Stored(Struct, frozen=True, kw_only=True):
    """`md.stored.<exchange>.<token>.<timeframe>`: the cache made `[since, until)` durable.

    `rows` is the number of candles in the page, `total_rows` that in the file now.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time
    until: Time
    rows: Count
    total_rows: Count


class RejectedPage(Struct, frozen=True, kw_only=True):
    """`md.rejected.<exchange>.<token>.<timeframe>`: a page of candles that the cache rejected for good, and why.

    `sequence` is that of the page in stream OHLCV. `since` and `until` are absent if the page could not be decoded.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    sequence: Sequence
    reason: str
    since: Time | None = None
    until: Time | None = None
