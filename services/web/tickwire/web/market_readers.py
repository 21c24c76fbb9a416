"""Reads a market for the tabs: its feeds where they run, and its cached candles. Starts nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct

from tickwire.client import Client, Key
from tickwire.model.feeds import Book, Candle, Feed, FeedReport, Trades
from tickwire.model.messages import Row
from tickwire.model.ranges import Range
from tickwire.web.board import Read
from tickwire.web.market import Chart, Ladder, LiveCandles, Tape, TapeRow, chart, ladder
from tickwire.web.overview import FeedRow, feed_row
from tickwire.web.search import not_listed

CANDLES = 300
"""Candles of a chart."""
CANDLES_S = 5.0
"""How often the cached ones are read."""
REPORTS_S = 1.0
"""How often the states of the feeds are asked for."""
BACK = 20
"""Stored messages of trades that are read first."""


class Market(Struct, frozen=True, kw_only=True):
    """The feeds of a market that run, its newest trades and its book.

    `unlisted` says why there is no such market, where none of its feeds runs; `unit` is that of amounts, if it is not
    the base currency.
    """

    feeds: list[FeedRow]
    tape: list[TapeRow]
    ladder: Ladder
    unlisted: str = ""
    unit: str = ""


class MarketReader:
    """Reads the trades and the book of a market."""

    def __init__(self, client: Client, exchange: str, symbol: str) -> None:
        self._client = client
        self._exchange = exchange
        self._symbol = symbol
        self._forget()

    def _forget(self) -> None:
        self._tape = Tape()
        self._book: Book | None = None
        self._heard = 0.0
        self._reports: list[FeedReport] = []
        self._asked = float("-inf")
        self._unlisted: str | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Read]:
        """Follows both feeds within the block; begins with nothing of what was read before a failure."""
        self._forget()
        trades, books = (Feed(kind, self._exchange, self._symbol) for kind in ("trade", "book"))
        async with AsyncExitStack() as stack:
            tape = self._tape
            await stack.enter_async_context(self._client.following(trades, Trades, tape.take, BACK, tape.missed))
            await stack.enter_async_context(self._client.following(books, Book, self._take_book))
            yield self._read

    def _take_book(self, book: Book) -> None:
        self._book, self._heard = book, time.monotonic()

    async def _read(self) -> Market:
        now = time.monotonic()
        if now - self._asked >= REPORTS_S:
            found = await self._client.feeds(self._exchange)
            self._reports, self._asked = [each for each in found if each.symbol == self._symbol], now
            if not self._reports and self._unlisted is None:
                self._unlisted = await not_listed(self._client, self._exchange, self._symbol)
        report = next((each for each in self._reports if each.kind == "book"), None)
        return Market(
            feeds=[feed_row(each) for each in self._reports],
            tape=self._tape.rows,
            ladder=ladder(self._book, now - self._heard, report),
            unlisted=self._unlisted or "" if not self._reports else "",
            unit=self._tape.unit,
        )


class ChartReader:
    """Reads the candles of a key."""

    def __init__(self, client: Client, key: Key) -> None:
        self._client = client
        self._key = key
        self._forget()

    def _forget(self) -> None:
        self._live = LiveCandles()
        self._rows: list[Row] = []
        self._missing: list[Range] = []
        self._read_at = float("-inf")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Read]:
        """Follows the live candles within the block; begins with nothing of what was read before a failure."""
        self._forget()
        feed = Feed("candle", self._key.exchange, self._key.symbol, self._key.timeframe)
        async with self._client.following(feed, Candle, self._live.take):
            yield self._read

    async def _read(self) -> Chart:
        now = time.monotonic()
        if now - self._read_at >= CANDLES_S:
            self._rows, self._missing = await self._client.newest_candles(self._key, CANDLES)
            self._read_at = now
        return chart(self._key.timeframe, self._rows, self._missing, self._live.newest)
