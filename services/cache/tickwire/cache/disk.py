"""Every system call that the store makes, in one object, so that each of them can be made to fail in a test."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tickwire.errors import StorageError

Buffer = mmap.mmap | bytes
"""Bytes of a file: both kinds slice, `find` and `rfind` alike."""

_COPY_CHUNK = 1 << 20
_LOCK_POLL_S = 0.005
_REMEDIES = {
    errno.ENOSPC: "free some space; nothing is lost, it is tried again",
    errno.EDQUOT: "free some space; nothing is lost, it is tried again",
    errno.EACCES: "make the cache folder writable for this user",
    errno.EPERM: "make the cache folder writable for this user",
    errno.EROFS: "make the cache folder writable for this user",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "check the disk",
    errno.ESTALE: "another program changes the file: let it end, and try again",
}


class Disk:
    """The local file system. All methods raise OSError as the system call does."""

    def open(self, path: str, flags: int) -> int:
        """Open a file, mode 0644 where it is created."""
        return os.open(path, flags | os.O_CLOEXEC, 0o644)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def stat(self, fd: int) -> tuple[int, int]:
        """The inode number and the size in bytes."""
        status = os.fstat(fd)
        return status.st_ino, status.st_size

    def modified_ms(self, path: str) -> int:
        """When a file was written last, ms; 0 where that cannot be said. Raises nothing."""
        try:
            return Path(path).stat().st_mtime_ns // 1_000_000
        except OSError:
            return 0

    def view(self, fd: int, size: int) -> Buffer:
        """The first `size` bytes, mapped rather than read."""
        try:
            return mmap.mmap(fd, size, prot=mmap.PROT_READ) if size else b""
        except ValueError as error:
            # It is shorter than that: another program cut it.
            raise OSError(errno.ESTALE, "the file became shorter while it was read") from error

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`; when it fails a part may have been written."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(fd, rest, offset)
            offset += written
            rest = rest[written:]

    def copy(self, source: int, start: int, end: int, target: int, offset: int) -> None:
        """Copy bytes `[start, end)` of one file into another at `offset`, inside the kernel where it can."""
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
        """The names in a folder, in no order."""
        return [entry.name for entry in Path(path).iterdir()]

    def make_dir(self, path: str) -> None:
        """Create a folder and those above it, where they are missing."""
        Path(path).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self, path: str, timeout_s: float) -> Iterator[None]:
        """Hold `flock` on `path` while inside.

        flock and not POSIX locks: those are lost when any descriptor of the file closes. Raises StorageError when
        another process holds it for longer than `timeout_s`.
        """
        fd = self.open(path, os.O_RDWR | os.O_CREAT)
        try:
            deadline = time.monotonic() + timeout_s
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise StorageError(
                            f"{path} is held by another process for more than {timeout_s:g} s",
                            "a suspended cache process may hold it: continue or end that process",
                        ) from None
                    time.sleep(_LOCK_POLL_S)
            yield
        finally:
            self.close(fd)


@contextmanager
def as_storage_error(what: str) -> Iterator[None]:
    """Turn an OSError inside into a StorageError that says what could not be done, and the remedy."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"cannot {what}: {reason}", _REMEDIES.get(error.errno or 0, "")) from error
