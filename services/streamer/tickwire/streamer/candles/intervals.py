"""Decides what becomes of an interval that has ended: published, cached, or fetched."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from tickwire.model import timeframes
from tickwire.model.feeds import Candle
from tickwire.model.ranges import Range
from tickwire.observe.episodes import ReportThrottle
from tickwire.streamer.candles.builder import CandleBuilder, Ended, Late, candle_of, flat, row_of
from tickwire.streamer.candles.outbox import CacheOutbox
from tickwire.streamer.candles.publisher import CandlePublisher
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.venues.registry import profile_of
from tickwire.venues.units import stated

QUIET = 1000
"""Most intervals without a trade that are published one by one; for a longer silence the exchange is asked."""


class Intervals:
    """Takes the results of the builders of one market; `publishers` are those of its timeframes."""

    def __init__(self, context: FeedContext, outbox: CacheOutbox, publishers: Mapping[str, CandlePublisher]) -> None:
        self._feed = context.feed
        self._status = context.status
        self._units = context.units
        self._outbox = outbox
        self._publishers = publishers
        quiet = profile_of(context.feed.exchange).candles.quiet
        self._quiet_rows = quiet if context.units.fetches == "base" else None
        """Whether the exchange's own history has rows for intervals without a trade; None if that is unknown."""
        self._late_trades = 0
        self._late_reports = ReportThrottle(self._report_late)

    def take(self, timeframe: str, result: Ended | Late, sequence: int) -> None:
        """Take a result of the message at `sequence` of the trades' stream."""
        if isinstance(result, Late):
            self._take_late(timeframe, result)
        elif result.bar is not None:
            candle = self._candle(timeframe, result.since, result, closed=True)
            self._publishers[timeframe].close(candle)
            self.file(candle, result.until)
        elif result.complete:
            self._take_quiet(timeframe, result, sequence)
        else:
            self.missed(timeframe, Range(result.since, result.until))

    def file(self, candle: Candle, until: int) -> None:
        """Have a closed candle cached as it is, or fetched."""
        interval = Range(candle.timestamp, until)
        if not candle.complete:
            self.missed(candle.timeframe, interval)
        elif self._units.cacheable and stated(candle.symbol, candle.volume_unit) == "base":
            self._outbox.observed(candle.timeframe, *interval, row_of(candle))
        else:
            self._outbox.missed(candle.timeframe, interval)

    def missed(self, timeframe: str, missing: Range) -> None:
        """Have a range fetched that was not observed wholly."""
        self._status.gaps += 1
        self._outbox.missed(timeframe, missing)

    def open_candle(self, builder: CandleBuilder) -> Candle | None:
        """The open candle as it is now; None before its first trade."""
        if builder.since is None or builder.bar is None:
            return None
        present = Ended(builder.since, 0, builder.bar, builder.complete)
        return self._candle(builder.timeframe, builder.since, present, closed=False)

    def _take_quiet(self, timeframe: str, ended: Ended, sequence: int) -> None:
        """Intervals without a trade: rows or no rows, as in the exchange's history; if that is unknown, fetch them."""
        duration = timeframes.duration_ms(timeframe)
        is_short = (ended.until - ended.since) // duration <= QUIET
        if self._quiet_rows == "none":
            self._outbox.observed(timeframe, ended.since, ended.until, None)
        elif self._quiet_rows == "rows" and ended.close is not None and is_short:
            bar = flat(ended.close, sequence)
            for since in range(ended.since, ended.until, duration):
                candle = self._candle(timeframe, since, ended._replace(bar=bar), closed=True)
                self._publishers[timeframe].close(candle)
                self._outbox.observed(timeframe, since, since + duration, row_of(candle))
        else:
            self._outbox.missed(timeframe, Range(ended.since, ended.until))

    def _take_late(self, timeframe: str, late: Late) -> None:
        self._outbox.missed(timeframe, Range(late.since, late.until), refresh=True)
        self._late_trades += late.trades
        opened = datetime.fromtimestamp(late.since / 1000, UTC).isoformat(timespec="seconds")
        self._late_reports.add(f"after the {timeframe} candle of {opened} was closed")

    def _report_late(self, message: str) -> None:
        trades, self._late_trades = self._late_trades, 0
        self._status.report("late", message, trades=trades)

    def _candle(self, timeframe: str, since: int, ended: Ended, *, closed: bool) -> Candle:
        assert ended.bar is not None
        return candle_of(
            self._feed._replace(timeframe=timeframe),
            since,
            ended.bar,
            closed=closed,
            complete=ended.complete,
            volume_unit=self._units.builds,
        )
