"""The writer of one feed in its partition: as `TapeWriter`, but any number of its messages may be in flight."""

from __future__ import annotations

from collections.abc import Callable

from tickwire.tape.partition_writer import PartitionWriter
from tickwire.tape.pipeline import Done


class SubjectWriter:
    """Appends to one subject of a partition. Made by `open_subject`."""

    def __init__(self, partition: PartitionWriter, subject: str, sequence: int) -> None:
        self.subject = subject
        self.sequence = sequence
        """Of the subject's last message, stored or in flight; 0 if there is none."""
        self._partition = partition
        self.free: Callable[[], bool] = partition.ready
        """Whether a message can be sent at once."""

    def append_now(self, data: bytes, done: Done) -> bool:
        """Send a message without waiting; False, and nothing is sent, if too many are in flight.

        `done` is called with its sequence when it is stored.
        """
        sequence = self._partition.append_if_ready(self.subject, data, done)
        if sequence:
            self.sequence = sequence
        return sequence > 0

    async def settled(self) -> None:
        """Wait until everything is stored. Raises Fenced."""
        await self._partition.durable(self.sequence)

    async def append(self, data: bytes) -> int:
        """Append a message and return its sequence, once it is stored. Raises Fenced."""
        await self._partition.room()
        self.sequence = self._partition.append(self.subject, data)
        await self.settled()
        return self.sequence


async def open_subject(partition: PartitionWriter, subject: str) -> tuple[SubjectWriter, bytes | None]:
    """The writer of a subject, and the payload of the subject's last message if there is one."""
    last = await partition.open(subject)
    return SubjectWriter(partition, subject, (last.seq or 0) if last else 0), last.data if last else None
