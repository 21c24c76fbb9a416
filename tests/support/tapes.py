"""A tape subject in tests: its one writer, and a reader that follows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tickwire.bus.connection import Bus
from tickwire.bus.requests import cancellable
from tickwire.tape.sequence import TapeMessage

SUBJECT = "md.trade.binance.BTC-USDT"
TAPE = "tape.trade.binance.BTC-USDT"


@dataclass
class Reader:
    """Collects what is handed on."""

    found: list[TapeMessage] = field(default_factory=list)
    more: asyncio.Condition = field(default_factory=asyncio.Condition)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, message: TapeMessage) -> None:
        """Take one, once it is open."""
        await self.open.wait()
        async with self.more:
            self.found.append(message)
            self.more.notify_all()

    async def until(self, text: str, timeout_s: float = 100) -> list[str]:
        """Wait for a message; all so far."""
        try:
            async with asyncio.timeout(timeout_s), self.more:
                while not self.found or self.found[-1].data != text.encode():
                    await self.more.wait()
        except TimeoutError:
            raise AssertionError(f"{text} did not come: {[each.data for each in self.found[-5:]]}") from None
        return [each.data.decode() for each in self.found]


class Writer:
    """The one writer of a tape subject, with the expected sequence in each publish as the tape has it."""

    def __init__(self, bus: Bus, subject: str = TAPE) -> None:
        self.bus = bus
        self.subject = subject
        self.last = 0

    async def write(self, *texts: str) -> None:
        """Publish each, and wait until the stream has it."""
        for text in texts:
            headers = {"Nats-Expected-Last-Subject-Sequence": str(self.last)}
            publish = self.bus.jetstream.publish(self.subject, text.encode(), headers=headers)
            self.last = (await cancellable(publish)).seq


def numbers(first: int, last: int) -> list[str]:
    """`1`, `2`, …"""
    return [f"{n}" for n in range(first, last + 1)]
