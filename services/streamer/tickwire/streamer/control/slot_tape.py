"""The tape of a slot: the one writer of each of its partitions, for as long as this instance owns the slot."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tickwire.bus.connection import Bus
from tickwire.model.feeds.layout import PARTITIONED
from tickwire.process.turns import Turns
from tickwire.tape.follow import follow
from tickwire.tape.layout import layout_of
from tickwire.tape.partition_writer import PartitionWriter, open_partition_writer
from tickwire.tape.sequence import TapeMessage
from tickwire.tape.subject_writer import SubjectWriter, open_subject
from tickwire.tape.writer import Confirm


@dataclass(frozen=True)
class SlotTape:
    """The writers of a slot, by stream."""

    bus: Bus
    writers: Mapping[str, PartitionWriter]

    async def open(self, public: str) -> tuple[SubjectWriter, bytes | None]:
        """The writer of what is public on a subject, and the payload of its last message if there is one."""
        stream, subject = (await layout_of(self.bus)).place(public)
        return await open_subject(self.writers[stream], subject)

    async def follow(self, public: str, after: int) -> AsyncGenerator[TapeMessage, None]:
        """Follow a public subject from the message after a sequence on (`tickwire.tape.follow`)."""
        place = (await layout_of(self.bus)).place(public)
        return follow(self.bus, self.writers[place.stream], public, place, after)


@asynccontextmanager
async def open_slot_tape(bus: Bus, slot: int, confirm: Confirm, turns: Turns | None = None) -> AsyncIterator[SlotTape]:
    """The tape of a slot within the block, which ends with Fenced when another instance has taken it over.

    `turns`: see `open_partition_writer`. Former owners are fenced when the block is entered. Leaving it waits until all
    is stored.
    """
    trades, deltas = (f"{name}-{slot}" for name in PARTITIONED.values())
    async with (
        open_partition_writer(bus, trades, confirm, turns=turns) as of_trades,
        open_partition_writer(bus, deltas, confirm, turns=turns) as of_deltas,
    ):
        yield SlotTape(bus, {trades: of_trades, deltas: of_deltas})
