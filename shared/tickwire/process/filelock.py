"""Locks on files, held as long as a process lives: distinguishes a living owner from files that a killed one left.

`flock`, not `lockf`: a POSIX record lock is lost as soon as any descriptor of the file is closed.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from tickwire.errors import StorageError

TRIES, AGAIN_S = 20, 0.005
"""`is_held` takes the lock for a moment, so `exclusive` tries this often, with this delay."""


def exclusive(path: Path, taken: StorageError) -> int:
    """Lock a file, which is created with its folder if absent; the lock lasts until the returned descriptor is closed.

    Raises `taken` when another process holds the lock, StorageError when the folder is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"cannot use the data folder {path.parent}: {error.strerror}", "set data_dir") from error
    for left in reversed(range(TRIES)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not left:
                os.close(descriptor)
                raise taken from error
            time.sleep(AGAIN_S)
        else:
            break
    return descriptor


def release(descriptor: int) -> None:
    """Release a lock, even if a child process has inherited the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether any process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        # A shared lock: several processes may check at the same moment.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
