"""Tickers and pages of candles that a test puts on the tape for an archive, and what its files have of them."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from archive.written_tape import DAY, START
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.model import messages, subjects
from tickwire.model.feeds import Feed, Ticker
from tickwire.model.feeds.layout import HELD
from tickwire.model.messages import CandlePage
from tickwire.model.subjects import token
from tickwire.model.timeframes import duration_ms
from tickwire.tape.writer import TapeWriter, open_writer

SYMBOLS = ("BTC/USDT", "ETH/USDT")
TIMEFRAMES = ("1h", "1d")
HOUR = 3_600_000
AT_ONCE = 6
"""Tickers of a symbol before the mirror is waited for: the stream of tickers keeps eight."""
Row = tuple[Any, ...]


class States:
    """Puts tickers on the tape as streamers do, and pages as streamers and fetchers, which the cache purges at once."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.at = START // DAY * DAY
        """The exchange's time; it begins with a day."""
        self.tickers: dict[str, list[Row]] = defaultdict(list)
        """What the files should have, by symbol."""
        self.candles: dict[str, dict[tuple[int, str], Row]] = defaultdict(dict)
        self._writers: dict[str, TapeWriter] = {}
        self._paged: dict[tuple[str, str], int] = {}
        self._draw = random.Random(5)

    def continues(self, before: States) -> None:
        """Go on where another connection has stopped writing."""
        self.at, self.tickers, self.candles, self._paged = before.at, before.tickers, before.candles, before._paged

    async def ticker(self, symbol: str) -> int:
        """One more message; its sequence."""
        if symbol not in self._writers:
            feed = Feed("ticker", "binance", symbol)
            self._writers[symbol], _ = await open_writer(self.bus, streams.TICKERS, feed.tape)
        values: dict[str, Any] = {
            name: self._draw.choice([None, round(self._draw.uniform(1, 9e4), 2)]) for name in ("last", "bid", "mark")
        }
        message = Ticker(
            exchange="binance",
            symbol=symbol,
            timestamp=self.at,
            received=self.at + 7,
            conflated=self._draw.randrange(3),
            interrupted=not self.tickers[symbol],
            **values,
        )
        sequence = await self._writers[symbol].append(messages.encode(message))
        self.tickers[symbol].append((self.at, self.at + 7, *values.values(), message.conflated, sequence))
        return sequence

    async def page(self, symbol: str, timeframe: str, again: int | None = None) -> None:
        """A page of the candles that have closed since the last one, and of some before, whose rows are others now."""
        step = duration_ms(timeframe)
        until = self.at // step * step
        first = self._paged.get((symbol, timeframe), START // DAY * DAY)
        if until <= first:
            return
        since = max(START // DAY * DAY, first - step * (self._draw.randrange(3) if again is None else again))
        rows: list[Any] = [
            (at, *(round(self._draw.uniform(1, 9e4), 2) for _ in range(5)))
            for at in range(since, until, step)
            if self._draw.random() < 0.9
        ]
        page = CandlePage(
            exchange="binance",
            symbol=symbol,
            timeframe=timeframe,
            since=since,
            until=until,
            rows=rows,
            source="live",
            volume_unit="base",
            origin="audited",
        )
        ack = await self.bus.jetstream.publish(subjects.ohlcv(page.key), messages.encode(page))
        await self.bus.jetstream.purge_stream(streams.OHLCV, seq=ack.seq + 1)
        self._paged[symbol, timeframe] = until
        for at in range(since, until, step):
            self.candles[symbol].pop((at, timeframe), None)
        self.candles[symbol] |= {(row[0], timeframe): (row[0], timeframe, *row[1:], "live", "audited") for row in rows}

    async def go_on(self, until: Callable[[], bool], *, step: int) -> None:
        """Write all in turn; the exchange's time goes on by `step` ms with each turn."""
        while not until():
            for _ in range(AT_ONCE):
                self.at += step
                sequences = [await self.ticker(symbol) for symbol in SYMBOLS]
                for symbol in SYMBOLS:
                    for timeframe in TIMEFRAMES:
                        await self.page(symbol, timeframe)
            await self.mirrored(sequences[-1])

    async def mirrored(self, sequence: int) -> None:
        """Wait until the archive's stream of tickers has a message."""
        async with asyncio.timeout(60):
            while (await self.bus.jetstream.stream_info(HELD["ticker"])).state.last_seq < sequence:
                await asyncio.sleep(0.01)

    async def end_day(self) -> None:
        """Go on to the begin of the next day, which ends the last one of all feeds."""
        self.at = (self.at // DAY + 1) * DAY
        for symbol in SYMBOLS:
            for timeframe in TIMEFRAMES:
                await self.page(symbol, timeframe)
            await self.mirrored(await self.ticker(symbol))

    def candles_of(self, symbol: str) -> list[Row]:
        """By time, shorter candles first."""
        return sorted(self.candles[symbol].values(), key=lambda row: (row[0], duration_ms(row[1])))


def days_of(root: Path, kind: str, symbol: str) -> list[Path]:
    """The folders of the days of a feed."""
    return sorted((root / kind / "exchange=binance" / f"symbol={token(symbol)}").glob("date=*"))


def rows_of(root: Path, kind: str, symbol: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """The rows of the ended days of a feed, by pyarrow alone, times in ms."""
    for day in days_of(root, kind, symbol):
        for row in pq.ParquetFile(day / "data.parquet").read().to_pylist():
            values = [row[name] for name in columns]
            yield tuple(round(each.timestamp() * 1000) if hasattr(each, "timestamp") else each for each in values)


def tickers_of(root: Path, symbol: str) -> list[Row]:
    names = ("timestamp", "received", "last", "bid", "mark", "conflated", "sequence")
    return list(rows_of(root, "ticker", symbol, names))


def candles_of(root: Path, symbol: str) -> list[Row]:
    names = ("timestamp", "timeframe", "open", "high", "low", "close", "volume", "source", "origin")
    return list(rows_of(root, "candle", symbol, names))


def certificates(root: Path, kind: str, symbol: str) -> list[dict[str, Any]]:
    """Of the days of a feed."""
    return [json.loads((day / "day.json").read_text()) for day in days_of(root, kind, symbol)]


async def until_archived(root: Path, states: States, timeout_s: float = 100) -> None:
    """Wait until the files have all of it in closed days; looked at again, because folders announce nothing."""
    async with asyncio.timeout(timeout_s):
        while not all(_is_archived(root, states, symbol) for symbol in SYMBOLS):
            await asyncio.sleep(0.1)


def are_closed(days: list[Path]) -> bool:
    """Whether nothing of days is to be closed."""
    return all((day / "day.json").exists() and not list(day.glob("part-*")) for day in days)


def _is_archived(root: Path, states: States, symbol: str) -> bool:
    try:
        days = [*days_of(root, "ticker", symbol), *days_of(root, "candle", symbol)]
        tickers, candles = tickers_of(root, symbol), candles_of(root, symbol)
    except FileNotFoundError:
        return False
    return are_closed(days) and len(tickers) >= len(states.tickers[symbol]) and candles == states.candles_of(symbol)
