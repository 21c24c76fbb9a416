"""Reads the trade tape for builders: those that are equally far share one reading, the others catch up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing

from tickwire.bus.connection import Bus
from tickwire.model import timeframes
from tickwire.model.feeds import Feed, Trades
from tickwire.streamer.candles.builder import CandleBuilder
from tickwire.streamer.candles.partial_candles import grain_of
from tickwire.streamer.candles.trade_tape import TradeTapeReader, read_back


class BuildGroup:
    """Builders that are fed from one reading of the tape."""

    def __init__(self, builders: dict[str, CandleBuilder]) -> None:
        self.builders = builders
        self.grain = grain_of(builders)
        self.reader: TradeTapeReader | None = None
        self.catching_up: asyncio.Task[None] | None = None

    @property
    def position(self) -> int:
        """The sequence after which the tape has to be read."""
        return min(builder.position for builder in self.builders.values())

    def join(self, others: dict[str, CandleBuilder]) -> None:
        """Add builders that are at least as far."""
        both = self.builders | others
        # Candles closed by one message are published in this order.
        self.builders = {name: both[name] for name in sorted(both, key=timeframes.duration_ms)}
        self.grain = grain_of(self.builders)

    async def close(self) -> None:
        """Stop reading."""
        if self.catching_up is not None:
            self.catching_up.cancel()
        if self.reader is not None:
            await self.reader.close()


Take = Callable[[BuildGroup, int, Trades], Awaitable[None]]


class TradeFollowers:
    """The groups of one market. The first reads live messages; the others read back until they have caught up with it.

    `take` gets the group, the sequence and the content of each message; `unreadable` the reason if it has no content.
    """

    def __init__(
        self, bus: Bus, trades: Feed, tasks: asyncio.TaskGroup, take: Take, unreadable: Callable[[str], None]
    ) -> None:
        self._bus = bus
        self._trades = trades
        self._tasks = tasks
        self._take = take
        self._unreadable = unreadable
        self._groups: list[BuildGroup] = []

    async def add(self, builders: dict[str, CandleBuilder]) -> None:
        """Feed these builders; reading back for them delays no others."""
        group = BuildGroup(builders)
        first = self._groups[0] if self._groups else None
        if first is not None and group.position <= first.position:
            self._groups.append(group)
            group.catching_up = self._tasks.create_task(self._catch_up(group))
            return
        self._groups.insert(0, group)
        if first is not None:
            await first.close()
            first.catching_up = self._tasks.create_task(self._catch_up(first))
        await self._read_live(group)

    async def remove(self, timeframe: str) -> None:
        """Feed a builder no more."""
        group = next(each for each in self._groups if timeframe in each.builders)
        del group.builders[timeframe]
        if not group.builders:
            self._groups.remove(group)
            await group.close()

    async def close(self) -> None:
        """Stop reading."""
        async with AsyncExitStack() as stack:
            for group in self._groups:
                stack.push_async_callback(group.close)

    async def _read_live(self, group: BuildGroup) -> None:
        async def take(sequence: int, trades: Trades) -> None:
            await self._take(group, sequence, trades)

        group.reader = TradeTapeReader(self._bus, self._trades, take, self._unreadable)
        await group.reader.open(group.position + 1)

    async def _catch_up(self, group: BuildGroup) -> None:
        """Read back until the group is as far as the first one and joins it, or becomes the first one."""
        while group is not (first := self._groups[0]):
            reached = first.position
            if group.position >= reached:
                first.join(group.builders)
                self._groups.remove(group)
                return
            stored = read_back(self._bus, self._trades, group.position, self._unreadable)
            async with aclosing(stored) as messages:
                async for sequence, trades in messages:
                    await self._take(group, sequence, trades)
                    if sequence >= self._groups[0].position:
                        break
                else:
                    # What the first group has read in between is no longer stored.
                    for builder in group.builders.values():
                        builder.position = max(builder.position, reached)
        await self._read_live(group)
