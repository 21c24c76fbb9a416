"""Several feeds as one stream: each is followed as it would be alone, and their items come as they arrive.

Items of one market keep their order. A feed that is refused ends the stream with its error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tickwire.client import history
from tickwire.client.candles import Candles
from tickwire.client.items import Gap
from tickwire.client.live import TradeSubscription
from tickwire.client.mailbox import Mailbox
from tickwire.client.stream import Stream, Streams
from tickwire.errors import BadRequest
from tickwire.model.feeds import Candle
from tickwire.model.subjects import Key
from tickwire.process import lifecycle
from tickwire.task_group import TaskGroup

if TYPE_CHECKING:
    from pandas import DataFrame

T = TypeVar("T")
S = TypeVar("S", bound=Stream[Any, Any])

WAITING = 4
"""Batches that are queued here. Further items wait in the streams of their markets, where books are the newest only."""


class Together(Stream[list[T], T], Generic[S, T]):
    """Streams of several markets as one; `of` has the single ones by market, with their `.sequence`, `.missed`, …"""

    def __init__(self, streams: Streams, of: Mapping[Any, S]) -> None:
        super().__init__(streams, f"{len(of)} feeds", Mailbox(WAITING))
        self.of = dict(of)
        self._opening = len(of)

    async def _follow(self) -> None:
        async with lifecycle.unwrapped(), TaskGroup() as group:
            for stream in self.of.values():
                group.create_task(self._forward(stream))

    async def _forward(self, stream: S) -> None:
        """Put the items of one stream into the mailbox until it ends."""
        async with stream:
            self._opening -= 1
            if not self._opening:
                self._started.set()
            # A refusal is raised where the stream is entered: nothing is to be taken before it.
            await self._started.wait()
            while items := await stream.take():
                await self._mailbox.put(items)

    def _items_of(self, message: list[T]) -> Sequence[T]:
        return message


class TradesTogether(Together[TradeSubscription[T], T]):
    """Trades of several markets, each with its exchange and symbol."""

    @property
    def gaps(self) -> list[Gap]:
        """The gaps of all markets so far; clear those of `of[market]` when you iterate for weeks."""
        return [gap for each in self.of.values() for gap in each.gaps]


class CandlesTogether(Together[Candles, Candle]):
    """Candles of several keys: `await` it for their DataFrames by key, or iterate it for each candle as it comes."""

    def __init__(
        self, streams: Streams, of: Mapping[Key, Candles], frames: Callable[[], Awaitable[history.Frames]]
    ) -> None:
        super().__init__(streams, of)
        self.frames = frames
        """Gives the DataFrames and errors, without a warning."""

    def __await__(self) -> Generator[Any, None, dict[Key, DataFrame]]:
        return self._warned().__await__()

    async def _warned(self) -> dict[Key, DataFrame]:
        return history.all_or_failed(await self.frames())

    @property
    def missing(self) -> dict[Key, list[tuple[int, int]]]:
        """The ranges (ms) that are not available so far, of the keys that have such."""
        return {key: each.missing for key, each in self.of.items() if each.missing}


def markets_of(markets: Sequence[tuple[str, str]], what: str) -> list[tuple[str, str]]:
    """Pairs of exchange and symbol, checked for form. Raises BadRequest."""
    return [(pair[0], pair[1]) for pair in _each(markets, 2, what, '[("binance", "BTC/USDT")]')]


def keys_together(keys: Sequence[tuple[str, str, str]]) -> list[Key]:
    """Keys, checked for form. Raises BadRequest."""
    return [Key(*each) for each in _each(keys, 3, "candles", '[("binance", "BTC/USDT", "1m")]')]


def _each(given: Sequence[Any], parts: int, what: str, example: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for each in given:
        if isinstance(each, str) or len(each) != parts or not all(isinstance(part, str) for part in each):
            raise BadRequest(f"{what}: {each!r} has not {parts} names", f"such as {example}")
        if tuple(each) in found:
            raise BadRequest(f"{what}: {each!r} is given twice", "name each market once")
        found.append(tuple(each))
    if not found:
        raise BadRequest(f"{what}: no market is given", f"name at least one, such as {example}")
    return found
