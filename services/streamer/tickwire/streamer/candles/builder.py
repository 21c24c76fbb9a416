"""Candles from trades. No I/O.

Trades are cut into runs that fall into one interval of every timeframe, so that what a run costs is paid once for all
timeframes. An interval ends when a trade at or after its end is on the tape, or the tape says that it is complete
beyond it. Volumes are in base currency where amounts can be measured so, and added as decimals, because an exchange's
own volume is a decimal sum: 0.1 + 0.2 is 0.3 there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import reduce
from math import gcd
from typing import NamedTuple

from tickwire.model import timeframes
from tickwire.model.feeds import Candle, Gap, Trade, Trades
from tickwire.model.messages import Row, VolumeUnit
from tickwire.venues.units import BASE, Measure

DAY_MS = 86_400_000

_EXACT = Context(prec=200)
"""Wide enough for the sum of any doubles that are written with 17 digits."""


def divides_a_day(timeframe: str) -> bool:
    """Whether candles of this timeframe are built from trades: those that begin anew with each day (UTC)."""
    return DAY_MS % timeframes.duration_ms(timeframe) == 0


def grain_of(names: Iterable[str]) -> int:
    """The longest span (ms) that every one of these timeframes consists of; a day where there is none."""
    return reduce(gcd, (timeframes.duration_ms(name) for name in names), DAY_MS)


class PartialCandle(NamedTuple):
    """Trades that follow each other within one grain. `at` is where the grain begins (ms)."""

    at: int
    open: float
    high: float
    low: float
    close: float
    volume: Decimal
    trades: int


def partial_candles(trades: Sequence[Trade], grain: int, measure: Measure = BASE) -> list[PartialCandle]:
    """Trades in the order of the tape, as runs; `measure` says what their amounts are."""
    if not trades:
        return []
    grains = [trade.timestamp // grain for trade in trades]
    if grains.count(grains[0]) == len(grains):
        return [_run(grains[0] * grain, trades, measure)]
    runs, start = [], 0
    for index in range(1, len(grains) + 1):
        if index == len(grains) or grains[index] != grains[start]:
            runs.append(_run(grains[start] * grain, trades[start:index], measure))
            start = index
    return runs


def _run(at: int, trades: Sequence[Trade], measure: Measure) -> PartialCandle:
    if len(trades) == 1:
        trade = trades[0]
        price = trade.price
        return PartialCandle(at, price, price, price, price, measure.base_volume(trade.amount, price), 1)
    prices = [trade.price for trade in trades]
    return PartialCandle(at, prices[0], max(prices), min(prices), prices[-1], measure.total(trades), len(prices))


@dataclass(slots=True)
class Bar:
    """A candle being built. `sequence` is that of the last message of stream TRADES with a trade in it."""

    open: float
    high: float
    low: float
    close: float
    volume: Decimal
    trades: int
    sequence: int


class Ended(NamedTuple):
    """`[since, until)` is over. `bar` is its candle; without one nothing was traded, and it may be many intervals.

    Where it is not `complete`, not all of it was observed, and both may be wrong. Where nothing was traded, `close` is
    the price of the last trade before, if that is known.
    """

    since: int
    until: int
    bar: Bar | None
    complete: bool
    close: float | None = None


class Late(NamedTuple):
    """Something of `[since, until)`, which had ended before: so many trades, or none where a gap reaches so far.

    Where nothing was traded between the trades and the present interval, it reaches up to that: their price is the
    close of what follows them.
    """

    since: int
    until: int
    trades: int


class CandleBuilder:
    """The candles of one timeframe. Made by `begin` or `resume`.

    `position` is the sequence of the last message taken: earlier ones are ignored.
    """

    def __init__(self, timeframe: str, position: int) -> None:
        self.timeframe = timeframe
        self.duration = timeframes.duration_ms(timeframe)
        self.position = position
        self.since: int | None = None
        """Where the present interval begins; absent until something was observed."""
        self.complete = False
        """Whether the present interval was wholly observed so far."""
        self.bar: Bar | None = None
        self._end = 0
        self._target = 0
        self._floor = 0
        """What is earlier never was ours."""
        self._again = -1
        """A message that is read a second time: what is early in it is known."""
        self._unknown_since: int | None = None
        """Where a gap begins whose end is still to be seen."""
        self._close: float | None = None
        """The price of the last trade; absent where trades may be missing after the last one known."""
        self._traded = -1
        """The grain of that trade."""

    @classmethod
    def begin(cls, timeframe: str, position: int, target: int) -> CandleBuilder:
        """From the message after `position` on; what is before `target` (ms, an open time) is of no interest.

        The interval at `target` is complete when the tape turns out to reach back to before it.
        """
        building = cls(timeframe, position)
        building._target = target
        return building

    @classmethod
    def resume(cls, candle: Candle) -> CandleBuilder:
        """From where a candle was published that an earlier owner built.

        After a closed one, its last message is read again, because it may hold trades of the next interval too.
        """
        if candle.closed:
            building = cls(candle.timeframe, candle.sequence - 1)
            building._again = candle.sequence
            building._enter(candle.timestamp + building.duration, complete=True)
            if candle.complete:
                building._close, building._traded = candle.close, candle.timestamp
            return building
        building = cls(candle.timeframe, candle.sequence)
        building._enter(candle.timestamp, complete=candle.complete)
        building.bar = Bar(
            candle.open,
            candle.high,
            candle.low,
            candle.close,
            Decimal(repr(candle.volume)),
            candle.trades,
            candle.sequence,
        )
        if candle.complete:
            building._close, building._traded = candle.close, candle.timestamp
        return building

    def fold(
        self, sequence: int, runs: Sequence[PartialCandle], first: int | None, gap: Gap | None, until: int | None
    ) -> list[Ended | Late]:
        """Take in a message: its runs, the time of its first trade, its gap and how far it is complete.

        Gives what has ended by it, in order, and what came late.
        """
        said: list[Ended | Late] = []
        if sequence <= self.position:
            return said
        self.position = sequence
        if gap is not None or self._unknown_since is not None:
            self._miss(gap, first, until, said)
        for run in runs:
            if self.since is None:
                self._begin(run.at, exactly=False)
            if run.at >= self._end:
                self._advance(run.at, said)
            elif run.at < (self.since or 0):
                if run.at >= self._floor and sequence != self._again:
                    said.append(self._late(run))
                continue
            self._add(run, sequence)
        if until is not None:
            if self.since is None:
                self._begin(until, exactly=True)
            elif until >= self._end:
                self._advance(until, said)
        return said

    def end_reached_by(self, at: int) -> int:
        """Up to when (ms) intervals are over once something of this time (ms) is taken; 0 where none is."""
        return at - at % self.duration if self.since is not None and at >= self._end else 0

    def _late(self, run: PartialCandle) -> Late:
        opened = run.at - run.at % self.duration
        until = opened + self.duration
        if run.at >= self._traded and self.since is not None:
            # What followed it was flat at another price.
            until = max(until, self.since)
            self._close, self._traded = run.close, run.at
        return Late(opened, until, run.trades)

    def _add(self, run: PartialCandle, sequence: int) -> None:
        self._close, self._traded = run.close, run.at
        bar = self.bar
        if bar is None:
            self.bar = Bar(run.open, run.high, run.low, run.close, run.volume, run.trades, sequence)
            return
        if run.high > bar.high:
            bar.high = run.high
        if run.low < bar.low:
            bar.low = run.low
        bar.close = run.close
        bar.volume = _EXACT.add(bar.volume, run.volume)
        bar.trades += run.trades
        bar.sequence = sequence

    def _begin(self, at: int, *, exactly: bool) -> None:
        """The first sign, at this time; `exactly`: from this very time on, all is observed."""
        if at < self._target:
            self._enter(self._target, complete=True)
        else:
            opened = at - at % self.duration
            self._enter(opened, complete=exactly and at == opened)
        assert self.since is not None
        self._floor = self.since

    def _enter(self, since: int, *, complete: bool) -> None:
        self.since = since
        self._end = since + self.duration
        self.complete = complete
        self.bar = None

    def _advance(self, to: int, said: list[Ended | Late]) -> None:
        """All was observed up to `to`, which lies after the present interval."""
        assert self.since is not None
        opened = to - to % self.duration
        said.append(Ended(self.since, self._end, self.bar, self.complete, None if self.bar else self._close))
        if opened > self._end:
            said.append(Ended(self._end, opened, None, True, self._close))
        self._enter(opened, complete=True)

    def _miss(self, gap: Gap | None, first: int | None, until: int | None, said: list[Ended | Late]) -> None:
        """Work out from when to when trades are missing, both inclusive."""
        if self.since is None:
            return
        since = self.since
        if gap is not None and gap.since is not None:
            # Where the last known trade is named, others of its millisecond may be missing.
            since = gap.since + (gap.after_id is None)
        if self._unknown_since is not None:
            since = min(since, self._unknown_since)
        if gap is not None and gap.until is not None:
            last = gap.until - (gap.before_id is None)
        elif first is not None:
            last = first
        elif until is not None:
            last = until - 1
        else:
            self._unknown_since = since
            return
        self._unknown_since = None
        if last >= since:
            self._missing(since, last, said)

    def _missing(self, since: int, last: int, said: list[Ended | Late]) -> None:
        assert self.since is not None
        if since < self.since and self.position != self._again:
            begun = max(since - since % self.duration, self._floor)
            ended = min(last - last % self.duration + self.duration, self.since)
            if last >= self._traded:
                # One of those missing may be the last before now.
                ended, self._close = self.since, None
            if begun < ended:
                said.append(Late(begun, ended, 0))
        if last < self.since:
            return
        if since >= self._end:
            self._advance(since, said)
        self.complete = False
        self._close = None
        opened = last - last % self.duration
        if opened > self.since:
            said.append(Ended(self.since, self._end, self.bar, False))
            if opened > self._end:
                said.append(Ended(self._end, opened, None, False))
            self._enter(opened, complete=False)


def fold(
    buildings: Mapping[str, CandleBuilder], grain: int, sequence: int, message: Trades, measure: Measure = BASE
) -> list[tuple[str, Ended | Late]]:
    """Take a message of the tape into all candles; what each timeframe has to say, in order.

    `grain` is `grain_of` their timeframes, `measure` what the amounts of trades are.
    """
    trades = message.trades
    runs = partial_candles(trades, grain, measure)
    first = trades[0].timestamp if trades else None
    said: list[tuple[str, Ended | Late]] = []
    for timeframe, building in buildings.items():
        for each in building.fold(sequence, runs, first, message.gap, message.until):
            said.append((timeframe, each))
    return said


def candle_of(
    exchange: str,
    symbol: str,
    timeframe: str,
    since: int,
    bar: Bar,
    *,
    closed: bool,
    complete: bool,
    volume_unit: VolumeUnit = "base",
) -> Candle:
    """A bar as it is published."""
    return Candle(
        exchange=exchange,
        symbol=symbol,
        timeframe=timeframe,
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
    """The candle of an interval without a trade, where the exchange has one: at the close before it."""
    return Bar(price, price, price, price, Decimal(0), 0, sequence)


def row_of(candle: Candle) -> Row:
    """A candle as it is cached."""
    return (candle.timestamp, candle.open, candle.high, candle.low, candle.close, candle.volume)
