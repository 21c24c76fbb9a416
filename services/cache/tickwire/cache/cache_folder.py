"""The cache folder: names of its files, and atomic replacement, so that a crash leaves the old file or the new."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tickwire.cache.disk import Disk
from tickwire.errors import BadRequest, CacheFileError, UnsupportedTimeframe
from tickwire.model import subjects, timeframes
from tickwire.model.subjects import Key

COLUMNS = ".columns"
REPAIR = "tickwire candles repair {} moves it aside and keeps its good rows"


class CacheFolder:
    """The files of one cache folder. Methods that access the disk raise OSError."""

    def __init__(self, disk: Disk, directory: str) -> None:
        self.disk = disk
        self.directory = directory

    def data(self, key: Key) -> str:
        """The data file of a key."""
        return f"{self.directory}/{subjects.file_stem(key)}.csv"

    def meta(self, key: Key) -> str:
        """The meta file of a key."""
        return f"{self.directory}/{subjects.file_stem(key)}.meta.json"

    def columns(self, key: Key) -> str:
        """The parsed columns of a key, kept to be read faster (`column_index`)."""
        return f"{self.directory}/{subjects.file_stem(key)}{COLUMNS}"

    def lock(self, partition: int) -> str:
        """The lock file of a partition."""
        return f"{self.directory}/.partition-{partition}.lock"

    def checkpoint(self, partition: int) -> str:
        """The checkpoint of a partition."""
        return f"{self.directory}/.partition-{partition}.json"

    def temporary(self, partition: int, name: str) -> str:
        """The name of a temporary file, which no reader opens and `sweep` removes."""
        return f"{self.directory}/.partition-{partition}.tmp-{name}"

    def keys(self) -> list[Key]:
        """Every key with a data file or a meta file. A file whose name is that of no key is not the cache's."""
        stems = set()
        for name in self.disk.names(self.directory):
            for ending in (".csv", ".meta.json"):
                if name.endswith(ending):
                    stems.add(name.removesuffix(ending))
        return [key for stem in stems if (key := _key_of(stem)) is not None]

    def sweep(self, partition: int) -> None:
        """Remove the temporary files of a partition that a crash left, and columns of data files that are gone."""
        prefix = f".partition-{partition}.tmp-"
        names = set(self.disk.names(self.directory))
        for name in names:
            stem = name.removesuffix(COLUMNS)
            is_left = stem != name and f"{stem}.csv" not in names and _key_of(stem) is not None
            if name.startswith(prefix) or is_left:
                # Another partition's owner may remove the columns at the same time.
                with suppress(FileNotFoundError):
                    self.disk.unlink(f"{self.directory}/{name}")

    @contextmanager
    def opened(self, path: str, flags: int = os.O_RDONLY) -> Iterator[int | None]:
        """A descriptor within the block, or None if there is no such file."""
        try:
            fd = self.disk.open(path, flags)
        except FileNotFoundError:
            yield None
            return
        try:
            yield fd
        finally:
            self.disk.close(fd)

    def read(self, path: str) -> bytes | None:
        """The contents of a small file, or None if there is no such file."""
        with self.opened(path) as fd:
            if fd is None:
                return None
            view = self.disk.view(fd, self.disk.stat(fd)[1])
            return view[:]

    @contextmanager
    def fresh(self, partition: int, name: str) -> Iterator[tuple[int, str]]:
        """A new temporary file (descriptor, path), removed if the body fails. The body renames it."""
        path = self.temporary(partition, name)
        fd = self.disk.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            yield fd, path
        except (OSError, CacheFileError):
            # If that fails, too, it is swept later; the first failure is raised.
            with suppress(OSError):
                self.disk.unlink(path)
            raise
        finally:
            self.disk.close(fd)

    def replace(self, partition: int, path: str, data: bytes) -> None:
        """Replace a small file by `data`. It is durable once the folder is synced (`sync`)."""
        with self.fresh(partition, Path(path).name) as (fd, temporary):
            self.disk.write(fd, data, 0)
            self.disk.fsync(fd)
            self.disk.rename(temporary, path)

    def sync(self) -> None:
        """Make the names in the folder durable."""
        self.disk.fsync_dir(self.directory)

    def aside(self, path: str) -> str:
        """A free name, beside a damaged file, to move it to."""
        names = set(self.disk.names(self.directory))
        number = 1
        while f"{Path(path).name}.damaged-{number}" in names:
            number += 1
        return f"{path}.damaged-{number}"

    def refused(self, key: Key, path: str, message: str, line: int = 0) -> CacheFileError:
        """The error for a file that the cache did not write in this form."""
        where = f"{path}, line {line}" if line else path
        return CacheFileError(f"{where}: {message}", REPAIR.format(" ".join(key)), path=path, line=line)


def _key_of(stem: str) -> Key | None:
    """The key that a file is named after, None if it is named otherwise."""
    try:
        key = subjects.key_of_stem(stem)
        timeframes.parse(key.timeframe)
    except (BadRequest, UnsupportedTimeframe):
        return None
    return key
