"""Who may write a partition, and how far it has read: `.partition-<p>.json`; no I/O."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from msgspec import Struct

from tickwire.errors import Fenced


class Fence(NamedTuple):
    """A claim on a partition; the greater one is the later one.

    `epoch` is the revision of the lease. `generation` is when the bucket of leases was made, because a broker
    that lost its data counts revisions from 1 again. Which broker a folder belongs to is not decided here
    (`tickwire.cache.folder_owner`): between the generations of two brokers there is no order that means anything.
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


class Broker(Struct, frozen=True, kw_only=True):
    """The broker that a folder belongs to: when it made its bucket of leases (`generation`) and stream OHLCV, ms.

    One of the two suffices: an operator may have had the other made anew. `host` and `since` (ms) are of the cache
    process that took the folder.
    """

    generation: int
    stream: int
    host: str = ""
    since: int = 0

    def is_the_same(self, other: Broker) -> bool:
        """Whether both are one broker."""
        return self.generation == other.generation or self.stream == other.stream

    def __str__(self) -> str:
        return f"made {dated(self.generation)}, its stream OHLCV {dated(self.stream)}"


def encode(checkpoint: Checkpoint) -> bytes:
    """A checkpoint file's contents."""
    return msgspec.json.encode(checkpoint) + b"\n"


def decode(data: bytes) -> Checkpoint:
    """Raises ValueError, in one line, when `data` is not a checkpoint."""
    try:
        return msgspec.json.decode(data, type=Checkpoint)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"is not a checkpoint: {error}") from error


def refuse_unless_mine(mine: Fence, on_disk: Checkpoint | None, partition: int) -> None:
    """Before a commit: raises Fenced when someone later has been there, or somebody of another broker."""
    if on_disk is not None and on_disk.generation != mine.generation:
        raise Fenced(f"partition {partition} was taken over by a cache of another broker")
    refuse_if_older(mine, on_disk, partition)


def refuse_if_older(mine: Fence, on_disk: Checkpoint | None, partition: int) -> None:
    """Raises Fenced when someone later has been there."""
    if on_disk is not None and on_disk.fence > mine:
        raise Fenced(
            f"partition {partition} was taken over: epoch {on_disk.fence.epoch} is on disk, mine is {mine.epoch}"
        )


def dated(ms: int) -> str:
    """A moment as people read it."""
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
