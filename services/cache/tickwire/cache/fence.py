"""The checkpoint file of a partition, `.partition-<p>.json`: its owner's fence, and the position; no I/O."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from msgspec import Struct

from tickwire.errors import Fenced
from tickwire.model import messages


class Fence(NamedTuple):
    """The fence token of a claim on a partition; the greater one is the later one.

    `epoch` is the revision of the lease. `generation` is when the bucket of leases was created, because a broker that
    lost its data counts revisions from 1 again. Which broker a folder belongs to is checked elsewhere
    (`tickwire.cache.folder_owner`): the generations of two brokers have no meaningful order.
    """

    generation: int
    epoch: int


class Checkpoint(Struct, frozen=True, kw_only=True):
    """All pages up to `seq` of the stream are in the files. `stream` identifies the stream OHLCV."""

    partitions: int
    generation: int
    epoch: int
    stream: str
    seq: int

    @property
    def fence(self) -> Fence:
        """The fence of the claim that wrote it."""
        return Fence(self.generation, self.epoch)


class BrokerIdentity(Struct, frozen=True, kw_only=True):
    """The broker that a folder belongs to: when its bucket of leases (`generation`) and stream OHLCV were created, ms.

    One of the two identifies it: an operator may have recreated the other. `host` and `since` (ms) are those of the
    cache process that took the folder.
    """

    generation: int
    stream: int
    host: str = ""
    since: int = 0

    def is_the_same(self, other: BrokerIdentity) -> bool:
        """Whether both are the same broker."""
        return self.generation == other.generation or self.stream == other.stream

    def __str__(self) -> str:
        return f"made {dated(self.generation)}, its stream OHLCV {dated(self.stream)}"


_decode = messages.decoder(Checkpoint)


def encode(checkpoint: Checkpoint) -> bytes:
    """The contents of a checkpoint file."""
    return msgspec.json.encode(checkpoint) + b"\n"


def decode(data: bytes) -> Checkpoint:
    """Decode a checkpoint file. Raises ValueError, in one line, when `data` is not one."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"is not a checkpoint: {error}") from error


def refuse_unless_mine(mine: Fence, on_disk: Checkpoint | None, partition: int) -> None:
    """Before a commit: raise Fenced if a later claim, or one of another broker, is on disk."""
    if on_disk is not None and on_disk.generation != mine.generation:
        raise Fenced(f"partition {partition} was taken over by a cache of another broker")
    refuse_if_older(mine, on_disk, partition)


def refuse_if_older(mine: Fence, on_disk: Checkpoint | None, partition: int) -> None:
    """Raise Fenced if a later claim is on disk."""
    if on_disk is not None and on_disk.fence > mine:
        raise Fenced(
            f"partition {partition} was taken over: epoch {on_disk.fence.epoch} is on disk, here is {mine.epoch}"
        )


def dated(ms: int) -> str:
    """A time (ms) in readable form."""
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
