"""What the decoders of the dialects share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec

from tickwire.model import numbers
from tickwire.model.feeds import Candle, Feed, Level
from tickwire.venues.dialect import Decoded
from tickwire.venues.profile import AmountUnit


def decoder(type_: Any, *, strict: bool = False) -> Callable[[str | bytes], Any]:
    """A decoder of frames; unless it is strict, numbers may come as text. It raises msgspec.DecodeError."""
    return msgspec.json.Decoder(type_, strict=strict).decode


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def ms_of(time: datetime) -> int:
    """A time that was decoded from ISO 8601 text, ms since the epoch, cut off.

    Raises ValidationError for a time without a zone.
    """
    try:
        return (time - _EPOCH) // _MS
    except TypeError as error:
        raise msgspec.ValidationError(f"a time without a zone: {time}") from error


def by_market(kind: str, found: Iterable[tuple[str, Any]]) -> tuple[Decoded, ...]:
    """One `Decoded` for each market of a frame about several, from (market, item) in order."""
    markets: dict[str, list[Any]] = {}
    for market, item in found:
        markets.setdefault(market, []).append(item)
    return tuple(Decoded(kind, market, items) for market, items in markets.items())


def written_levels(side: Iterable[tuple[str, str]]) -> list[Level]:
    """Levels from their texts, price and amount. Raises ValidationError."""
    try:
        return [numbers.level(each) for each in side]
    except ValueError as error:
        raise msgspec.ValidationError(f"a level of {error}") from error


BEST = frozenset({"bid", "bid_amount", "ask", "ask_amount"})
"""The fields of a ticker about the best level of each side: 0 says that the side is empty."""


def ticker_fields(written: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a ticker from their texts. Raises ValidationError.

    Without those that are None, which the frame does not have, and without empty ones, except for the best level of a
    side: empty means that the side is empty, and its last known price must not stay.
    """
    try:
        return {
            name: numbers.amount(text or 0)
            for name, text in written.items()
            if text is not None and (text != "" or name in BEST)
        }
    except ValueError as error:
        raise msgspec.ValidationError(f"a ticker of {error}") from error


class Bar(Protocol):
    """What the candles of all venues have. `timestamp` is the open time, ms."""

    @property
    def timestamp(self) -> int: ...
    @property
    def open(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def close(self) -> float: ...


def candle_of(
    feed: Feed,
    bar: Bar,
    volume: float,
    *,
    trades: int = 0,
    closed: bool = False,
    volume_unit: AmountUnit | None = "base",
) -> Candle:
    """A candle that the venue sent as a message of its feed; see `VenueCandle.candle`.

    `closed` is false where the venue does not say so: the next candle closes this one.
    """
    assert feed.timeframe is not None
    return Candle(
        exchange=feed.exchange,
        symbol=feed.symbol,
        timeframe=feed.timeframe,
        timestamp=bar.timestamp,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=volume,
        trades=trades,
        closed=closed,
        complete=True,
        volume_unit=volume_unit,
    )
