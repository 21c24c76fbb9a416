"""A tape subject in tests: its one writer, and a reader that follows it."""

from __future__ import annotations

import asyncio

from support.hearing import Changing
from tape.places import BTC_SUBJECT
from tickwire.bus.connection import Bus
from tickwire.bus.requests import cancellable
from tickwire.tape.sequence import TapeMessage

SUBJECT = "md.trade.binance.BTC-USDT"
TAPE = BTC_SUBJECT


class Reader(Changing):
    """Collects what is handed on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[TapeMessage] = []
        self.open = asyncio.Event()

    async def take(self, message: TapeMessage) -> None:
        """Take one, once it is open."""
        await self.open.wait()
        self.found.append(message)
        self.changed()

    async def until_text(self, text: str) -> list[str]:
        """Wait until the last message is this; all so far."""
        await self.until(lambda: self.found and self.found[-1].data == text.encode())
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
