"""Locks on files: every `flock` of the project. The kernel releases a lock when its process ends, however it ends.

`flock`, not `lockf`: a POSIX record lock is lost as soon as any descriptor of the file is closed. A lock lasts until
its descriptor is closed. A release by another process is not signalled, so waiting for one polls.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from tickwire.errors import StorageError

POLL_S = 0.005
CHECK_S = 0.1
"""How long `exclusive` retries: `is_held` takes the lock for a moment."""


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file without waiting; False if another process's lock excludes it.

    Any number of processes may hold a shared lock. Raises OSError when the file system cannot lock.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_lock(descriptor: int, timeout_s: float) -> bool:
    """Lock an open file exclusively, blocking the thread; False if it is not available within `timeout_s`.

    Raises OSError as `try_lock` does.
    """
    deadline = time.monotonic() + timeout_s
    while not try_lock(descriptor):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def open_locked(path: Path, *, shared: bool = False, timeout_s: float = 0.0) -> int | None:
    """A descriptor that holds the lock of a file; None if another process holds it.

    An exclusive lock is waited for, up to `timeout_s`. The file and its folder are created if absent. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    locked = False
    try:
        locked = try_lock(descriptor, shared=True) if shared else wait_lock(descriptor, timeout_s)
    finally:
        if not locked:
            os.close(descriptor)
    return descriptor if locked else None


def exclusive(path: Path, taken: StorageError) -> int:
    """Lock a file of the data folder and return its descriptor.

    Raises `taken` when another process holds the lock, StorageError when the folder cannot be written or locked.
    """
    try:
        descriptor = open_locked(path, timeout_s=CHECK_S)
    except OSError as error:
        raise StorageError(f"cannot use the data folder {path.parent}: {error.strerror}", "set data_dir") from error
    if descriptor is None:
        raise taken
    return descriptor


def release(descriptor: int) -> None:
    """Release a lock, even if a child process has inherited the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether any process holds the exclusive lock; True also if the file system cannot tell."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A shared lock: several processes may check at the same moment.
        return not try_lock(descriptor, shared=True)
    except OSError:
        return True
    finally:
        os.close(descriptor)
