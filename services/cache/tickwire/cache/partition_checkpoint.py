"""Reads and writes the checkpoint of a partition, and refuses other claims by its fence.

Methods raise OSError; the caller holds the partition's lock, except for `refuse_other_partitioning`.
"""

from __future__ import annotations

from tickwire.cache import fence, folder_owner
from tickwire.cache.cache_folder import CacheFolder
from tickwire.cache.fence import BrokerIdentity, Checkpoint, Fence
from tickwire.errors import CacheFileError, ConfigError


class PartitionCheckpoint:
    """The checkpoint of one partition, under one claim."""

    def __init__(self, folder: CacheFolder, partition: int, partitions: int, claim: Fence, stream: str) -> None:
        self.written = 0
        """The position in the file."""
        self._folder = folder
        self._partition = partition
        self._partitions = partitions
        self._claim = claim
        self._stream = stream

    def taken_over(self) -> int:
        """Take over the checkpoint; returns the position up to which pages are applied.

        Raises Fenced if a later claim is on disk, CacheFileError if the file is unreadable or the folder another
        broker's.
        """
        before, owner = self._read(self._partition), self._owner()
        if owner is not None and owner.generation != self._claim.generation:
            raise CacheFileError(
                f"the cache folder {self._folder.directory} belongs to another broker ({owner})", folder_owner.REMEDY
            )
        if owner is None or (before is not None and before.generation == self._claim.generation):
            fence.refuse_if_older(self._claim, before, self._partition)
        self.write(before.seq if before is not None and before.stream == self._stream else 0)
        return self.written

    def refuse_others(self) -> None:
        """Check before a commit. Raises Fenced if a later claim, or one of another broker, is on disk."""
        on_disk = self._read(self._partition)
        fence.refuse_unless_mine(self._claim, on_disk, self._partition)
        if on_disk is None or on_disk.fence != self._claim:
            self.write(self.written)

    def write(self, seq: int) -> None:
        """Store the position up to which all pages are applied."""
        checkpoint = Checkpoint(
            partitions=self._partitions,
            generation=self._claim.generation,
            epoch=self._claim.epoch,
            stream=self._stream,
            seq=seq,
        )
        self._folder.replace(self._partition, self._folder.checkpoint(self._partition), fence.encode(checkpoint))
        self._folder.sync()
        self.written = seq

    def refuse_other_partitioning(self) -> None:
        """Raise ConfigError if any checkpoint of the folder was made for another number of partitions."""
        for name in self._folder.disk.names(self._folder.directory):
            number = name.removeprefix(".partition-").removesuffix(".json")
            if name == f".partition-{number}.json" and number.isdigit():
                other = self._read(int(number))
                if other is not None and other.partitions != self._partitions:
                    raise ConfigError(
                        f"{self._folder.directory} was made for {other.partitions} partitions, not {self._partitions}",
                        f"set cache.partitions = {other.partitions}, or remove the .partition-* files while "
                        "nothing runs",
                    )

    def _read(self, partition: int) -> Checkpoint | None:
        path = self._folder.checkpoint(partition)
        data = self._folder.read(path)
        if data is None:
            return None
        try:
            return fence.decode(data)
        except ValueError as error:
            raise CacheFileError(f"{path} {error}", "remove it: the candles are read again", path=path) from error

    def _owner(self) -> BrokerIdentity | None:
        path = f"{self._folder.directory}/{folder_owner.RECORD}"
        data = self._folder.read(path)
        return None if data is None else folder_owner.decoded(data, path)
