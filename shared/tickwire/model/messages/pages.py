"""Pages of closed candles on their way to the cache, and what became of them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tickwire.model.subjects import Exchange, Key, Symbol, Timeframe
from tickwire.model.times import Count, Sequence, Time

Row = tuple[Time, float, float, float, float, float]
"""Open time (ms), open, high, low, close, volume."""
VolumeUnit = Literal["base", "contracts", "quote", "unknown"]
"""What a volume counts: base currency, contracts, quote currency; or unknown: as the exchange says, whatever it is."""


class CandlePage(Struct, frozen=True, kw_only=True):
    """`tape.ohlcv.<exchange>.<token>.<timeframe>`: closed candles to be cached.

    `rows` are all candles that open in `[since, until)`: where there is none, nothing was traded. `volume_unit` is
    what their volumes count; a page without it is of an earlier version, which mixed units on contract markets.

    Candles that open at or after `settled` may still be revised by the exchange: they are stored, and not verified.
    Without it all are final. `opens_at` is the open time of any one candle of the key, where its candles do not open
    where most venues' do (days at midnight UTC, weeks on Monday, months on the first).
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

    @property
    def key(self) -> Key:
        """The key that the page belongs to."""
        return Key(self.exchange, self.symbol, self.timeframe)


class Stored(Struct, frozen=True, kw_only=True):
    """`md.stored.<exchange>.<token>.<timeframe>`: the cache made `[since, until)` durable.

    `rows` is how many candles the pages held, `total_rows` how many the file has now.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time
    until: Time
    rows: Count
    total_rows: Count


class RejectedPage(Struct, frozen=True, kw_only=True):
    """`md.rejected.<exchange>.<token>.<timeframe>`: a page of candles that the cache passed over for good, and why.

    `sequence` is its place in stream OHLCV. `since` and `until` are absent where the page could not be read.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    sequence: Sequence
    reason: str
    since: Time | None = None
    until: Time | None = None
