"""A disk in memory that knows what is durable, can fail or stop at any call, and can lose power.

It keeps the promises of POSIX and of a journalling file system, and none beyond them: bytes are durable after a
sync of their file, names after a sync of their folder; unsynced writes may survive whole, in part or as blocks of
zeros, and unsynced renames in any combination; after a failed sync the bytes stay visible, are never made durable
by a later sync, and nobody is told again.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from tickwire.cache.disk import Buffer, Disk

Fault = Literal["enospc", "eio", "stop"]
BLOCK = 64


class Stopped(BaseException):
    """The process was killed in the middle of a system call."""


@dataclass(eq=False)
class _Inode:
    number: int
    visible: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    unsynced: list[tuple[int, bytes] | int] = field(default_factory=list)

    def apply(self, operation: tuple[int, bytes] | int) -> None:
        _apply(self.visible, operation)
        self.unsynced.append(operation)

    def sync(self) -> None:
        kept = bytearray(self.durable)
        for operation in self.unsynced:
            _apply(kept, operation)
        self.durable = bytes(kept)
        self.unsynced.clear()


def _apply(data: bytearray, operation: tuple[int, bytes] | int) -> None:
    if isinstance(operation, int):
        del data[operation:]
        data.extend(bytes(operation - len(data)))
    else:
        offset, written = operation
        if len(data) < offset:
            data.extend(bytes(offset - len(data)))
        data[offset : offset + len(written)] = written


class ModelDisk(Disk):
    """`fail_at` is the number of the changing call that fails (1 is the next), `fault` how."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.calls = 0
        self.fail_at: int | None = None
        self.fault: Fault = "stop"
        self._stopped = False
        self._visible: dict[str, _Inode] = {}
        self._durable: dict[str, _Inode] = {}
        self._renames: list[dict[str, _Inode | None]] = []
        self._open: dict[int, _Inode] = {}
        self._next = 3
        self._numbers = 100

    def arm(self, call: int | None, fault: Fault = "stop") -> None:
        """Have the `call`-th changing call from now on fail, once."""
        self.calls, self.fail_at, self.fault = 0, call, fault

    def restart(self, *, power_lost: bool) -> None:
        """A new process; with `power_lost`, on what the disk really has."""
        self._stopped = False
        self.fail_at = None
        self._open.clear()
        if not power_lost:
            return
        for change in self._renames:
            if self.random.random() < 0.5:
                _rename(self._durable, change)
        self._renames.clear()
        self._visible = dict(self._durable)
        for inode in set(self._visible.values()):
            self._lose(inode)

    def contents(self) -> dict[str, bytes]:
        """Every file by path, as a reader sees it."""
        return {path: bytes(inode.visible) for path, inode in self._visible.items()}

    # -- the calls -----------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        self._alive()
        inode = self._visible.get(path)
        if inode is None:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            self._call()
            self._numbers += 1
            inode = _Inode(self._numbers)
            self._change({path: inode})
        elif flags & os.O_TRUNC:
            self._call()
            inode.apply(0)
        self._next += 1
        self._open[self._next] = inode
        return self._next

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)

    def stat(self, fd: int) -> tuple[int, int]:
        self._alive()
        return self._open[fd].number, len(self._open[fd].visible)

    def view(self, fd: int, size: int) -> Buffer:
        self._alive()
        return bytes(self._open[fd].visible[:size])

    def read(self, fd: int, size: int, offset: int) -> bytes:
        self._alive()
        return bytes(self._open[fd].visible[offset : offset + size])

    def free(self, fd: int) -> int:
        return 1 << 40

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self._call(lambda: self._open[fd].apply((offset, data[: self.random.randint(0, len(data))])))
        self._open[fd].apply((offset, bytes(data)))

    def copy(self, source: int, start: int, end: int, target: int, offset: int) -> None:
        self.write(target, bytes(self._open[source].visible[start:end]), offset)

    def truncate(self, fd: int, size: int) -> None:
        self._call()
        self._open[fd].apply(size)

    def fdatasync(self, fd: int) -> None:
        inode = self._open[fd]
        self._call(inode.sync if self.fault == "stop" else inode.unsynced.clear)
        inode.sync()

    def fsync(self, fd: int) -> None:
        self.fdatasync(fd)

    def rename(self, source: str, target: str) -> None:
        self._call()
        self._change({target: self._visible[source], source: None})

    def link(self, source: str, target: str) -> None:
        self._call()
        self._change({target: self._visible[source]})

    def unlink(self, path: str) -> None:
        self._call()
        if path not in self._visible:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        self._change({path: None})

    def fsync_dir(self, path: str) -> None:
        self._call()
        for change in self._renames:
            _rename(self._durable, change)
        self._renames.clear()

    def names(self, path: str) -> list[str]:
        self._alive()
        return [name.removeprefix(path + "/") for name in self._visible if name.startswith(path + "/")]

    def make_dir(self, path: str) -> None:
        self._alive()

    @contextmanager
    def lock(self, path: str, timeout_s: float) -> Iterator[None]:
        self._alive()
        yield

    # -- inside --------------------------------------------------------------------------------------------------

    def _alive(self) -> None:
        if self._stopped:
            raise Stopped

    def _call(self, half_done: object = None) -> None:
        self._alive()
        self.calls += 1
        if self.calls != self.fail_at:
            return
        if callable(half_done) and (self.fault != "stop" or self.random.random() < 0.8):
            half_done()
        if self.fault == "stop":
            self._stopped = True
            raise Stopped
        code = errno.ENOSPC if self.fault == "enospc" else errno.EIO
        raise OSError(code, os.strerror(code))

    def _change(self, change: dict[str, _Inode | None]) -> None:
        _rename(self._visible, change)
        self._renames.append(change)

    def _lose(self, inode: _Inode) -> None:
        """What of the unsynced writes reached the disk: some first ones, the last of them torn."""
        data = bytearray(inode.durable)
        survivors = self.random.randint(0, len(inode.unsynced))
        for at, operation in enumerate(inode.unsynced[:survivors]):
            if at == survivors - 1 and not isinstance(operation, int):
                offset, written = operation
                torn = bytearray(written[: self.random.randint(0, len(written))])
                for block in range(0, len(torn), BLOCK):
                    if self.random.random() < 0.2:
                        torn[block : block + BLOCK] = bytes(len(torn[block : block + BLOCK]))
                operation = (offset, bytes(torn))
            _apply(data, operation)
        inode.visible, inode.durable = data, bytes(data)
        inode.unsynced.clear()


def _rename(names: dict[str, _Inode], change: dict[str, _Inode | None]) -> None:
    for path, inode in change.items():
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode
