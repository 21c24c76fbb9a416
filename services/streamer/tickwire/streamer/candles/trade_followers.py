"""Feeds the builders of one market from the trade tape: those that are equally far share one reading of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from tickwire.model import timeframes
from tickwire.model.feeds import Feed, Trades
from tickwire.streamer.candles.builder import CandleBuilder
from tickwire.streamer.candles.partial_candles import grain_of
from tickwire.streamer.candles.trade_tape import follow_trades
from tickwire.streamer.control.slot_tape import SlotTape
from tickwire.task_group import TaskGroup


class BuildGroup:
    """Builders that are fed from one reading of the tape."""

    def __init__(self, builders: dict[str, CandleBuilder]) -> None:
        self.builders = builders
        self.grain = grain_of(builders)
        self.reading: asyncio.Task[None] | None = None

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

    def close(self) -> None:
        """Stop reading. A message that waits to be taken is taken no more, nor is the position beyond it."""
        if self.reading is not None:
            self.reading.cancel()


Take = Callable[[BuildGroup, int, Trades], Awaitable[None]]


class TradeFollowers:
    """The groups of one market. The others join the first, which was the furthest, once they are as far.

    `take` gets the group, the sequence and the content of each message; `unreadable` the reason if it has no content.
    """

    def __init__(
        self, slot: SlotTape, trades: Feed, tasks: TaskGroup, take: Take, unreadable: Callable[[str], None]
    ) -> None:
        self._slot = slot
        self._trades = trades
        self._tasks = tasks
        self._take = take
        self._unreadable = unreadable
        self._groups: list[BuildGroup] = []

    def add(self, builders: dict[str, CandleBuilder]) -> None:
        """Feed these builders; reading back for them delays no others."""
        group = BuildGroup(builders)
        is_ahead = not self._groups or group.position > self._groups[0].position
        self._groups.insert(0 if is_ahead else len(self._groups), group)
        group.reading = self._tasks.create_task(self._read(group))

    def remove(self, timeframe: str) -> None:
        """Feed a builder no more."""
        group = next(each for each in self._groups if timeframe in each.builders)
        del group.builders[timeframe]
        if not group.builders:
            self._groups.remove(group)
            group.close()

    def close(self) -> None:
        """Stop reading."""
        for group in self._groups:
            group.close()

    async def _read(self, group: BuildGroup) -> None:
        """Feed a group until it joins the first one."""
        if self._joins(group):
            return
        following = follow_trades(self._slot, self._trades, group.position, self._unreadable)
        async with aclosing(following) as messages:
            async for sequence, trades in messages:
                await self._take(group, sequence, trades)
                if self._joins(group):
                    return

    def _joins(self, group: BuildGroup) -> bool:
        first = self._groups[0]
        if group is first or group.position < first.position:
            return False
        first.join(group.builders)
        self._groups.remove(group)
        return True
