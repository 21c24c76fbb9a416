"""Replay of the past: what feeds had, on one clock, at a chosen speed."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from tickwire.bus.connection import Bus
from tickwire.client import archived
from tickwire.client.archived import Past
from tickwire.client.decoded import REMADE
from tickwire.client.items import NamedItem, named_item
from tickwire.client.merging import AT_ONCE, Block, merged, paced
from tickwire.client.replay_books import book_pages
from tickwire.client.replay_candles import candle_pages
from tickwire.client.replay_feeds import DEFAULT_VIEW, BookView
from tickwire.client.replay_tickers import ticker_pages
from tickwire.client.trade_items import CLOCKS_MS, TradeItems
from tickwire.errors import NoSuchService, NotArchived
from tickwire.model.feeds import Book, Candle, Feed, Gap, Ticker, Trade
from tickwire.model.nearest import markets_like
from tickwire.tape.markets import taped_markets
from tickwire.tape.sequence import TapeMessage
from tickwire.tape.stored import find_position, read_pages

Item = Trade | Gap
AnyItem = Item | Book | Ticker | Candle
T = TypeVar("T")


class Replayed(NamedTuple):
    """An item of a replay of several feeds: a trade, book, ticker or closed candle, or a gap where some are missing."""

    exchange: str
    symbol: str
    item: NamedItem | Book | Ticker | Candle


@dataclass(frozen=True)
class Wanted:
    """What to replay: feeds in `[since, until)` (ms), `speed` times as fast as it happened; `view` is of books."""

    feeds: Sequence[Feed]
    since: int
    until: int | None
    speed: float = math.inf
    view: BookView = DEFAULT_VIEW


class Timer:
    """The time of each item of a feed: that of its trade, but never less than that of the item before.

    A gap has the time of the trade before it; gaps before the first trade wait for it, and have its time.
    """

    def __init__(self) -> None:
        self._time = AT_ONCE
        self._waiting: list[Item] = []

    def timed(self, items: Sequence[Item]) -> Block[Item]:
        """The items with their times, after those that have waited for a trade."""
        times: list[int] = []
        found: list[Item] = []
        time = self._time
        for item in items:
            if isinstance(item, Trade):
                if item.timestamp > time:
                    time = item.timestamp
                if self._waiting:
                    times += [time] * len(self._waiting)
                    found += self._waiting
                    self._waiting.clear()
            elif time == AT_ONCE:
                self._waiting.append(item)
                continue
            times.append(time)
            found.append(item)
        self._time = time
        return Block(times, found)

    def rest(self) -> Block[Item]:
        """The gaps of a feed without a trade: they are due at once."""
        return Block([AT_ONCE] * len(self._waiting), list(self._waiting))


async def one_by_one(batches: AsyncGenerator[list[T], None]) -> AsyncGenerator[T, None]:
    """The items of lists."""
    async with aclosing(batches) as lists:
        async for each in lists:
            for item in each:
                yield item


async def due_together(
    bus: Bus, of: Feed, since: int, until: int | None, speed: float
) -> AsyncGenerator[list[NamedItem], None]:
    """The trades and gaps of a feed on the tape in `[since, until)` (ms), in lists of items that are due together.

    They come in order, `speed` times as fast as they happened.
    """
    async with aclosing(paced(merged([item_pages(bus, of, since, until)]), speed)) as batches:
        async for batch in batches:
            yield [named_item(of, item) for item in batch.items]


async def replayed_together(bus: Bus, wanted: Wanted) -> AsyncGenerator[list[Replayed], None]:
    """The items of several feeds on one clock, in lists of those that are due together. Raises BadRequest."""
    feeds = wanted.feeds
    pages = [any_pages(bus, each, wanted.since, wanted.until, wanted.view) for each in feeds]
    async with aclosing(paced(merged(pages), wanted.speed)) as batches:
        async for batch in batches:
            yield [
                Replayed(feeds[index].exchange, feeds[index].symbol, _named(feeds[index], item))
                for index, item in zip(batch.sources, batch.items, strict=True)
            ]


def _named(of: Feed, item: AnyItem) -> NamedItem | Book | Ticker | Candle:
    return named_item(of, item) if isinstance(item, Trade | Gap) else item


def any_pages(bus: Bus, of: Feed, since: int, until: int | None, view: BookView) -> AsyncGenerator[Block[Any], None]:
    """The items of a feed of any kind in `[since, until)` (ms), a page at a time. Raises NotArchived."""
    if of.kind == "book":
        return book_pages(bus, of, since, until, view)
    if of.kind == "ticker":
        return ticker_pages(bus, of, since, until)
    if of.kind == "candle":
        return candle_pages(bus, of, since, until)
    return item_pages(bus, of, since, until)


async def item_pages(bus: Bus, of: Feed, since: int, until: int | None) -> AsyncGenerator[Block[Item], None]:
    """The trades and gaps of a feed on the tape in `[since, until)` (ms), a page at a time."""
    items, timer = TradeItems(of, since, yielded=True), Timer()

    async def read(past: Past) -> AsyncGenerator[list[Item], None]:
        async with aclosing(archived.item_pages(bus, of, since, past)) as pages:
            async for page in pages:
                yield items.passed(page)

    def made(page: list[TapeMessage]) -> list[Item]:
        return [item for message in page for item in items(message)]

    async with aclosing(_past(bus, of, since, items, read, made)) as pages:
        async for page in pages:
            over = _end(page, until)
            yield timer.timed(page if over == len(page) else page[:over])
            if over < len(page):
                break
        else:
            yield timer.timed(items.rest(until))
    yield timer.rest()


def _end(items: Sequence[Item], until: int | None) -> int:
    """How many items come before the first trade at or after `until` (ms)."""
    if until is None:
        return len(items)
    over = (at for at, item in enumerate(items) if isinstance(item, Trade) and item.timestamp >= until)
    return next(over, len(items))


def tape_pages(bus: Bus, of: Feed, since: int, items: TradeItems) -> AsyncGenerator[list[TapeMessage], None]:
    """The messages of a feed from `since` (ms) on: from the archive where the tape begins later, then from the tape.

    `items` learns whether both begin later. Raises NotArchived, which names similar feeds, if neither has the feed.
    """
    return _past(bus, of, since, items, lambda past: archived.message_pages(bus, of, since, past), lambda page: page)


async def _past(
    bus: Bus,
    of: Feed,
    since: int,
    items: TradeItems,
    read: Callable[[Past], AsyncGenerator[list[T], None]],
    made: Callable[[list[TapeMessage]], list[T]],
) -> AsyncGenerator[list[T], None]:
    """The pages that `read` gets from the archive, then those that are `made` of the tape's. Raises as `tape_pages`."""
    past = Past()
    after, whole = await find_position(bus, of.public, since - CLOCKS_MS)
    if not whole:
        async with aclosing(read(past)) as pages:
            async for page in pages:
                yield page
        if past.remade:
            whole = True
            yield made([REMADE])
        elif past.sequence is not None:
            after, whole = past.sequence, True
    items.begins_late = "" if whole else past.begins_late
    items.known_until(past.known)
    empty = past.refusal is not None
    async with aclosing(read_pages(bus, of.public, after)) as taped:
        async for messages in taped:
            empty = False
            yield made(messages)
    if empty:
        raise await _unknown(bus, of, past.refusal)


async def _unknown(bus: Bus, of: Feed, refusal: NoSuchService | NotArchived | None) -> NotArchived:
    """The error for a feed that the tape has no message of, nor the archive, which said so or does not run."""
    like = markets_like(of.exchange, of.symbol, await taped_markets(bus, of.exchange))
    remedies = [f"on the tape are {like}"] if like else []
    archive = "and no archive answers"
    if isinstance(refusal, NotArchived):
        archive = "nor in the archive"
        remedies += [refusal.remedy] if not like or like not in refusal.remedy else []
    start = f"start it with `tickwire start {of}`"
    return NotArchived(f"{of} is not on the tape, {archive}", "; ".join(remedies) or start)
