"""Builds the candles of each timeframe from messages of the trade tape. No I/O.

An interval ends when a trade at or after its end is on the tape, or when the tape is declared complete beyond its end.
Volumes are in base currency where amounts can be converted. They are summed as decimals, because the exchange's own
volume is a decimal sum: 0.1 + 0.2 is 0.3 there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import NamedTuple

from tickwire.model import timeframes
from tickwire.model.feeds import Candle, Feed, Gap, Trades
from tickwire.model.messages import Row, VolumeUnit
from tickwire.streamer.candles.partial_candles import PartialCandle, partial_candles
from tickwire.venues.units import BASE, Measure

_EXACT = Context(prec=200)
"""Wide enough for the exact sum of any doubles written with 17 digits."""


@dataclass(slots=True)
class Bar:
    """The content of a candle. `sequence` is that of the last message of the trades' stream with a trade in it."""

    open: float
    high: float
    low: float
    close: float
    volume: Decimal
    trades: int
    sequence: int


class Ended(NamedTuple):
    """`[since, until)` is over. `bar` is its candle; None means no trade, and then the range may span many intervals.

    Unless `complete`, part of the range was not observed, and the bar, or its absence, may be wrong. Without a bar,
    `close` is the price of the last trade before the range, where it is known.
    """

    since: int
    until: int
    bar: Bar | None
    complete: bool
    close: float | None = None


class Late(NamedTuple):
    """Trades of `[since, until)`, which had already ended: how many, or 0 where a gap reaches back so far.

    The range extends to the present interval where nothing was traded in between: those flat candles took their price
    from the trade before them, which is now another one.
    """

    since: int
    until: int
    trades: int


class GapBounds:
    """Derives which times a gap covers. A gap whose end is not known stays open until a later message shows the end."""

    def __init__(self) -> None:
        self.open_since: int | None = None
        """Start (ms) of a gap whose end is still unknown."""

    def resolve(
        self, gap: Gap | None, observed_until: int, first: int | None, until: int | None
    ) -> tuple[int, int] | None:
        """The first and last time (ms, inclusive) at which trades may be missing; None while the end is unknown.

        `gap`, `first` and `until` are those of the message: its gap, the time of its first trade, and up to when it
        declares the tape complete. A gap without a start begins at `observed_until`.
        """
        since = observed_until
        if gap is not None and gap.since is not None:
            # If the last known trade is named, other trades of its millisecond may be missing.
            since = gap.since + (gap.after_id is None)
        if self.open_since is not None:
            since = min(since, self.open_since)
        if gap is not None and gap.until is not None:
            last = gap.until - (gap.before_id is None)
        elif first is not None:
            last = first
        elif until is not None:
            last = until - 1
        else:
            self.open_since = since
            return None
        self.open_since = None
        return (since, last) if last >= since else None


class CandleBuilder:
    """Builds the candles of one timeframe. Made by `begin` or `resume`.

    `position` is the sequence of the last message taken; messages up to it are ignored.
    """

    def __init__(self, timeframe: str, position: int) -> None:
        self.timeframe = timeframe
        self.duration = timeframes.duration_ms(timeframe)
        self.position = position
        self.since: int | None = None
        """Open time of the present interval (ms); None until something was observed."""
        self.complete = False
        """Whether the present interval has been observed from its beginning without a gap."""
        self.bar: Bar | None = None
        self._end = 0
        self._target = 0
        self._first_own = 0
        """Open time of the first interval that this builder observed: earlier trades are not its concern."""
        self._reread = -1
        """Sequence of a message that is read a second time: trades of ended intervals in it are not late."""
        self._gap = GapBounds()
        self._close: float | None = None
        """Price of the last trade; None where later trades may be missing."""
        self._traded = -1
        """Start of the grain of that trade (ms)."""

    @classmethod
    def begin(cls, timeframe: str, position: int, target: int) -> CandleBuilder:
        """A builder that starts after the message `position`, for intervals from `target` (ms, an open time) on.

        The interval at `target` is complete if the tape turns out to reach back before it.
        """
        builder = cls(timeframe, position)
        builder._target = target
        return builder

    @classmethod
    def resume(cls, candle: Candle) -> CandleBuilder:
        """A builder that continues where an earlier owner published `candle`.

        After a closed candle its last message is read again, because it may hold trades of the next interval too.
        """
        position = candle.sequence - 1 if candle.closed else candle.sequence
        builder = cls(candle.timeframe, position)
        if candle.closed:
            builder._reread = candle.sequence
            builder._enter(candle.timestamp + builder.duration, complete=True)
        else:
            builder._enter(candle.timestamp, complete=candle.complete)
            builder.bar = Bar(
                candle.open,
                candle.high,
                candle.low,
                candle.close,
                Decimal(repr(candle.volume)),
                candle.trades,
                candle.sequence,
            )
        if candle.complete:
            builder._close, builder._traded = candle.close, candle.timestamp
        return builder

    def fold(
        self, sequence: int, partials: Sequence[PartialCandle], first: int | None, gap: Gap | None, until: int | None
    ) -> list[Ended | Late]:
        """Take a message: its trades summed up, the time of its first trade, its gap, and up to when it is complete.

        Returns the ranges that it ends, in order, and the trades that came late.
        """
        results: list[Ended | Late] = []
        if sequence <= self.position:
            return results
        self.position = sequence
        if self.since is not None and (gap is not None or self._gap.open_since is not None):
            missing = self._gap.resolve(gap, self.since, first, until)
            if missing is not None:
                self._take_gap(*missing, results)
        for partial in partials:
            if self.since is None:
                self._start(partial.at, exactly=False)
            if partial.at >= self._end:
                self._advance(partial.at, results)
            elif partial.at < (self.since or 0):
                if partial.at >= self._first_own and sequence != self._reread:
                    results.append(self._late(partial))
                continue
            self._add(partial, sequence)
        if until is not None:
            if self.since is None:
                self._start(until, exactly=True)
            elif until >= self._end:
                self._advance(until, results)
        return results

    def end_reached_by(self, at: int) -> int:
        """Up to when (ms) intervals end once something of time `at` (ms) is taken; 0 if none ends."""
        return at - at % self.duration if self.since is not None and at >= self._end else 0

    def _late(self, partial: PartialCandle) -> Late:
        opened = partial.at - partial.at % self.duration
        until = opened + self.duration
        if partial.at >= self._traded and self.since is not None:
            # The flat candles after it were published at another price.
            until = max(until, self.since)
            self._close, self._traded = partial.close, partial.at
        return Late(opened, until, partial.trades)

    def _add(self, partial: PartialCandle, sequence: int) -> None:
        self._close, self._traded = partial.close, partial.at
        bar = self.bar
        if bar is None:
            self.bar = Bar(
                partial.open, partial.high, partial.low, partial.close, partial.volume, partial.trades, sequence
            )
            return
        if partial.high > bar.high:
            bar.high = partial.high
        if partial.low < bar.low:
            bar.low = partial.low
        bar.close = partial.close
        bar.volume = _EXACT.add(bar.volume, partial.volume)
        bar.trades += partial.trades
        bar.sequence = sequence

    def _start(self, at: int, *, exactly: bool) -> None:
        """Enter the first interval. `exactly`: everything from `at` (ms) on is observed."""
        if at < self._target:
            self._enter(self._target, complete=True)
        else:
            opened = at - at % self.duration
            self._enter(opened, complete=exactly and at == opened)
        assert self.since is not None
        self._first_own = self.since

    def _enter(self, since: int, *, complete: bool) -> None:
        self.since = since
        self._end = since + self.duration
        self.complete = complete
        self.bar = None

    def _advance(self, to: int, results: list[Ended | Late]) -> None:
        """End the present interval, and those without a trade before `to` (ms), all of which was observed."""
        assert self.since is not None
        opened = to - to % self.duration
        results.append(Ended(self.since, self._end, self.bar, self.complete, None if self.bar else self._close))
        if opened > self._end:
            results.append(Ended(self._end, opened, None, True, self._close))
        self._enter(opened, complete=True)

    def _take_gap(self, since: int, last: int, results: list[Ended | Late]) -> None:
        """Trades may be missing from `since` to `last` (ms, inclusive)."""
        assert self.since is not None
        if since < self.since and self.position != self._reread:
            self._take_gap_in_ended(since, last, results)
        if last < self.since:
            return
        if since >= self._end:
            self._advance(since, results)
        self.complete = False
        self._close = None
        opened = last - last % self.duration
        if opened > self.since:
            results.append(Ended(self.since, self._end, self.bar, False))
            if opened > self._end:
                results.append(Ended(self._end, opened, None, False))
            self._enter(opened, complete=False)

    def _take_gap_in_ended(self, since: int, last: int, results: list[Ended | Late]) -> None:
        """The part of a gap that lies in intervals that have ended."""
        assert self.since is not None
        begun = max(since - since % self.duration, self._first_own)
        ended = min(last - last % self.duration + self.duration, self.since)
        if last >= self._traded:
            # The last trade before the present interval may be among the missing ones.
            ended, self._close = self.since, None
        if begun < ended:
            results.append(Late(begun, ended, 0))


def fold(
    builders: Mapping[str, CandleBuilder], grain: int, sequence: int, message: Trades, measure: Measure = BASE
) -> list[tuple[str, Ended | Late]]:
    """Take a message of the tape into the candles of all timeframes; returns the results of each, in order.

    `grain` is `grain_of` the timeframes; `measure` converts the amounts of trades to base currency.
    """
    trades = message.trades
    partials = partial_candles(trades, grain, measure)
    first = trades[0].timestamp if trades else None
    results: list[tuple[str, Ended | Late]] = []
    for timeframe, builder in builders.items():
        for each in builder.fold(sequence, partials, first, message.gap, message.until):
            results.append((timeframe, each))
    return results


def candle_of(
    feed: Feed, since: int, bar: Bar, *, closed: bool, complete: bool, volume_unit: VolumeUnit = "base"
) -> Candle:
    """The candle of `feed`, which has a timeframe, as it is published."""
    assert feed.timeframe is not None
    return Candle(
        exchange=feed.exchange,
        symbol=feed.symbol,
        timeframe=feed.timeframe,
        timestamp=since,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=float(bar.volume),
        trades=bar.trades,
        closed=closed,
        complete=complete,
        sequence=bar.sequence,
        volume_unit=volume_unit,
    )


def flat(price: float, sequence: int) -> Bar:
    """The bar of an interval without a trade, at the close before it, for venues that publish such candles."""
    return Bar(price, price, price, price, Decimal(0), 0, sequence)


def row_of(candle: Candle) -> Row:
    """The candle as a row of the cache."""
    return (candle.timestamp, candle.open, candle.high, candle.low, candle.close, candle.volume)
