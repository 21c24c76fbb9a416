"""Messages of a stream that wait to be archived: bounded, so that the broker pauses while nothing can be written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from nats.aio.msg import Msg

from tickwire.archive.rounds import TapeEntry
from tickwire.bus import graceful_close
from tickwire.bus.connection import Bus
from tickwire.bus.requests import until_answered
from tickwire.tape.sequence import previous_of

QUEUED_BYTES = 4 << 20
"""Messages received and not yet taken; beyond this the broker pauses (flow control)."""
BATCH_BYTES = 256 << 10
"""Messages that are decoded together, in a thread: about 2,000 trades, some 10 ms."""


class TapeQueue:
    """The messages of a stream, in order."""

    def __init__(self) -> None:
        self.received = asyncio.Event()
        """Set when a message arrives; cleared by the reader."""
        self._entries: deque[TapeEntry] = deque()
        self._bytes = 0
        self._room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def batch(self) -> list[TapeEntry]:
        """Take the next messages, about BATCH_BYTES."""
        found: list[TapeEntry] = []
        size = 0
        while self._entries and size < BATCH_BYTES:
            found.append(self._entries.popleft())
            size += len(found[-1].data)
        self._bytes -= size
        self._room.set()
        return found

    def put_back(self, entries: list[TapeEntry]) -> None:
        """Put messages back that were not used."""
        self._entries.extendleft(reversed(entries))
        self._bytes += sum(len(each.data) for each in entries)

    async def put(self, message: Msg) -> None:
        """Queue a message; waits for room."""
        while self._bytes > QUEUED_BYTES:
            self._room.clear()
            await self._room.wait()
        sequence, stored = _place(message.reply)
        entry = TapeEntry(sequence, message.subject, message.data, previous_of(message.headers), stored)
        self._entries.append(entry)
        self._bytes += len(entry.data)
        self.received.set()


@asynccontextmanager
async def reading(bus: Bus, stream: str, after: int) -> AsyncIterator[TapeQueue]:
    """The messages of a stream after a sequence, for as long as the block lasts."""
    queue = TapeQueue()
    # All subjects: hand-overs are no trades, but rounds are counted in the stream's sequences.
    subscribe = partial(bus.subscribe_ordered, ">", stream, queue.put, start_sequence=after + 1)
    subscription = await until_answered(subscribe, f"stream {stream}")
    try:
        yield queue
    finally:
        await graceful_close.unsubscribe(bus.client, subscription)


def _place(reply: str) -> tuple[int, int]:
    """The sequence and the time (ms) in the reply subject of a JetStream message, with or without a domain.

    Source: nats-architecture-and-design, ADR-15.
    """
    tokens = reply.split(".")
    first = 5 if len(tokens) == 9 else 7
    return int(tokens[first]), int(tokens[first + 2]) // 1_000_000
