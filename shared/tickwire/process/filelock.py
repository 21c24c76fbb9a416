"""Locks on files: held as long as a process lives, so what a killed one left behind is told from a living owner.

`flock`, not `lockf`: a POSIX record lock is lost as soon as any descriptor of the file is closed.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from tickwire.errors import StorageError

TRIES, AGAIN_S = 20, 0.005
"""Who asks whether a lock is held has it for a moment: an owner tries again."""


def exclusive(path: Path, taken: StorageError) -> int:
    """Lock a file, made with its folder where absent; the descriptor, for as long as it is open.

    Raises `taken` when somebody else holds it, StorageError when the folder is unwritable.
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
    """Give a lock up, also where a child has inherited the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        # A shared lock: several may look at the same moment, and it keeps the file from nobody who looks.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
