"""Candles as the exchange makes them, for timeframes that are not built here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tickwire.feeds import Candle, Feed
from tickwire.streamer.desk import Board
from tickwire.streamer.lines import Line
from tickwire.streamer.pacing import Complaints
from tickwire.streamer.tape import Tape


class OwnCandles:
    """One timeframe: the venue puts candles in (a `desk.Sink`), `line` publishes them.

    A candle is closed when the exchange says so, or when the next one opens; each once. One whose last state may have
    been missed, because the connection broke, is not complete then.
    """

    def __init__(self, feed: Feed, tape: Tape, board: Board, last: Candle | None, candle_ms: int) -> None:
        assert feed.timeframe is not None
        self.line = Line(feed.timeframe, tape, board, lambda: self._open, candle_ms)
        self._feed = feed
        self._board = board
        self._complaints = Complaints(board)
        self._open = last if last is not None and not last.closed else None
        self._closed = last.timestamp if last is not None and last.closed else -1
        self._doubtful = True
        self._connections = 0

    def take(self, items: Sequence[Any], received: int) -> None:
        """Candles, in order."""
        for candle in items:
            if candle.timestamp <= self._closed:
                self._board.duplicates += 1
                continue
            if self._open is not None and candle.timestamp > self._open.timestamp:
                self._close(msgspec.structs.replace(self._open, complete=self._open.complete and not self._doubtful))
            elif self._open is not None and candle.timestamp < self._open.timestamp:
                self._board.duplicates += 1
                continue
            self._doubtful = False
            if candle.closed:
                self._close(candle)
            else:
                self._open = msgspec.structs.replace(candle, sequence=0)
                self.line.change()
            self._board.state = "live"

    def _close(self, candle: Candle) -> None:
        self._open = None
        self._closed = candle.timestamp
        self.line.close(msgspec.structs.replace(candle, closed=True, sequence=0))

    def connected(self) -> None:
        """What happened before may be missing: until the open candle is told again, it is in doubt."""
        if self._connections:
            self._board.reconnects += 1
        self._connections += 1
        self._board.say("connected", f"{self._feed.timeframe} candles of the exchange")

    def disconnected(self, reason: str) -> None:
        """The open candle may change unseen."""
        self._doubtful = True
        self._board.say("disconnected", f"{self._feed.timeframe} candles of the exchange: {reason}")

    def rejected(self, reason: str) -> None:
        """Say so."""
        self._complaints.add(reason)
