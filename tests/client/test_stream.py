"""A stream of the client without a broker: what is handed out, its place on the tape, and what is left for the next."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from tickwire.client.mailbox import Mailbox
from tickwire.client.stream import Released, Stream, Streams
from tickwire.client.trade_items import TradeItems
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trade, Trades
from tickwire.tape.sequence import TapeMessage
from tickwire.task_group import TaskGroup

pytestmark = pytest.mark.pure

Message = tuple[int, list[int]]
"""A place on the tape, and items."""


class Numbers(Stream[Message, int]):
    """Messages that are there at once, and then no more."""

    def __init__(self, streams: Streams, *found: Message) -> None:
        super().__init__(streams, "numbers", Mailbox(100))
        self.found = found
        self.followed = asyncio.Event()
        self.left = asyncio.Event()

    async def _follow(self) -> None:
        try:
            for message in self.found:
                await self._mailbox.put(message)
            self._started.set()
            self.followed.set()
            await asyncio.Event().wait()
        finally:
            self.left.set()

    def _items_of(self, message: Message) -> Sequence[int]:
        return message[1]

    def _sequence_of(self, message: Message) -> int:
        return message[0]


@asynccontextmanager
async def streaming() -> AsyncIterator[Streams]:
    async with asyncio.timeout(100), TaskGroup() as group:
        streams = Streams(cast(Any, None), group, "test")
        yield streams
        streams.close()


FOUND: list[Message] = [(3, [1, 2, 3]), (4, []), (7, [4]), (9, [5, 6])]


async def test_the_sequence_is_that_of_the_last_message_that_was_handed_out_whole() -> None:
    async with streaming() as streams, Numbers(streams, *FOUND) as numbers:
        seen = []
        async for number in numbers:
            seen.append((number, numbers.sequence))
            if number == 6:
                break
    assert seen == [(1, 0), (2, 0), (3, 3), (4, 7), (5, 7), (6, 9)]


async def test_what_a_loop_left_is_for_the_next_one_or_for_take() -> None:
    async with streaming() as streams, Numbers(streams, *FOUND) as numbers:
        async for number in numbers:
            if number == 2:
                break
        assert await anext(aiter(numbers)) == 3
        assert await anext(aiter(numbers)) == 4
        assert await anext(aiter(numbers)) == 5
        assert await numbers.take() == [6]
        assert numbers.sequence == 9


async def test_a_step_that_is_cancelled_can_be_taken_again() -> None:
    async with streaming() as streams:
        numbers = Numbers(streams, (1, [1]))
        steps = aiter(numbers)
        assert await anext(steps) == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(steps), 0.01)
        await numbers._mailbox.put((2, [2]))
        assert await anext(steps) == 2
        assert not numbers.left.is_set()


async def test_a_loop_that_ends_however_releases_its_stream() -> None:
    class Bug(Exception):
        pass

    async def leave(numbers: Numbers, how: str) -> None:
        async for number in numbers:
            if number == 2 and how == "break":
                break
            if number == 2 and how == "raise":
                raise Bug

    async with streaming() as streams:
        gc.disable()
        try:
            for how in ("break", "raise", "cancel"):
                numbers = Numbers(streams, *FOUND)
                task = asyncio.create_task(leave(numbers, how))
                await numbers.followed.wait()
                if how == "cancel":
                    # Everything has been handed out, and the next step waits.
                    while numbers.sequence < 9:
                        await asyncio.sleep(0)
                    task.cancel()
                await asyncio.wait({task})
                await numbers.left.wait()
                if how == "raise":
                    assert isinstance(task.exception(), Bug)
        finally:
            gc.enable()


async def test_an_entry_that_is_cancelled_releases_the_stream() -> None:
    class Never(Numbers):
        async def _follow(self) -> None:
            try:
                self.followed.set()
                await asyncio.Event().wait()
            finally:
                self.left.set()

    async with streaming() as streams:
        never = Never(streams)

        async def enter() -> None:
            async with never:
                pass

        task = asyncio.create_task(enter())
        await never.followed.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert never.left.is_set()


async def test_what_was_released_or_whose_client_has_ended_is_iterated_no_more() -> None:
    async with streaming() as streams:
        numbers = Numbers(streams, *FOUND)
        await numbers.take()
        numbers.release()
        with pytest.raises(Released, match="numbers was released"):
            aiter(numbers)
        assert await numbers.take() == []
        other = aiter(Numbers(streams))
    with pytest.raises(Released, match="block has ended"):
        await anext(other)
    with pytest.raises(Released, match="block has ended"):
        aiter(Numbers(streams))


def test_an_unreadable_message_of_trades_is_a_gap_and_later_ones_are_delivered() -> None:
    items = TradeItems(Feed("trade", "binance", "BTC/USDT"), None, yielded=True)
    trade = Trade(id="7", timestamp=5, side="buy", price=1.0, amount=1.0)
    said = messages.encode(Trades(exchange="binance", symbol="BTC/USDT", trades=[trade], received=5))
    assert items(TapeMessage(1, said)) == [trade]
    (gap,) = items(TapeMessage(2, b"[" * 5_000))
    assert isinstance(gap, Gap)
    assert (gap.since, gap.after_id) == (5, "7")
    assert items(TapeMessage(3, said)) == [trade]
    assert items.gaps == [gap]
