"""All system calls of the store in one object, so that tests can make each of them fail."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tickwire.cache.file_view import FileView
from tickwire.errors import StorageError
from tickwire.process import filelock

Buffer = FileView | bytes
"""Bytes of a file; both types have slices, `find` and `rfind`."""

_COPY_CHUNK = 1 << 20
_REMEDIES = {
    errno.ENOSPC: "free some space; nothing is lost, the write is retried",
    errno.EDQUOT: "free some space; nothing is lost, the write is retried",
    errno.EACCES: "make the cache folder writable for this user",
    errno.EPERM: "make the cache folder writable for this user",
    errno.EROFS: "make the cache folder writable for this user",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "check the disk",
    errno.ESTALE: "another program changes the file: wait until it has ended, and try again",
}


class Disk:
    """The local file system. All methods raise OSError as the system call does."""

    def open(self, path: str, flags: int) -> int:
        """Open a file; a new one has mode 0644."""
        return os.open(path, flags | os.O_CLOEXEC, 0o644)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def stat(self, fd: int) -> tuple[int, int]:
        """The inode number and the size in bytes."""
        status = os.fstat(fd)
        return status.st_ino, status.st_size

    def modified_ms(self, path: str) -> int:
        """When a file was last written, ms; 0 if that is not available. Raises nothing."""
        try:
            return Path(path).stat().st_mtime_ns // 1_000_000
        except OSError:
            return 0

    def view(self, fd: int, size: int) -> Buffer:
        """The first `size` bytes. To read one that is not there any more raises OSError, too."""
        return FileView(fd, size) if size else b""

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """The bytes at `offset`, fewer than `size` only where the file ends."""
        return os.pread(fd, size, offset)

    def free(self, fd: int) -> int:
        """How many bytes this user may still write to the file system of a file."""
        status = os.fstatvfs(fd)
        return status.f_bavail * status.f_frsize

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`; after a failure a part may have been written."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(fd, rest, offset)
            offset += written
            rest = rest[written:]

    def copy(self, source: int, start: int, end: int, target: int, offset: int) -> None:
        """Copy bytes `[start, end)` of one file into another at `offset`, within the kernel if possible."""
        while start < end:
            try:
                done = os.copy_file_range(source, target, end - start, start, offset)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                data = os.pread(source, min(_COPY_CHUNK, end - start), start)
                self.write(target, data, offset)
                done = len(data)
            if not done:
                raise OSError(errno.EIO, "the file became shorter while it was copied")
            start += done
            offset += done

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to `size` bytes."""
        os.ftruncate(fd, size)

    def fdatasync(self, fd: int) -> None:
        """Make the file's bytes and its size durable."""
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        """Make the file durable."""
        os.fsync(fd)

    def rename(self, source: str, target: str) -> None:
        """Replace `target` by `source`, atomically."""
        Path(source).replace(target)

    def link(self, source: str, target: str) -> None:
        """Give a file a second name. Raises FileExistsError."""
        os.link(source, target)

    def unlink(self, path: str) -> None:
        """Remove a name."""
        Path(path).unlink()

    def fsync_dir(self, path: str) -> None:
        """Make the names in a folder durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def names(self, path: str) -> list[str]:
        """The names in a folder, unordered."""
        return [entry.name for entry in Path(path).iterdir()]

    def make_dir(self, path: str) -> None:
        """Create a folder and its parents if they are missing."""
        Path(path).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self, path: str, timeout_s: float) -> Iterator[None]:
        """Hold `flock` on `path` within the block.

        Blocks the thread. Raises StorageError when another process holds it for longer than `timeout_s`.
        """
        fd = self.open(path, os.O_RDWR | os.O_CREAT)
        try:
            if not filelock.wait_lock(fd, timeout_s):
                raise StorageError(
                    f"{path} is held by another process for more than {timeout_s:g} s",
                    "a suspended cache process may hold it: continue or end that process",
                )
            yield
        finally:
            self.close(fd)


@contextmanager
def as_storage_error(what: str) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that names the failed operation and the remedy."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"cannot {what}: {reason}", _REMEDIES.get(error.errno or 0, "")) from error
