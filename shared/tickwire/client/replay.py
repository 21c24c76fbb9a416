"""Replay of the tape: trades of one feed or several, in their order, at a chosen speed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple, TypeVar

from tickwire.bus.connection import Bus
from tickwire.client import archived
from tickwire.client.archived import Past
from tickwire.client.items import NamedItem, named_item
from tickwire.client.live import CLOCKS_MS, TradeItems
from tickwire.client.merging import AT_ONCE, Block, Merged, merged, paced
from tickwire.errors import BadRequest, NoSuchService, NotArchived
from tickwire.model.feeds import Feed, Gap, Trade, feed
from tickwire.model.nearest import Market, markets_like
from tickwire.tape.markets import taped_markets
from tickwire.tape.sequence import TapeMessage
from tickwire.tape.stored import find_position, read_pages

Item = Trade | Gap
T = TypeVar("T")


class Replayed(NamedTuple):
    """An item of a replay of several feeds: a trade, or a gap in the place of missing trades."""

    exchange: str
    symbol: str
    item: NamedItem


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


def trade_feeds(markets: Sequence[Market]) -> list[Feed]:
    """The trade feeds of markets. Raises BadRequest when there is none, or one is no pair or named twice."""
    for each in markets:
        if isinstance(each, str) or len(each) != 2:
            raise BadRequest(f"{each!r} is not an exchange and a symbol", 'such as [("binance", "BTC/USDT")]')
    found = [feed("trade", exchange, symbol) for exchange, symbol in markets]
    if not found:
        raise BadRequest("no feed is given", 'name at least one, such as ("binance", "BTC/USDT")')
    twice = next((each for at, each in enumerate(found) if each in found[:at]), None)
    if twice is not None:
        raise BadRequest(f"{twice} is given twice", "name each feed once")
    return found


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
    async with aclosing(merged_items(bus, [of], since, until, speed)) as batches:
        async for batch in batches:
            yield [named_item(of, item) for item in batch.items]


async def replayed_together(
    bus: Bus, feeds: Sequence[Feed], since: int, until: int | None, speed: float
) -> AsyncGenerator[list[Replayed], None]:
    """The trades and gaps of several feeds on one clock, in lists of items that are due together."""
    async with aclosing(merged_items(bus, feeds, since, until, speed)) as batches:
        async for batch in batches:
            items = [named_item(feeds[index], item) for index, item in zip(batch.sources, batch.items, strict=True)]
            yield [Replayed(item.exchange, item.symbol, item) for item in items]


def merged_items(
    bus: Bus, feeds: Sequence[Feed], since: int, until: int | None, speed: float
) -> AsyncGenerator[Merged[Item], None]:
    """The trades and gaps of feeds, with the index of their feed, when they are due. Raises BadRequest."""
    return paced(merged([item_pages(bus, each, since, until) for each in feeds]), speed)


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
        if past.sequence is not None:
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
