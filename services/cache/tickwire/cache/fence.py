"""Who may write a partition, and how far it has read: `.partition-<p>.json`; no I/O."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Struct

from tickwire.errors import Fenced


class Fence(NamedTuple):
    """A claim on a partition; the greater one is the later one.

    `epoch` is the revision of the lease. `generation` is when the bucket of leases was made, because a broker
    that lost its data counts revisions from 1 again.
    """

    generation: int
    epoch: int


class Checkpoint(Struct, frozen=True, kw_only=True):
    """Everything up to `seq` of the stream is in the files. `stream` tells one stream OHLCV from its successor."""

    partitions: int
    generation: int
    epoch: int
    stream: str
    seq: int

    @property
    def fence(self) -> Fence:
        """Who wrote it."""
        return Fence(self.generation, self.epoch)


def encode(checkpoint: Checkpoint) -> bytes:
    """A checkpoint file's contents."""
    return msgspec.json.encode(checkpoint) + b"\n"


def decode(data: bytes) -> Checkpoint:
    """Raises ValueError, in one line, when `data` is not a checkpoint."""
    try:
        return msgspec.json.decode(data, type=Checkpoint)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"is not a checkpoint: {error}") from error


def refuse_if_older(mine: Fence, on_disk: Checkpoint | None, partition: int) -> None:
    """Raises Fenced when someone later has been there."""
    if on_disk is not None and on_disk.fence > mine:
        raise Fenced(
            f"partition {partition} was taken over: epoch {on_disk.fence.epoch} is on disk, mine is {mine.epoch}"
        )
